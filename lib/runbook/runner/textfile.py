"""The last verdicts as node_exporter's textfile collector reads them."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from runbook.evidence.archive import write_whole
from runbook.evidence.only_one import only_one
from runbook.evidence.verdicts import Line
from runbook.model import RunFailed

STATUS, SUCCESS = "runbook_status", "runbook_last_success_timestamp_seconds"
_HELP = {
    STATUS: "Exit status of the last run: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN, 70 the run itself failed.",
    SUCCESS: "When the last run ended whose verdict was OK.",
}
_LABEL = r'"((?:[^"\\\n]|\\.)*)"'
_SAMPLE = re.compile(rf"({STATUS}|{SUCCESS}){{notebook={_LABEL},target={_LABEL}}} ([0-9]{{1,12}})")
_COMMENT = re.compile(rf"# (?:HELP|TYPE) (?:{STATUS}|{SUCCESS}) .*")
_READ = 10_000_000
LOCK_SECONDS = 2.0
# node_exporter reads it as another user.
MODE = 0o644

Samples = dict[tuple[str, str, str], int]


def write_textfile(path: Path, verdicts: Mapping[Line, int], successes: Mapping[Line, int]) -> None:
    """Bring a file up to date; what other runs have told in it stays.

    Raises `RunFailed` where it holds what no run has written, or another process keeps it; OSError.
    """
    lock = path.with_name(f".{path.name}.lock")
    busy = RunFailed(f"another process has kept {lock} for {LOCK_SECONDS:g} s")
    with only_one(lock, seconds=LOCK_SECONDS, busy=busy):
        samples = _read(path)
        for name, values in ((STATUS, verdicts), (SUCCESS, successes)):
            for (notebook, target), value in values.items():
                samples[name, _escaped(notebook), _escaped(target)] = value
        write_whole(path, _written(samples).encode(errors="replace"), mode=MODE)


def _written(samples: Samples) -> str:
    lines = []
    for metric, told in _HELP.items():
        lines += [f"# HELP {metric} {told}", f"# TYPE {metric} gauge"]
        for (name, notebook, target), value in sorted(samples.items()):
            if name == metric:
                lines.append(f'{name}{{notebook="{notebook}",target="{target}"}} {value}')
    return "\n".join(lines) + "\n"


def _read(path: Path) -> Samples:
    """Return what stands in the file, its labels as they are written there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RunFailed(f"{path} is no file")
        content = file.read(_READ + 1)
    samples: Samples = {}
    for line in content.decode(errors="replace").split("\n"):
        told = _SAMPLE.fullmatch(line)
        if told is not None:
            samples[told[1], told[2], told[3]] = int(told[4])
        elif line and not _COMMENT.fullmatch(line):
            raise RunFailed(f"{path} holds what the runbook has not written, and is left as it is: name another file")
    return samples


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
