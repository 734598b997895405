"""What the command line must not pay for: the libraries that only a kernel or a run needs."""

import subprocess
import sys

import pytest

HEAVY = {
    "IPython", "docker", "duckdb", "httpx", "jupyter_client", "matplotlib", "nbclient", "numpy", "pandas", "papermill",
    "psycopg", "pyarrow", "pydantic", "redis", "rich", "starlette", "uvicorn",
}  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    ["list", "--help", "run --help", "run no-such-notebook", "run", "evidence verify", "evidence list", "serve --help"],
)
def test_what_runs_nothing_imports_nothing_of_it(arguments: str) -> None:
    argv = [sys.executable, "-X", "importtime", "-m", "runbook", *arguments.split()]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines() if "|" in line}
    assert "runbook" in imported and not imported & HEAVY
