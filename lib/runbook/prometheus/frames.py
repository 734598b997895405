"""Results as DataFrames: times in UTC, a column for each series; no sample and not a number kept apart."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from runbook.connections.prometheus import Result, Series

NAME_CHARACTERS = 200


def frame_of(result: Result) -> pd.DataFrame:
    """Return a result with one row for each time (UTC index ``time``) and one column for each series.

    Columns are named by the labels as PromQL writes them, cut at 200 characters. A cell is NaN where the series has no
    sample and where its sample is not a number; which it is tell ``attrs``: ``labels`` (of each column, whole),
    ``samples`` and ``not_a_number`` (how many of each column), ``query``, ``left_out`` (series beyond the limit) and
    ``notes`` (Prometheus' warnings). No columns means that no series was there, no sample of it in this time.
    """
    columns = {}
    for name, series in zip(_unique([name_of(series.labels) for series in result.series]), result.series, strict=True):
        columns[name] = pd.Series(series.values, index=times_of(series), dtype="float64")
    frame = pd.DataFrame(columns)
    if not columns:
        frame.index = pd.DatetimeIndex([], tz="UTC")
    frame = frame.sort_index()
    frame.index.name = "time"
    frame.attrs = {
        "query": result.query,
        "labels": [dict(series.labels) for series in result.series],
        "samples": [len(series.values) for series in result.series],
        "not_a_number": [int(np.isnan(series.values).sum()) for series in result.series],
        "left_out": result.left_out,
        "notes": list(result.notes),
    }
    return frame


def times_of(series: Series) -> pd.DatetimeIndex:
    """Return when a series has samples, in UTC, to the millisecond."""
    stamps = (np.asarray(series.times, dtype="float64") * 1000).round().astype("int64")
    return pd.DatetimeIndex(stamps.astype("datetime64[ms]"), name="time").tz_localize("UTC")


def name_of(labels: Mapping[str, str], without: tuple[str, ...] = ("job",)) -> str:
    """Return labels as PromQL writes them, without the name of the job; long ones cut."""
    told = ",".join(f"{key}={_quoted(value)}" for key, value in sorted(labels.items()) if not _left(key, without))
    name = f"{labels.get('__name__', '')}{{{told}}}" if told or "__name__" not in labels else labels["__name__"]
    return name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}…"


def _left(key: str, without: tuple[str, ...]) -> bool:
    return key in without or key == "__name__"


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unique(names: list[str]) -> list[str]:
    seen: dict[str, int] = {}
    told = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        told.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return told
