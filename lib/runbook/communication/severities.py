"""The runbook's severities: what each is called, how soon somebody answers, how often is told how it stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

from runbook.model.incident import RESPONSE


@dataclass(frozen=True)
class Severity:
    """One severity. ``word`` and ``response`` are the runbook's own words for it."""

    name: str
    word: str
    response: str


_WORDS = {"P0": "Critical", "P1": "High", "P2": "Medium", "P3": "Low"}
SEVERITIES = {name: Severity(name, word, RESPONSE[name].capitalize()) for name, word in _WORDS.items()}
# The runbook says "Every 15 minutes" in its example, a P1. What is worse is told as often; of the others it says
# nothing: they are told as often as somebody must answer them.
EVERY_MINUTES = {"p0": 15.0, "p1": 15.0, "p2": 120.0, "p3": 1440.0}


def every(severity: str, thresholds: Mapping[str, Any]) -> float | None:
    """Return after how many minutes the next update is due; None where the severity is not known.

    ``thresholds`` are those that a profile sets for the question `communication.updates`.
    """
    if severity not in SEVERITIES:
        return None
    return float(thresholds.get(severity.lower(), EVERY_MINUTES[severity.lower()]))


def answer_due(severity: str, began: datetime, minutes: Mapping[str, float]) -> datetime | None:
    """Return until when somebody must have answered; None where the severity is not known.

    For a P3 that is the end of the next business day, Monday to Friday, in UTC; holidays are not known.
    """
    if severity not in SEVERITIES:
        return None
    if severity.lower() in minutes:
        return began + timedelta(minutes=minutes[severity.lower()])
    day = began.date() + timedelta(days=1)
    while day.weekday() >= 5:
        day += timedelta(days=1)
    return datetime.combine(day, time(23, 59, 59), tzinfo=began.tzinfo)


def in_words(minutes: float) -> str:
    """Return a length of time in words: 45 minutes, 1 hour 30 minutes, 2 days 1 hour."""
    left = round(minutes)
    days, left = divmod(left, 1440)
    hours, left = divmod(left, 60)
    parts = [_counted(days, "day"), _counted(hours, "hour"), _counted(left, "minute")]
    return " ".join([part for part in parts if part][:2]) or "less than a minute"


def _counted(count: int, one: str) -> str:
    return f"{count} {one}{'' if count == 1 else 's'}" if count else ""
