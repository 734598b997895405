"""Has the service's memory grown, and is that a leak, a cache, or more work?"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.memory.verdicts import judged
from runbook.model import Asking, CouldNotFindOut, Finding, Question, UsageError
from runbook.model.text import to_run
from runbook.target.profile import Jobs

MINUTES = 60.0
_SAMPLES = 60
_LEAST_STEP = 5.0
_QUERY_SECONDS = 5.0
COLUMNS = ["subject", "at", "memory", "rate", "limit", "source"]
NOT_TOLD = (
    "the service does not tell its memory (process_resident_memory_bytes, which prometheus_client's own collectors "
    "do in its default registry); memory.growth_now looks by itself, for some seconds"
)


def probe(asking: Asking, *, minutes: float = MINUTES) -> pd.DataFrame:
    """Return a row for each process of the service and step of the last ``minutes``: subject (its instance), at (s
    since the first), memory (bytes, resident), rate (requests a second; NaN: not told), limit (NaN), source.

    What came before a restart does not count: a new process begins anew, and one that is gone does not grow. Raises
    `CouldNotFindOut` where no process of the service tells its memory now.
    """
    if not 1 <= minutes <= 60 * 24 * 14:
        raise UsageError(f"memory is compared over 1 minute to 14 days, not {minutes:g} minutes")
    connection = asking.connection(PrometheusConnection)
    named = asking.target.prometheus
    job = named.jobs.api if named is not None else Jobs().api
    step = max(_LEAST_STEP, round(minutes * 60 / _SAMPLES))
    window = f"{max(30, int(4 * step))}s"
    memory, requests = (_query(name, job, window) for name in ("resident", "requests"))
    end = connection.now()
    start = end - timedelta(minutes=minutes)
    sizes = connection.range(memory, start, end, step, _QUERY_SECONDS).series
    if not sizes:
        raise CouldNotFindOut(NOT_TOLD)
    last = max(one.times[-1] for one in sizes)
    there = [one for one in sizes if one.times[-1] >= end.timestamp() - 2 * step]
    if not there:
        told = f"{datetime.fromtimestamp(last, UTC):%H:%M} UTC"
        raise CouldNotFindOut(f"no process of the service has told its memory since {told}: none runs, or is scraped")
    rates = {
        one.labels.get("instance", ""): (np.array(one.times), np.array(one.values))
        for one in connection.range(requests, start, end, step, _QUERY_SECONDS).series
    }
    parts = []
    for one in there:
        at, values = np.array(one.times), np.array(one.values)
        begins = _since_restart(values)
        at, values = at[begins:], values[begins:]
        instance = one.labels.get("instance", "service")
        served = rates.get(instance)
        # Where nothing was counted at some step, nothing is told of the requests at all.
        covered = served is not None and len(served[0]) and served[0][0] <= at[0] + 4 * step
        rate = np.interp(at, *served) if covered and served is not None else np.full(len(at), np.nan)
        rows = {
            "subject": instance,
            "at": at - at[0],
            "memory": values,
            "rate": rate,
            "limit": np.nan,
            "source": memory,
        }
        parts.append(pd.DataFrame(rows))
    return pd.concat(parts, ignore_index=True)[COLUMNS]


def _since_restart(values: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> int:
    """Return from where on it is one process: behind the last fall to less than half of what it was.

    However few samples are left: a leak that ends its process again and again grows by nothing in all.
    """
    falls = np.flatnonzero(values[1:] < 0.5 * values[:-1])
    return int(falls[-1]) + 1 if len(falls) else 0


def _query(name: str, job: str, window: str) -> str:
    lines = (Path(__file__).parent / "promql" / f"{name}.promql").read_text().splitlines()
    text = " ".join(line.strip() for line in lines if not line.startswith("#"))
    return Template(text).substitute(api=job, window=window)


def check(frame: pd.DataFrame, *, hours: float = 24, least_mib: float = 5) -> list[Finding]:
    """Judge whether it grew by ``least_mib`` or more, beside the requests: a leak is a WARNING.

    Memory that follows the requests up and down is used by them. Memory that rises ever less fills a cache. What is
    left is a leak. Prometheus knows no limit of it: `memory.containers` does.
    """
    return judged(frame, hours, least_mib)


growth = Question(
    name="memory.growth",
    title="Has the service's memory grown, and by what?",
    probe=probe,
    check=check,
    source="lib/runbook/memory/promql/resident.promql",
    needs=(PrometheusConnection,),
    deadline=15.0,
    next=f"see since when, beside releases and load: {to_run('key-metrics')}",
    explained_by={"prometheus.scraping": "Prometheus has no samples of the service"},
)
