"""Where does the service's Python compute?"""

import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from runbook.connections import LoadGenerator
from runbook.connections.generator import Bounds, Step
from runbook.connections.programs import Owner, call, last_words
from runbook.connections.service import service_of
from runbook.model import Asking, ChangeFailed, CouldNotFindOut, Finding, Question, RunbookError, Status
from runbook.model.text import shortened
from runbook.performance.driving import needs_plan, url_of

NAME = "performance.profile"
PROGRAM = "py-spy"
RATE = 50
MOST_SECONDS = 20
_STACKS = 500
GRANT = (
    "run this notebook as root, or as the service's own user with sysctl kernel.yama.ptrace_scope=0, or "
    "setcap cap_sys_ptrace+ep on the program py-spy; for a container: cap_add SYS_PTRACE where py-spy runs inside"
)
# Of a practice stack, which has no users, so many requests a second are sent meanwhile.
_GENTLY = 2.0
_ARRIVES_SECONDS = 0.2  # until the first of them is there


def probe(asking: Asking, *, seconds: int = 2, path: str = "") -> pd.DataFrame:
    """Return a row for each stack of the service's Python that computed: stack (the outermost first, with ; between),
    samples. attrs: ``looks`` (how often was looked), ``service`` (which process that is), ``loaded`` (whether requests
    were sent meanwhile, as to a practice stack; else the profile is of those that came).

    The service is not paused (--nonblocking), and nothing is injected into it: its memory is read from outside. Raises
    `CouldNotFindOut` where that right is missing, with what to grant.
    """
    if not 1 <= seconds <= MOST_SECONDS:
        raise CouldNotFindOut(f"a profile takes 1 to {MOST_SECONDS} s, not {seconds}")
    program = shutil.which(
        PROGRAM, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    if program is None:
        raise CouldNotFindOut(f"{PROGRAM} is not installed: pip install py-spy (it comes with this library)")
    service = service_of(asking)
    loading = _loading(asking, path, seconds)
    with tempfile.TemporaryDirectory(prefix="profile-") as folder:
        output = Path(folder) / "stacks"
        argv = [
            program, "record", "--pid", str(service.pid), *(["--subprocesses"] if len(service.processes) > 1 else []),
            "--nonblocking", "--gil", "--function", "--format", "raw",
            "--rate", str(RATE), "--duration", str(seconds), "--output", str(output),
        ]  # fmt: skip
        try:
            ended = call(argv, Owner(os.geteuid(), os.getegid()), seconds + 8.0)
        except ChangeFailed as reason:
            raise CouldNotFindOut(str(reason)) from reason
        finally:
            if loading is not None:
                loading.join(1.0)
        told = output.read_text(errors="replace") if output.exists() else ""
    if ended.returncode != 0 and not told:
        raise CouldNotFindOut(_why(ended.stderr, service.told))
    rows = [line.rpartition(" ") for line in told.splitlines()]
    stacks = [{"stack": _without_command(stack), "samples": int(n)} for stack, _, n in rows if stack and n.isdigit()]
    frame = pd.DataFrame(stacks, columns=["stack", "samples"]).sort_values("samples", ascending=False, kind="stable")
    frame = frame.head(_STACKS).reset_index(drop=True)
    frame.attrs = {"looks": RATE * seconds, "service": service.told, "loaded": loading is not None}
    return frame


def _without_command(stack: str) -> str:
    """Return a stack whose process is told by its pid alone: a command line may hold anything, secrets too."""
    if not stack.startswith("process "):
        return stack
    process, _, told = stack.partition(":")
    _, _, frames = told.rpartition('";')
    return f"{process};{frames}" if frames else process


def _why(said: str, service: str) -> str:
    # Of a process and those that it started it says only that it found no Python, where it may read none of them.
    if re.search("permission denied|operation not permitted|no python processes found", said, re.IGNORECASE):
        return f"no right to read the memory of the service ({service}): {GRANT}"
    if "python" in said.lower() and ("version" in said.lower() or "not a python" in said.lower()):
        return f"the process of the service ({service}) is no Python that {PROGRAM} can read: {last_words(said)[:200]}"
    return f"{PROGRAM} could not read the service ({service}): {last_words(said)[:200]}"


def _loading(asking: Asking, path: str, seconds: int) -> threading.Thread | None:
    """Begin to send a few requests to a practice stack; None where that takes a plan, or there is no generator."""
    if needs_plan(asking):
        return None
    try:
        generator, url = asking.connection(LoadGenerator), url_of(asking, path)
    except CouldNotFindOut:
        return None

    def send() -> None:
        with suppress(CouldNotFindOut, RunbookError, OSError):
            generator.load(url, [Step.of(_GENTLY, seconds)], Bounds(10.0, 1.0, 1.0), lambda: None)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    time.sleep(_ARRIVES_SECONDS)
    return thread


def check(frame: pd.DataFrame, *, busy: float = 80, share: float = 50) -> list[Finding]:
    """Tell how much the interpreter computed, and in which function most: a WARNING where it did for ``busy`` % of the
    time, and ``share`` % of that in one function.

    One interpreter computes for one request at a time: all others wait meanwhile.
    """
    attrs = frame.attrs
    of = "while two requests a second were sent" if attrs["loaded"] else "with the requests that came meanwhile"
    if frame.empty:
        message = f"no sample of {attrs['looks']} found it computing, {of}: what it does is to wait"
        return [Finding(object="interpreter", status=Status.OK, message=message, value=0.0, threshold=busy, unit="%")]
    leaves: Counter[str] = Counter()
    for row in frame.to_dict("records"):
        leaves[_leaf(row)] += int(row["samples"])
    samples = leaves.total()
    computed = 100 * samples / attrs["looks"]
    function, most = leaves.most_common(1)[0]
    mine = 100 * most / samples
    message = f"it computed in {computed:.0f}% of {attrs['looks']} samples, {of}; {mine:.0f}% of that in {function}"
    bad = computed >= busy and mine >= share
    after = f"mend {function}: what takes long there belongs into another process, or into code that lets go of the GIL"
    return [
        Finding(
            object="interpreter",
            status=Status.WARNING if bad else Status.OK,
            message=message,
            value=round(computed, 1),
            threshold=busy,
            unit="%",
            next=after if bad else "",
        )
    ]


def _leaf(row: Any) -> str:
    """Return the innermost function of a stack, without its line."""
    function, _, where = str(row["stack"]).rpartition(";")[2].partition(" (")
    return shortened(f"{function} ({where.partition(':')[0]})" if where else function)


profile = Question(
    name=NAME,
    title="Where does the service's Python compute?",
    probe=probe,
    check=check,
    source="py-spy record --pid PID --nonblocking --gil --function --format raw",
    deadline=40.0,
    next="see the flame graph below",
    explained_by={"api.liveness": "the service does not answer"},
)
