"""How busy are the hosts: processors, memory, disks, network?"""

import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, Finding, Question, at_most, first_of
from runbook.model.text import to_run
from runbook.prometheus import figures
from runbook.prometheus.explanations import EXPLAINED_BY
from runbook.prometheus.reading import DEADLINE, frame_of_figures
from runbook.prometheus.seen import compared, fine, seen, told, unknown, with_sources
from runbook.prometheus.window import Window

NEVER = float("inf")


def probe_processors(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return how busy the processors of each host were in a window (%), as `frame_of_figures` does."""
    return frame_of_figures(asking, figures.PROCESSORS, window)


def probe_memory(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return how much memory of each host was in use in a window (%), as `frame_of_figures` does."""
    return frame_of_figures(asking, figures.MEMORY, window)


def probe_disks(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return how full each file system of each host was in a window (%), as `frame_of_figures` does."""
    return frame_of_figures(asking, figures.DISKS, window)


def probe_network(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return what each host received and sent in a window (KiB/s), as `frame_of_figures` does."""
    return frame_of_figures(asking, figures.NETWORK, window)


def _limited(frame: pd.DataFrame, name: str, warning: float, critical: float) -> list[Finding]:
    judged = [
        at_most(one.name, one.value, warning, critical, unit=one.unit, message=told(one))
        for one in seen(frame, name)
        if one.known
    ]
    worst = sorted(judged, key=lambda finding: (finding.status.severity, -float(finding.value or 0)))
    return with_sources(frame, [*unknown(frame, [name]), *first_of(worst, "hosts")])


def check_processors(frame: pd.DataFrame, *, warning: float = 90, critical: float = NEVER) -> list[Finding]:
    """Judge how busy the processors are (%): above 90% requests begin to wait for one another.

    The runbook gives no limit. Busy processors alone are no outage, so none is CRITICAL unless the profile says so.
    """
    return _limited(frame, "processors", warning, critical)


def check_memory(frame: pd.DataFrame, *, warning: float = 90, critical: float = 95) -> list[Finding]:
    """Judge the memory in use (%): 90 is the runbook's own limit (HighMemoryUsage); at 95 the kernel soon ends
    something.
    """
    return _limited(frame, "memory", warning, critical)


def check_disks(frame: pd.DataFrame, *, warning: float = 80, critical: float = 90) -> list[Finding]:
    """Judge how full the file systems are (%): those of `host.disk`, 80 and 90."""
    return _limited(frame, "disk", warning, critical)


def check_network(frame: pd.DataFrame, *, times: float = 5, least: float = 10240) -> list[Finding]:
    """Judge the network against a day and a week before: WARNING at ``times`` as much as both, if that is ``least``
    KiB/s more.

    How much is usual differs by host; ten MiB/s more than ever at this time is a copy, a backup or a leak.
    """
    findings = unknown(frame, ["received", "sent"])
    both = [
        compared(fine(one), one, times, least)
        for name in ("received", "sent")
        for one in seen(frame, name)
        if one.known
    ]
    worst = sorted(both, key=lambda finding: finding.status.severity)
    return with_sources(frame, [*findings, *first_of(worst, "hosts")])


processors = Question(
    name="prometheus.processors",
    title="How busy are the processors?",
    probe=probe_processors,
    check=check_processors,
    source="lib/runbook/prometheus/promql/processors.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see which container uses them: {to_run('vertical-scaling')}",
    explained_by=EXPLAINED_BY,
)

memory = Question(
    name="prometheus.memory",
    title="How much memory is in use?",
    probe=probe_memory,
    check=check_memory,
    source="lib/runbook/prometheus/promql/memory.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see who has it, whether it grows and why: {to_run('high-memory-usage')}",
    explained_by=EXPLAINED_BY,
)

disks = Question(
    name="prometheus.disks",
    title="How full are the file systems?",
    probe=probe_disks,
    check=check_disks,
    source="lib/runbook/prometheus/promql/disks.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see whether it is the database that grows: {to_run('database-maintenance')}; else logs and images",
    explained_by=EXPLAINED_BY,
)

network = Question(
    name="prometheus.network",
    title="How much goes over the network?",
    probe=probe_network,
    check=check_network,
    source="lib/runbook/prometheus/promql/received.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next="compare with backups, exports and releases of that time",
    explained_by=EXPLAINED_BY,
)

__all__ = ["disks", "memory", "network", "processors"]
