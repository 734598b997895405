"""Has the service become slower under load since the last archived run?"""

from itertools import islice
from typing import Any

import pandas as pd

from runbook.evidence.archive import NotTrusted, archive_folder
from runbook.evidence.records import frame_of, kept, runs_on
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.performance.driving import require_load
from runbook.performance.load import NAME as LOAD

NAME = "performance.compared"
_NEEDED = ["rate", "requests", "answered", "p50_ms", "p99_ms", "stopped", "interrupted"]
_LOOKED_AT = 30


def probe(asking: Asking, *, load: pd.DataFrame | None = None, notebook: str = "api-performance") -> pd.DataFrame:
    """Return a row for each rate of a load (the frame of `performance.load`) at which the last archived run measured
    the same path: rate, p50_ms, p99_ms, and former_p50_ms, former_p99_ms of that run.

    attrs: ``run_id`` ("" where there is none), ``kept`` and ``former_kept`` (the highest rate that was kept). What lies
    in the archive is taken as it is: whether it is as sealed is for `evidence verify`.
    """
    load = require_load(asking, load)
    if not load["answered"].sum():
        raise CouldNotFindOut(f"no load was answered: see {LOAD}")
    columns = ["rate", "p50_ms", "p99_ms", "former_p50_ms", "former_p99_ms"]
    run_id, former = _last(asking.target.name, notebook, str(load.attrs.get("path", "")))
    frame = pd.DataFrame(columns=columns)
    if former is not None:
        names = {"p50_ms": "former_p50_ms", "p99_ms": "former_p99_ms"}
        frame = load[["rate", "p50_ms", "p99_ms"]].merge(former[["rate", *names]].rename(columns=names), on="rate")[
            columns
        ]
    frame.attrs = {"run_id": run_id, "kept": _kept(load), "former_kept": _kept(former) if former is not None else 0.0}
    frame.attrs["whole"] = not bool(load["interrupted"].any())
    return frame


def _kept(load: pd.DataFrame) -> float:
    rates = load.loc[load["stopped"] == "", "rate"]
    return float(rates.max()) if len(rates) else 0.0


def _last(target: str, notebook: str, path: str) -> tuple[str, pd.DataFrame | None]:
    try:
        named = runs_on(archive_folder(), notebook, target)
    except (NotTrusted, OSError) as strange:
        raise CouldNotFindOut(f"the archive cannot be read: {strange}") from strange
    for place in islice(named, _LOOKED_AT):
        record = kept(place).record
        if record is None or not record.ended or (record.target, record.notebook) != (target, notebook):
            continue
        frame = frame_of(place, LOAD)
        if frame is None or not set(_NEEDED) <= set(frame.columns) or frame.attrs.get("path") != path:
            continue
        if frame["answered"].sum() and not frame["interrupted"].any():
            return place.run_id, frame
    return "", None


def check(frame: pd.DataFrame, *, times: float = 2, least_ms: float = 50) -> list[Finding]:
    """Judge the median at the lowest rate that both runs have, and the highest rate that was kept: a WARNING where the
    one is ``times`` what it was and ``least_ms`` more, or the other no more than that part of it.

    Below some milliseconds a difference is chance.
    """
    attrs = frame.attrs
    if not attrs["run_id"] or frame.empty:
        what = "there is no earlier run that measured the same path and rates; the next one has this one"
        return [Finding(object="earlier run", status=Status.OK, message=what, value="none")]
    row: dict[Any, Any] = frame.iloc[0].to_dict()
    message = (
        f"at {row['rate']:g}/s p50 {row['p50_ms']:,.0f} ms, it was {row['former_p50_ms']:,.0f} ms; p99 "
        f"{row['p99_ms']:,.0f} ms, it was {row['former_p99_ms']:,.0f} ms ({attrs['run_id']})"
    )
    slower = row["p50_ms"] >= times * row["former_p50_ms"] and row["p50_ms"] - row["former_p50_ms"] >= least_ms
    findings = [
        Finding(object="latency", status=Status.WARNING if slower else Status.OK, message=message,
                value=round(row["p50_ms"], 1), threshold=round(times * row["former_p50_ms"], 1), unit="ms")
    ]  # fmt: skip
    less = attrs["whole"] and attrs["former_kept"] > 0 and attrs["kept"] * times <= attrs["former_kept"]
    message = f"it keeps up to {attrs['kept']:g}/s; it was {attrs['former_kept']:g}/s"
    findings.append(
        Finding(object="rate", status=Status.WARNING if less else Status.OK, message=message, value=attrs["kept"],
                threshold=attrs["former_kept"] / times, unit="requests/s")
    )  # fmt: skip
    return findings


compared = Question(
    name=NAME,
    title="Has the service become slower under load since the last archived run?",
    probe=probe,
    check=check,
    source="runbook evidence list; the data of performance.load in the last run of this notebook",
    deadline=20.0,
    caused_by=dict.fromkeys((LOAD, "performance.time_spent"), ("no load was answered",)),
    next="see what was deployed or changed in between; `runbook evidence diff` compares the two runs whole",
)
