"""Run the operations runbook from a checkout: ``python3 lib ARGS``.

Needs nothing but the standard library. The first call makes an environment of exactly the versions in
``requirements.lock`` (``.venv`` beside this folder; ``.venv-lab`` for ``lab``) and every call hands its arguments to
``runbook`` in it.
"""

import hashlib
import os
import sys

TYPE_CHECKING = False  # typing itself would cost as much time as everything else here
if TYPE_CHECKING:
    from typing import NoReturn

LIB = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(LIB)


def main() -> None:
    """Make the environment if its lock has changed, then become the ``runbook`` command in it."""
    if sys.version_info < (3, 11):
        stop(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}. Call `python3.11 lib …` or newer.")
    lab = sys.argv[1:2] == ["lab"]
    lock = os.path.join(LIB, "requirements-lab.lock" if lab else "requirements.lock")
    venv = os.path.join(ROOT if os.access(ROOT, os.W_OK) else cache_folder(), ".venv-lab" if lab else ".venv")
    python = os.path.join(venv, "bin", "python")
    stamp = os.path.join(venv, "complete")
    wanted = fingerprint(lock, venv)
    if not is_complete(stamp, wanted, python):
        make_alone(venv, lock, python, stamp, wanted)
    # What is told to be typed begins with `runbook`, which is no command of who calls it from a checkout.
    os.environ["RUNBOOK_COMMAND"] = f"python3 {LIB}"
    # -P: nothing is imported from the folder that somebody happens to be in.
    os.execv(python, [python, "-P", "-m", "runbook", *sys.argv[1:]])


def fingerprint(lock: str, venv: str) -> str:
    """Return a digest of everything that decides what the environment holds, its own place included."""
    digest = hashlib.sha256(f"{venv}\0{LIB}\0".encode())
    for path in (lock, os.path.join(LIB, "pyproject.toml")):
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def is_complete(stamp: str, wanted: str, python: str) -> bool:
    """Tell whether the environment was finished for these very files and its interpreter is still there."""
    try:
        with open(stamp) as file:
            return file.read() == wanted and os.path.exists(python)
    except OSError:
        return False


def make_alone(venv: str, lock: str, python: str, stamp: str, wanted: str, *, itself: bool = True) -> None:
    """Make the environment while no other process makes it; one that was left half-made is made anew.

    ``itself`` is whether this folder goes into it, beside what is locked.
    """
    import fcntl

    os.makedirs(os.path.dirname(venv), exist_ok=True)
    with open(venv + ".lock", "w") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another `python3 lib` is making {venv}; waiting for it")
            fcntl.flock(guard, fcntl.LOCK_EX)
        if is_complete(stamp, wanted, python):
            return
        try:
            make(venv, lock, python, itself)
        except KeyboardInterrupt:
            say("")
            stop("interrupted; the same command starts the installation again.", 130)
        with open(stamp + ".new", "w") as file:
            file.write(wanted)
        os.replace(stamp + ".new", stamp)


def make(venv: str, lock: str, python: str, itself: bool) -> None:
    """Make the environment: interpreter, pip, the locked packages, and where it is to have it, this folder itself."""
    import compileall
    import shutil
    import time

    began = time.monotonic()
    say(f"Making {venv} (once; about a minute)")
    shutil.rmtree(venv, ignore_errors=True)
    try:
        import venv as venv_module

        venv_module.EnvBuilder(symlinks=True, with_pip=False).create(venv)
    except ImportError:
        stop("Python's `venv` module is missing; on Debian or Ubuntu: apt install python3-venv")
    except OSError as error:
        stop(f"cannot make {venv}: {error.strerror or error}.")
    pip = find_pip(python)
    install([*pip, "install", "--require-hashes", "--no-deps", "--only-binary=:all:", "-r", lock], count_pins(lock))
    if itself:
        install([*pip, "install", "--no-deps", "--no-build-isolation", "--no-index", "-e", LIB], 0)
        # Where PYTHONDONTWRITEBYTECODE is set, as in many images, each run would compile all of it anew, twice.
        compileall.compile_dir(LIB, quiet=2, workers=0)
    say(f"Ready after {time.monotonic() - began:.0f} s")


def find_pip(python: str) -> list[str]:
    """Return the argv of a pip that installs into the new environment.

    Debian's python3 comes without ensurepip; a pip beside the calling interpreter does as well.
    """
    import subprocess

    inside = [python, "-m", "pip"]
    outside = [sys.executable, "-m", "pip", "--python", python]
    for tried, pip in (([python, "-m", "ensurepip", "--default-pip"], inside), ([*outside, "--version"], outside)):
        if subprocess.run(tried, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0:
            return pip
    stop("neither ensurepip nor pip 22.3 or newer is here; on Debian or Ubuntu: apt install python3-venv")


def install(command: list[str], packages: int) -> None:
    """Run pip, showing how far it is; on failure show its last words and stop."""
    import subprocess

    environment = dict(os.environ, PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_PROGRESS_BAR="off")
    environment.pop("PIP_REQUIRE_VIRTUALENV", None)
    environment.pop("PIP_USER", None)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, env=environment
    )
    assert process.stdout is not None
    last: list[str] = []
    seen = 0
    try:
        for line in process.stdout:
            last = [*last[-14:], line.rstrip()]
            if line.startswith("Collecting "):
                seen += 1
                progress(f"  {seen}/{packages} {line.split()[1]}", seen % 25 == 0)
            elif line.startswith("Installing collected") and seen:
                progress(f"  unpacking {seen} packages", True)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if process.wait() != 0:
        say("\n".join(["", *last]))
        stop("the packages could not be installed; pip's last words are above. Is the package index reachable?", 70)
    progress("", False)


def count_pins(lock: str) -> int:
    """Return how many packages the lock pins; those for other systems are among them."""
    with open(lock) as file:
        return sum(1 for line in file if "==" in line and not line.startswith((" ", "#")))


def cache_folder() -> str:
    """Return a folder of this user's for the environment of a checkout that cannot be written to."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(cache, "runbook", hashlib.sha256(ROOT.encode()).hexdigest()[:12])


def progress(text: str, milestone: bool) -> None:
    """Show a line that the next one overwrites; where stderr is no terminal, only the milestones."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text[:78]}")
        sys.stderr.flush()
    elif milestone:
        say(text)


def say(text: str) -> None:
    """Write a line on stderr, so that stdout stays the command's own."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def stop(text: str, status: int = 70) -> "NoReturn":
    """End with one sentence and an exit status."""
    say(f"runbook: {text}")
    sys.exit(status)


if __name__ == "__main__":
    main()
