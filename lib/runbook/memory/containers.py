"""What of each container's memory is whose: its limit, its peak, anonymous memory, and what is only cache?"""

import msgspec
import pandas as pd

from runbook.connections import ContainersConnection
from runbook.memory.explanations import EXPLAINED_BY
from runbook.memory.groups import Held, groups
from runbook.model import Asking, Finding, Question, Status, at_most
from runbook.model.text import to_run
from runbook.model.units import as_bytes, counted

COLUMNS = [
    "container", "version", "used", "current", "limit", "peak", "anonymous", "cache", "inactive", "kernel", "swap",
    "at_limit", "source", "problem",
]  # fmt: skip
_FIGURES = COLUMNS[2:-2]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each container, in bytes: container, version (of its control group), used (without what the
    kernel gives back first), current, limit (NaN: none), peak, anonymous, cache, inactive (what of it is given back
    first), kernel, swap, at_limit (how often it stood at its limit), source, problem. NaN is what the kernel does not
    tell: before Linux 5.19, version 2 has no peak.
    """
    rows = [_row(held) for held in groups(asking.connection(ContainersConnection))]
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(_FIGURES, "float64"))


def _row(held: Held) -> dict[str, object]:
    row: dict[str, object] = {"container": held.label, "version": 0, "source": held.source, "problem": held.problem}
    if held.group is None:
        return row
    return row | {name: getattr(held.group, name) for name in ("version", *_FIGURES)}


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 90) -> list[Finding]:
    """Judge what is used of each limit (%), as `docker.resources` does: at the limit the kernel kills.

    What the kernel gives back first does not count: a cache fills all that a container may have, and means nothing. No
    limit is a WARNING: a leak then takes the machine's memory from everything else.
    """
    findings = []
    for row in frame.to_dict("records"):
        if row["problem"]:
            message = f"cannot be looked at: {row['problem']}"
            findings.append(Finding(object=row["container"], status=Status.UNKNOWN, message=message))
            continue
        told = f"{as_bytes(row['used'])} in use"
        parts = [f"{as_bytes(row[name])} {words}" for name, words in _WORDS.items() if pd.notna(row[name])]
        told += f" ({', '.join(parts)})" if parts else ""
        if pd.notna(row["peak"]):
            told += f"; at most {as_bytes(row['peak'])} since it started"
        if pd.notna(row["at_limit"]) and row["at_limit"] > 0:
            told += f"; it stood at its limit {counted(int(row['at_limit']), 'time')}"
        if pd.isna(row["limit"]):
            told += "; nothing limits it but the machine"
            found = Finding(object=row["container"], status=Status.WARNING, message=told, next=_LIMIT_IT)
        else:
            share = 100 * row["used"] / row["limit"]
            message = f"{told}; its limit is {as_bytes(row['limit'])}"
            found = at_most(row["container"], share, warning, critical, unit="%", message=message)
        findings.append(msgspec.structs.replace(found, source=row["source"]))
    return findings


_WORDS = {"anonymous": "anonymous", "cache": "cache", "kernel": "the kernel's for it", "swap": "swapped out"}
_LIMIT_IT = f"give it a limit that fits: {to_run('vertical-scaling')}"

containers = Question(
    name="memory.containers",
    title="What of each container's memory is whose?",
    probe=probe,
    check=check,
    source="grep '' /sys/fs/cgroup/memory.* /sys/fs/cgroup/memory/memory.*   # in the container",
    needs=(ContainersConnection,),
    explained_by=EXPLAINED_BY,
    deadline=10.0,
    next="anonymous memory that grows is a leak or too many workers: see what grows below; the plan gives it more",
)
