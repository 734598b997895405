"""What does the service's own Python tell of its memory?"""

import pandas as pd

from runbook.connections import ApiConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most
from runbook.model.units import as_bytes, counted

_RESIDENT, _OPEN, _MOST_OPEN = "process_resident_memory_bytes", "process_open_fds", "process_max_fds"
_LOST, _PASSES = "python_gc_objects_uncollectable_total", "python_gc_collections_total"
_WANTED = (_RESIDENT, _OPEN, _MOST_OPEN, _LOST, _PASSES, "python_gc_objects_collected_total", "python_info")
COLUMNS = ["metric", "labels", "value"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each sample that tells of the process itself: metric, labels (as text), value.

    Nothing is injected: these are what prometheus_client collects by itself. Raises `CouldNotFindOut` where the service
    exposes none of them.
    """
    samples = asking.connection(ApiConnection).exposition()
    rows = [
        (one.name, ", ".join(f"{key}={value}" for key, value in sorted(one.labels.items())), float(one.value))
        for one in samples
        if one.name in _WANTED
    ]
    if not rows:
        raise CouldNotFindOut(
            "the service exposes nothing of its own process (process_*, python_gc_*, which prometheus_client has); "
            "from outside `py-spy dump --nonblocking --pid PID` shows what each thread does, without stopping it"
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 95) -> list[Finding]:
    """Judge objects that the collector could not free, any of which is a leak, and open files by their limit (%).

    How often the collector ran is told: it frees circles of objects only, and a cache or a list that grows is none.
    """
    values = {name: frame.loc[frame["metric"] == name, "value"] for name in _WANTED}
    findings = []
    if len(values[_RESIDENT]):
        told = f"{as_bytes(float(values[_RESIDENT].sum()))} resident"
        version = frame.loc[frame["metric"] == "python_info", "labels"]
        told += f" ({version.iloc[0]})" if len(version) else ""
        findings.append(Finding(object="memory", status=Status.OK, message=told, value=float(values[_RESIDENT].sum())))
    if len(values[_LOST]):
        lost, passes = int(values[_LOST].sum()), int(values[_PASSES].sum())
        told = f"{counted(lost, 'object')} could not be freed in {counted(passes, 'pass', 'passes')} of the collector"
        status = Status.WARNING if lost else Status.OK
        findings.append(Finding(object="collector", status=status, message=told, value=float(lost), unit="objects"))
    if len(values[_OPEN]) and len(values[_MOST_OPEN]):
        opened, most = float(values[_OPEN].iloc[0]), float(values[_MOST_OPEN].iloc[0])
        share = 100 * opened / most if most else None
        message = f"{opened:.0f} of {most:.0f} open files"
        findings.append(at_most("open files", share, warning, critical, unit="%", message=message))
    return findings


python = Question(
    name="memory.python",
    title="What does the service's own Python tell of its memory?",
    probe=probe,
    check=check,
    source="curl -sS {api}/metrics/prometheus | grep -E '^(process|python)_'",
    needs=(ApiConnection,),
    explained_by={"api.liveness": "the service does not answer at all"},
    next="objects that cannot be freed are held by code in C: see what was installed or upgraded last",
)
