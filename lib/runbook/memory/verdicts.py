"""Say of memory that grows what makes it grow, how fast, and when its limit is reached."""

import math

import numpy as np
import pandas as pd

from runbook.memory.growing import FEWEST, JUMP, LATELY, LEAK, LEVELS_OFF, LOAD, STEADY, UNDECIDED, Growth, growth
from runbook.model import Finding, Status
from runbook.model.text import to_run
from runbook.model.units import as_bytes, length
from runbook.series.slopes import Numbers

_HOUR = 3600.0
# Farther ahead than this no line tells.
_FAR = 90 * 86400.0
_AFTER = {
    LEAK: "restart it in turn to gain time (the plan below), then find what is kept: memray, gc (the plan below), the "
    "last release",
    LOAD: f"more requests need more memory: a larger limit, or more containers: {to_run('horizontal-scaling')}",
    UNDECIDED: "look again when fewer requests come: what does not fall with them is a leak",
    LATELY: f"see at once whether it goes on: {to_run('high-memory-usage')}",
    LEVELS_OFF: "wait until it is full: it is well while that is below the limit",
}


def judged(frame: pd.DataFrame, hours: float, least_mib: float) -> list[Finding]:
    """Return a finding for each subject of a frame with subject, at (s), memory (bytes), rate (requests a second; NaN:
    not known), limit (bytes; NaN: none), source.

    A leak is a WARNING, and CRITICAL where its limit may be reached within ``hours``; a quarter more
    that rose lately is a WARNING. What grows with the load or levels off is told, and a WARNING where the limit may be
    reached within ``hours`` all the same.
    """
    return [_judge(str(name), rows, hours, least_mib) for name, rows in frame.groupby("subject", sort=False)]


def _judge(subject: str, rows: pd.DataFrame, hours: float, least_mib: float) -> Finding:
    rows = rows[rows["memory"].notna()]
    source = str(rows["source"].iloc[0]) if len(rows) else ""
    if len(rows) < FEWEST:
        message = f"only {len(rows)} samples of it: {FEWEST} make a line"
        return Finding(object=subject, status=Status.UNKNOWN, message=message, source=source)
    rate = rows["rate"].to_numpy(float)
    found = growth(
        rows["at"].to_numpy(float), rows["memory"].to_numpy(float), None if np.isnan(rate).any() else rate, least_mib
    )
    limit = float(rows["limit"].iloc[-1])
    span = float(rows["at"].iloc[-1] - rows["at"].iloc[0])
    message = f"{_what(found)}: {_line(found, span, len(rows))}{_by_request(found, rate)}"
    status = Status.OK if found.kind not in (LEAK, UNDECIDED, LATELY) else Status.WARNING
    if found.kind != STEADY and not math.isnan(limit):
        likely, earliest = found.seconds_until(limit)
        if likely < _FAR and found.kind in (LEAK, LOAD, UNDECIDED):
            message += f"; its limit of {as_bytes(limit)} is reached in {length(likely)}, "
            message += f"at the earliest in {length(earliest)}"
        if earliest <= hours * _HOUR and found.kind in (LEAK, LOAD, UNDECIDED):
            status = Status.CRITICAL if found.kind == LEAK else Status.WARNING
    after = _AFTER.get(found.kind, "") if status is not Status.OK else ""
    value = round(found.line.slope * _HOUR / (1 << 20), 3)
    return Finding(object=subject, status=status, message=message, value=value, unit="MiB/h", source=source, next=after)


def _what(found: Growth) -> str:
    if found.kind == LATELY:
        now = as_bytes(found.line.level + found.grown)
        lately = f"it rose by {as_bytes(found.grown)} to {now} within {length(found.ago)}"
        return f"{lately}, too short to tell why; before that"
    if found.kind == JUMP:
        return f"it rose once, by {as_bytes(found.grown)}, {length(found.ago)} ago"
    return _KINDS[found.kind]


_KINDS = {
    STEADY: "it does not grow",
    LEAK: "it leaks",
    LOAD: "it grows and falls with the requests",
    LEVELS_OFF: "it fills up, ever slower",
    UNDECIDED: "it grows while the requests do, which may be why or not",
}


def _line(found: Growth, span: float, count: int) -> str:
    low, slope, high = (_per_hour(one) for one in (found.line.low, found.line.slope, found.line.high))
    return f"{as_bytes(found.line.level)}, {slope} ({low} to {high}) over {length(span)}, {count} samples"


def _per_hour(slope: float) -> str:
    size = slope * _HOUR
    return f"{'+' if size >= 0 else '-'}{as_bytes(abs(size))}/h"


def _by_request(found: Growth, rate: Numbers) -> str:
    if found.kind != LEAK or math.isnan(found.per_request):
        return "" if not np.isnan(rate).any() else "; how many requests it answered meanwhile is not known"
    return f"; {as_bytes(found.per_request)} for each request"
