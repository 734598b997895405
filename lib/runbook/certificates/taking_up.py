"""Have what serves a certificate take up the one that lies on the disk; the way stands in the profile."""

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from runbook.model import Act, Asking, ChangeFailed, CouldNotFindOut, NotPlanned, Step
from runbook.target import Reload, Target, references

ACT = "reload"
_SECONDS = 30


def way(asking: Asking) -> dict[str, Any]:
    """Return how the target's server takes a certificate up, as facts: ``argv``, or ``pid``, ``began`` and ``signal``.

    Empty where the profile does not say. Raises `CouldNotFindOut` where its process is not there, or another one.
    """
    named: Reload | None = asking.target.certificates.reload if asking.target.certificates else None
    if named is None:
        return {}
    if named.argv is not None:
        return {"argv": list(named.argv)}
    assert named.pid_file is not None
    return {**_process(named.pid_file, named.program), "signal": named.signal, "pid_file": str(named.pid_file)}


def _process(path: Path, program: str | None) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            pid = int(file.read(32).split(b"\n")[0])
        process = psutil.Process(pid)
        name, began = process.name(), process.create_time()
    except OSError as error:
        raise CouldNotFindOut(f"the pid file {path} cannot be read: {error.strerror}") from error
    except (ValueError, OverflowError) as error:
        raise CouldNotFindOut(f"the pid file {path} holds no process id") from error
    except psutil.Error as error:
        raise CouldNotFindOut(f"the process of {path} does not run: nothing takes a certificate up") from error
    if program is not None and name != program:
        raise CouldNotFindOut(f"process {pid} of {path} is {name[:40]}, not {program}: the pid file is an old one")
    return {"pid": pid, "began": round(began, 2), "program": name[:40]}


def step(facts: Mapping[str, Any]) -> Step | None:
    """Return the step that has a certificate taken up, from the facts of `way`; None where there is no way.

    Raises `NotPlanned` for a signal to a process that no server is.
    """
    if not facts:
        return None
    if "argv" in facts:
        return Step(act=ACT, shown=shlex.join(facts["argv"]), arguments={"argv": facts["argv"]})
    if facts["pid"] <= 1:
        raise NotPlanned(f"the pid file names process {facts['pid']}, which no server is")
    shown = f"kill -{facts['signal']} {facts['pid']}"
    arguments = {name: facts[name] for name in ("pid", "began", "signal", "program")}
    return Step(act=ACT, shown=shown, arguments=arguments)


def _reload(asking: Asking, arguments: Mapping[str, Any]) -> str:
    if "argv" in arguments:
        return _called(list(arguments["argv"]), asking.target)
    try:
        process = psutil.Process(arguments["pid"])
        if round(process.create_time(), 2) != arguments["began"] or process.name()[:40] != arguments["program"]:
            raise ChangeFailed(f"process {arguments['pid']} is another one now; nothing was sent to it")
        # psutil looks once more whether it is the same one.
        process.send_signal(getattr(signal, f"SIG{arguments['signal']}"))
    except psutil.AccessDenied as error:
        raise ChangeFailed(f"who runs this may not signal process {arguments['pid']}") from error
    except psutil.Error as error:
        raise ChangeFailed(f"process {arguments['pid']} does not run any more") from error
    return f"SIG{arguments['signal']} was sent to {arguments['program']}"


def environment_of(target: Target) -> dict[str, str]:
    """Return the environment for a program that is called, and its hooks: without the secrets of the profile."""
    own = {one.removeprefix("env:") for one in references(target.model_dump(mode="json")) if one.startswith("env:")}
    return {name: value for name, value in os.environ.items() if name not in own}


def _called(argv: list[str], target: Target) -> str:
    try:
        ended = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            timeout=_SECONDS, env=environment_of(target),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CouldNotFindOut(f"{argv[0]} did not end within {_SECONDS} s") from None
    except OSError as error:
        raise ChangeFailed(f"{argv[0]} could not be called: {error.strerror}") from error
    if ended.returncode != 0:
        raise ChangeFailed(f"{argv[0]} ended with {ended.returncode}: {last_words(ended.stderr or ended.stdout)}")
    return ""


def last_words(text: str) -> str:
    """Return the end of what a program said, on one line."""
    from runbook.model.text import printable

    lines = [printable(line.strip()) for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-3:])[-500:] or "without a word"


reload_act = Act(_reload)
