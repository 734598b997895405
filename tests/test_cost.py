"""What the command line must not pay for: the libraries that only a kernel or a run needs."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("command", "status"),
    [(["list"], 0), (["--help"], 0), (["run", "--help"], 0), (["run", "no-such-notebook"], 64)],
)
def test_light_commands_import_neither_pandas_nor_papermill(command: list[str], status: int) -> None:
    probe = (
        "import sys\nfrom runbook.cli import main\n"
        f"sys.argv = ['runbook', *{command!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    status = end.code or 0\n"
        "heavy = {'pandas', 'papermill', 'nbclient', 'matplotlib', 'psycopg', 'jupyter_client'} & set(sys.modules)\n"
        f"sys.exit(f'{{heavy}} {{status}}' if heavy or status != {status} else 0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
