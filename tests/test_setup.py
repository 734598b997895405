"""Set-up: the lock, the environment that `python3 lib` makes, and the conda environment agree."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "lib" / "pyproject.toml").read_text())["project"]
# What conda-forge calls otherwise than the Python index does.
CONDA_NAMES = {
    "ruamel-yaml": "ruamel.yaml",
    "docker": "docker-py",
    "redis": "redis-py",
    "jupyter-client": "jupyter_client",
    "prometheus-client": "prometheus_client",
    "isal": "python-isal",
    "duckdb": "python-duckdb",
}


def requirement(text: str) -> tuple[str, str]:
    name, minimum = re.match(r"([A-Za-z0-9-]+)(?:\[\w+\])?\s*(>=[\d.]+)", text).groups()  # type: ignore[union-attr]
    return name.lower(), minimum


def pinned(lock: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, version in re.findall(
        r"^([a-z0-9.-]+)(?:\[\w+\])?==(\S+)", (ROOT / "lib" / lock).read_text(), re.MULTILINE
    ):
        found.setdefault(name, []).append(version)
    return found


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-lab.lock"])
def test_the_lock_pins_exact_versions_with_hashes(lock: str) -> None:
    text = (ROOT / "lib" / lock).read_text()
    entries = re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert len(entries) > 80
    assert not [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]
    assert "uv pip compile lib/pyproject.toml" in text and f"-o lib/{lock}" in text


def test_the_lock_holds_every_dependency_and_no_jupyterlab() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["sandbox"], *extras["test"], *extras["install"]]
    locked = pinned("requirements.lock")
    for name, minimum in map(requirement, wanted):
        assert name in locked, name
        least = tuple(map(int, minimum.removeprefix(">=").split(".")))
        assert all(tuple(map(int, re.findall(r"\d+", version)))[: len(least)] >= least for version in locked[name]), (
            name
        )
    assert "jupyterlab" not in locked and "notebook" not in locked
    assert "jupyterlab" in pinned("requirements-lab.lock")


def test_the_commands_that_made_the_locks_are_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for lock in ("requirements.lock", "requirements-lab.lock", "requirements-tools.lock"):
        command = re.search(r"^#    (uv pip compile .*)$", (ROOT / "lib" / lock).read_text(), re.MULTILINE)
        assert command and command[1] in readme


def test_the_conda_environment_agrees_with_the_project() -> None:
    text = (ROOT / "environment.yml").read_text()
    listed = dict(re.findall(r"^  - ([a-z0-9._-]+)(?: (>=[\d.]+))?$", text, re.MULTILINE))
    assert f"python {PROJECT['requires-python']}" in text
    assert {"postgresql", "redis-server", "jupyterlab", "nbval"} <= set(listed)
    assert re.search(r"- pip:\n\s+- -e \./lib", text)
    for name, minimum in map(requirement, [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["lab"]]):
        conda = CONDA_NAMES.get(name, name)
        assert listed.get(conda) == minimum, name


def test_a_second_call_costs_next_to_nothing(checkout: Path) -> None:
    fake_environment(checkout)
    began = time.monotonic()
    ended = call(checkout, "list")
    assert ended.returncode == 0 and ended.stdout == "handed over: -P -m runbook list\n"
    assert time.monotonic() - began < 5, "it installs nothing"
    assert not ended.stderr


@pytest.mark.slow
def test_a_changed_lock_makes_the_environment_anew_and_a_failure_says_why(checkout: Path) -> None:
    fake_environment(checkout)
    lock = checkout / "lib" / "requirements.lock"
    lock.write_text("no-such-package-of-this-project==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    ended = call(checkout, "list", PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    assert ended.returncode == 70
    assert "could not be installed" in ended.stderr and "Is the package index reachable?" in ended.stderr
    assert not (checkout / ".venv" / "complete").exists()


@pytest.mark.slow
def test_a_half_made_environment_is_made_anew(checkout: Path) -> None:
    fake_environment(checkout)
    (checkout / ".venv" / "complete").unlink()
    left = checkout / ".venv" / "lib" / "half-installed"
    left.mkdir(parents=True)
    (checkout / "lib" / "requirements.lock").write_text("")
    ended = call(checkout, "list", PIP_NO_INDEX="1", PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    assert ended.returncode == 70 and not left.exists()


def test_two_first_calls_at_once_wait_for_each_other(checkout: Path) -> None:
    fake_environment(checkout)
    (checkout / ".venv" / "complete").rename(checkout / "complete")
    with (checkout / ".venv.lock").open("w") as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        second = subprocess.Popen(
            [sys.executable, "lib", "list"], cwd=checkout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert second.stderr is not None
        assert "waiting" in second.stderr.readline()
        (checkout / "complete").rename(checkout / ".venv" / "complete")
    out, _ = second.communicate(timeout=30)
    assert out == "handed over: -P -m runbook list\n"


def test_lab_has_an_environment_of_its_own(checkout: Path) -> None:
    fake_environment(checkout, ".venv-lab", "requirements-lab.lock")
    assert call(checkout, "lab", "--no-browser").stdout == "handed over: -P -m runbook lab --no-browser\n"


@pytest.mark.slow
def test_an_interrupted_installation_is_told_and_leaves_no_stamp(checkout: Path) -> None:
    import signal

    shutil.rmtree(checkout / ".venv", ignore_errors=True)
    process = subprocess.Popen(
        [sys.executable, "lib", "list"], cwd=checkout, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    process.stderr.readline()
    time.sleep(1.5)
    # Python drops an interrupt that comes while it ends an object; a person then presses Ctrl-C once more.
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
            break
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130 and "interrupted" in told
    assert not (checkout / ".venv" / "complete").exists()


def test_without_ensurepip_the_callers_own_pip_serves(checkout: Path) -> None:
    # As on a Debian without python3-venv: the module is there, ensurepip is not.
    probe = textwrap.dedent(
        f"""
        import runpy, subprocess, sys, venv
        main = runpy.run_path({str(checkout / "lib" / "__main__.py")!r})
        venv.EnvBuilder(symlinks=True, with_pip=False).create({str(checkout / "bare")!r})
        really = subprocess.run
        def without(argv, **options):
            return really(["false"] if "ensurepip" in argv else argv, **options)
        subprocess.run = without
        pip = main["find_pip"]({str(checkout / "bare" / "bin" / "python")!r})
        print("--python" in pip, really([*pip, "list"], capture_output=True).returncode)
        """
    )
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert ended.stdout == "True 0\n", ended.stderr


def test_an_old_python_is_refused_in_one_sentence(checkout: Path) -> None:
    call_it = f"runpy.run_path({str(checkout / 'lib')!r}, run_name='__main__')"
    probe = f"import sys, runpy; sys.version_info = (3, 9, 0); {call_it}"
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert ended.returncode == 70 and "Python 3.11 or newer is needed" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what `python3 lib` reads."""
    folder = tmp_path / "checkout"
    (folder / "lib").mkdir(parents=True)
    for name in ("__main__.py", "pyproject.toml", "requirements.lock", "requirements-lab.lock"):
        shutil.copy(ROOT / "lib" / name, folder / "lib" / name)
    return folder


def fake_environment(checkout: Path, name: str = ".venv", lock: str = "requirements.lock") -> None:
    """Lay an environment down that looks complete and whose interpreter says what it was called with."""
    venv = checkout / name
    (venv / "bin").mkdir(parents=True)
    python = venv / "bin" / "python"
    python.write_text('#!/bin/sh\necho "handed over: $*"\n')
    python.chmod(0o755)
    probe = (
        f"import runpy; m = runpy.run_path({str(checkout / 'lib' / '__main__.py')!r}); "
        f"print(m['fingerprint']({str(checkout / 'lib' / lock)!r}, {str(venv)!r}), end='')"
    )
    stamp = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    (venv / "complete").write_text(stamp)


def call(checkout: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "lib", *arguments],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
