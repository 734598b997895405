"""How does the work go: the triage queue, the language model, the database?"""

import pandas as pd

from runbook.connections import PrometheusConnection
from runbook.model import Asking, Finding, Question, at_most
from runbook.model.text import to_run
from runbook.prometheus import figures
from runbook.prometheus.explanations import EXPLAINED_BY
from runbook.prometheus.reading import DEADLINE, frame_of_figures
from runbook.prometheus.seen import compared, fine, seen, told, unknown, with_sources
from runbook.prometheus.window import Window

NO_CALL = "no call"
NO_TRANSACTION = "no transaction"


def probe_queue(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return how many items waited in a window and for how long the oldest had (h), as `frame_of_figures` does."""
    return frame_of_figures(asking, figures.QUEUE, window)


def probe_model(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return p50 and p95 of the language model's calls in a window (ms, over an hour), as `frame_of_figures` does."""
    return frame_of_figures(asking, figures.MODEL_TIME, window)


def probe_database(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return the time that the database worked for a transaction in a window (ms), as `frame_of_figures` does."""
    return frame_of_figures(asking, figures.DATABASE_TIME, window)


def check_queue(
    frame: pd.DataFrame,
    *,
    warning: float = 1000,
    critical: float = 5000,
    warning_hours: float = 24,
    critical_hours: float = 72,
) -> list[Finding]:
    """Judge how many items wait and for how long the oldest has (h): the limits of `queue.size` and
    `queue.oldest_item`.

    An empty queue is 0 items and 0 h, which is something else than no figure.
    """
    findings = unknown(frame, ["waiting", "oldest"])
    for name, limits in (("waiting", (warning, critical)), ("oldest", (warning_hours, critical_hours))):
        findings += [
            at_most(one.name, one.value, *limits, unit=one.unit, message=told(one))
            for one in seen(frame, name)
            if one.known
        ]
    return with_sources(frame, findings)


def check_model(frame: pd.DataFrame, *, times: float = 3, least_ms: float = 1000) -> list[Finding]:
    """Judge p95 of the language model's calls (ms) against a day and a week before: WARNING at ``times`` as long as
    both, if that is ``least_ms`` more.

    How long is usual differs by model and prompt, so there is no limit. What is measured is the generation of
    candidates as a whole, the only timing of it that the service has.
    """
    findings = unknown(frame, ["model p95", "model p50"])
    findings += [compared(fine(one, NO_CALL), one, times, least_ms) for one in seen(frame, "model p95") if one.known]
    findings += [fine(one, NO_CALL) for one in seen(frame, "model p50") if one.known]
    return with_sources(frame, findings)


def check_database(frame: pd.DataFrame, *, times: float = 3, least_ms: float = 20) -> list[Finding]:
    """Judge the time that the database works for a transaction (ms) against a day and a week before: WARNING at
    ``times`` as much as both, if that is ``least_ms`` more (pghero's limit for a slow statement).
    """
    findings = unknown(frame, ["per transaction"])
    findings += [
        compared(fine(one, NO_TRANSACTION), one, times, least_ms) for one in seen(frame, "per transaction") if one.known
    ]
    return with_sources(frame, findings)


queue = Question(
    name="prometheus.queue",
    title="How long is the triage queue, and does it move?",
    probe=probe_queue,
    check=check_queue,
    source="lib/runbook/prometheus/promql/queue_size.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see whether items still come out, and whether the service itself says so: {to_run('morning-health-check')}",
    explained_by=EXPLAINED_BY,
)

model_time = Question(
    name="prometheus.model_time",
    title="How long does the language model take?",
    probe=probe_model,
    check=check_model,
    source="lib/runbook/prometheus/promql/model_time.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see whether its breaker is open and what it answers: {to_run('morning-health-check')}",
    explained_by=EXPLAINED_BY,
)

database_time = Question(
    name="prometheus.database_time",
    title="How long does the database work for a transaction?",
    probe=probe_database,
    check=check_database,
    source="lib/runbook/prometheus/promql/database_time.promql",
    needs=(PrometheusConnection,),
    deadline=DEADLINE,
    next=f"see which statements take it: {to_run('query-performance')}",
    explained_by=EXPLAINED_BY,
)

__all__ = ["database_time", "model_time", "queue"]
