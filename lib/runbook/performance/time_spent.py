"""Where does the time of a request go: the database, the language model, Python, waiting?"""

import math
from typing import Any

import pandas as pd

from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.text import to_run
from runbook.performance.driving import NONE_ANSWERED, require_load
from runbook.performance.load import NAME as LOAD

NAME = "performance.time_spent"
BEFORE, DATABASE, MODEL, PYTHON, WAITING = (
    "before the service", "database", "language model", "Python", "waiting inside the service",
)  # fmt: skip
_NEXT = {
    BEFORE: "its processes are too busy or too few to take requests up, or a proxy or the network holds them: "
    f"{to_run('horizontal-scaling')}",
    DATABASE: f"which statements, and why: {to_run('query-performance')}; what they wait for: "
    f"{to_run('database-issues')}",
    MODEL: f"see whether it is slow or refuses: {to_run('high-error-rate')}",
    PYTHON: "performance.profile names the function; until it is mended, more processes help: "
    f"{to_run('horizontal-scaling')}",
    WAITING: "it neither computes nor asks the database or the model: a pause, a lock, another service, or no free "
    f"connection of its pool: {to_run('connection-exhaustion')}",
}
_TO_KNOW = {
    BEFORE: "have the service log each request with its duration, and name its files in the profile (logs.api)",
    DATABASE: "let the runbook's role see what sessions do, and have the load last a second or more",
    MODEL: "what the log tells of the model stands above (logs.durations); whether it answers, llm.reachable",
    PYTHON: "run this notebook on the machine where the service runs, as its user or as root",
}


def probe(asking: Asking, *, load: pd.DataFrame | None = None, profile: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return a row for each part of a request's time: part, ms (on average; NaN where it is not known), reason (why it
    is not, or what else is known of it).

    It is that of the rates of a load (the frame of `performance.load`) that were kept; where none was, of the lowest.
    attrs: ``rate`` (the highest of them), ``client_ms``, ``busy`` (% of one processor that the service's busiest rate
    took), ``held`` (% of the samples of a ``profile``, the frame of `performance.profile`, in which the interpreter was
    held), ``processes``, ``sessions`` (those that worked in the database at the highest rate), ``pool``.
    """
    load = require_load(asking, load)
    if load["mean_ms"].isna().all():
        raise CouldNotFindOut(f"no request of a load reached the service: see {LOAD}")
    kept = load[load["stopped"] == ""]
    kept = kept if not kept.empty else load.head(1)
    count = float(kept["requests"].sum())  # of those that were not answered, what the service did for them as well
    attrs = load.attrs
    client = _weighted(kept, "mean_ms", "requests")
    server = _weighted(kept, "server_mean_ms", "server_requests")
    database = _database(kept)
    model = _model(kept, count)
    python = _sum(kept["processor_seconds"]) / count * 1000
    rows: list[dict[str, Any]] = [
        {"part": BEFORE, "ms": max(client - server, 0.0), "reason": attrs.get("no_log", "")},
        {"part": DATABASE, "ms": database, "reason": attrs.get("no_database", "") or _waits(kept, database)},
        {"part": MODEL, "ms": model, "reason": attrs.get("no_model", "")},
        {"part": PYTHON, "ms": python, "reason": attrs.get("no_processor", "")},
    ]
    inside = client if math.isnan(server) else server
    known = sum(row["ms"] for row in rows[1:] if not math.isnan(row["ms"]))
    lacking = [row["part"] for row in rows if math.isnan(row["ms"])]
    told = f"less what is not known: {', '.join(lacking)}" if lacking else ""
    rows.append({"part": WAITING, "ms": max(inside - known, 0.0), "reason": told})
    frame = pd.DataFrame(rows, columns=["part", "ms", "reason"])
    shares = 100 * load["processor_seconds"] / load["seconds"]
    service = asking.target.service
    workers = service.workers or 1 if service is not None else 1
    pool = workers * (service.pool_size + (service.max_overflow or 0)) if service and service.pool_size else None
    frame.attrs = {
        "rate": float(kept["rate"].iloc[-1]),
        "client_ms": client,
        "busy": float(shares.max()) if shares.notna().any() else None,
        "held": 100 * float(profile["samples"].sum()) / profile.attrs["looks"] if profile is not None else None,
        "processes": workers,
        "sessions": float(load["database_sessions"].max()) if load["database_sessions"].notna().any() else None,
        "pool": pool,
    }
    return frame


def _weighted(rows: pd.DataFrame, mean: str, weight: str) -> float:
    counted = rows[rows[mean].notna() & (rows[weight] > 0)]
    total = float(counted[weight].sum())
    return float((counted[mean] * counted[weight]).sum()) / total if total else math.nan


def _sum(values: "pd.Series[Any]") -> float:
    return float(values.sum()) if values.notna().all() and len(values) else math.nan


def _database(kept: pd.DataFrame) -> float:
    """Return how long the database works for a request: the sessions that work at a moment, by Little's law."""
    looked = kept[kept["database_sessions"].notna()]  # one that was over at once was not looked at
    if looked.empty:
        return math.nan
    return _sum(looked["database_sessions"] * looked["seconds"]) / float(looked["requests"].sum()) * 1000


def _model(kept: pd.DataFrame, count: float) -> float:
    """Return the time of the model for a request; 0 where its few calls are those of others."""
    calls = _sum(kept["model_calls"])
    if math.isnan(calls):
        return math.nan
    return _sum(kept["model_seconds"]) / count * 1000 if calls >= count / 2 else 0.0


def _waits(kept: pd.DataFrame, database: float) -> str:
    if math.isnan(database):
        return "the load was over before its sessions were looked at"
    waits = [str(wait) for wait in kept["database_waits"] if wait]
    return f"mostly {max(set(waits), key=waits.count)}" if waits else ""


def _blamed(frame: pd.DataFrame, *, computes: bool, held: bool) -> str:
    """Return the part that is to blame for a slow request: the largest; who waits for one that is busy, blames that."""
    known = frame[frame["ms"].notna()]
    if known.empty:
        return ""
    part = str(known.sort_values("ms", ascending=False)["part"].iloc[0])
    if part in (WAITING, BEFORE) and (computes or held):
        return PYTHON if computes else DATABASE
    return part


def check(
    frame: pd.DataFrame, *, slow_ms: float = 500, too_slow_ms: float = 2000, busy: float = 75, pool: float = 90
) -> list[Finding]:
    """Tell each part; where a request takes more than ``slow_ms`` on average, the largest part is a WARNING, and above
    ``too_slow_ms``, the runbook's own limit, CRITICAL: then it is why the load found what it did.

    So is a service whose interpreters are busy for ``busy`` % of the time each (by the processors' time, or by the
    profile, which also sees it where the machine has no processor left), and one that has ``pool`` % of its connections
    at work in the database at the same time.
    """
    attrs, findings = frame.attrs, []
    client = attrs["client_ms"]
    busiest = max(attrs["busy"] or 0.0, attrs["held"] or 0.0)
    computes = busiest >= busy * attrs["processes"]
    held = bool(attrs["pool"]) and attrs["sessions"] is not None and attrs["sessions"] >= pool / 100 * attrs["pool"]
    blamed = _blamed(frame, computes=computes, held=held) if client > slow_ms else ""
    for row in frame.to_dict("records"):
        part, ms, reason = str(row["part"]), float(row["ms"]), str(row["reason"])
        if math.isnan(ms):
            message = f"not known: {reason or 'not told'}"
            findings.append(Finding(object=part, status=Status.UNKNOWN, message=message, next=_TO_KNOW.get(part, "")))
            continue
        if part == WAITING and (computes or held) and blamed:
            reason = "for the interpreter, which is busy" if computes else "for a connection, which all are at work"
        message = f"{ms:,.1f} ms of a request{f'; {reason}' if reason else ''}"
        if part != blamed:
            findings.append(Finding(object=part, status=Status.OK, message=message, value=round(ms, 1), unit="ms"))
            continue
        message = (
            f"this is where the time goes: {min(ms, client):,.0f} of {client:,.0f} ms{f'; {reason}' if reason else ''}"
        )
        findings.append(
            Finding(object=part, status=Status.CRITICAL if client > too_slow_ms else Status.WARNING, message=message,
                    value=round(ms, 1), threshold=too_slow_ms if client > too_slow_ms else slow_ms, unit="ms",
                    next=_NEXT[part])
        )  # fmt: skip
    if computes:
        message = (
            f"it was busy for {busiest:.0f}% of the time, of {100 * attrs['processes']}% that the service's processes "
            "have: each has one, which computes for one request at a time"
        )
        findings.append(
            Finding(object="interpreter", status=Status.WARNING, message=message, value=round(busiest, 1),
                    threshold=busy * attrs["processes"], unit="%")
        )  # fmt: skip
    if held:
        message = (
            f"{attrs['sessions']:.1f} of the service's {attrs['pool']} connections were at work in the database at the "
            "same time: who comes then waits for one"
        )
        findings.append(
            Finding(object="connections", status=Status.WARNING, message=message, value=round(attrs["sessions"], 1),
                    threshold=pool / 100 * attrs["pool"], unit="sessions", next=_NEXT[DATABASE])
        )  # fmt: skip
    return findings


time_spent = Question(
    name=NAME,
    title="Where does the time of a request go: the database, the language model, Python, waiting?",
    probe=probe,
    check=check,
    source="pg_stat_activity each 0.1 s; /metrics/prometheus, the log and the processes' time before and after",
    caused_by=dict.fromkeys((LOAD, NAME), (NONE_ANSWERED,)),
    next="performance.profile names the function; until that is mended, more processes help",
)
