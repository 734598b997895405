"""When a notebook runs by itself, as it is written: "daily 07:30", "weekly mon 07:30", "monthly 1 07:30", or "off"."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

OFF = "off"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
# Where a time is not said: early enough to be read when the day begins, on a weekday, when somebody is there.
HOUR, MINUTE, WEEKDAY, DAY = 6, 0, 0, 1
LAST_DAY = 28  # every month has it
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_WRITE = (
    'write "daily 07:30", "weekly mon 07:30", "monthly 1 07:30" (day 1 to 28, day and time may be left out) or "off"'
)

Period = Literal["daily", "weekly", "monthly"]


@dataclass(frozen=True)
class When:
    """A moment that comes back: each day, each week on ``weekday`` (0 is Monday), or each month on ``day``."""

    period: Period
    hour: int = HOUR
    minute: int = MINUTE
    weekday: int = WEEKDAY
    day: int = DAY

    def __str__(self) -> str:
        on = {"daily": "", "weekly": f" {DAYS[self.weekday]}", "monthly": f" {self.day}"}[self.period]
        return f"{self.period}{on} {self.hour:02}:{self.minute:02}"


def read_when(text: str) -> When | None:
    """Return when that is, None for "off"; raises ValueError for what is no schedule."""
    words = text.lower().split()
    if words == [OFF]:
        return None
    if not words or words[0] not in ("daily", "weekly", "monthly"):
        raise ValueError(text)
    period: Period = words[0]  # type: ignore[assignment]
    rest = words[1:]
    weekday, day, hour, minute = WEEKDAY, DAY, HOUR, MINUTE
    if rest and (clock := _TIME.fullmatch(rest[-1])):
        hour, minute = int(clock[1]), int(clock[2])
        rest.pop()
    if rest and period == "weekly" and rest[0] in DAYS:
        weekday = DAYS.index(rest.pop(0))
    elif rest and period == "monthly" and re.fullmatch(r"[0-9]{1,2}", rest[0]) and 1 <= int(rest[0]) <= LAST_DAY:
        day = int(rest.pop(0))
    if rest:
        raise ValueError(text)
    return When(period, hour, minute, weekday, day)


def _require_when(value: str) -> str:
    try:
        read_when(value)
    except ValueError:
        raise PydanticCustomError("bad_schedule", "this is no schedule; " + _WRITE) from None
    return value


Schedule = Annotated[str, AfterValidator(_require_when)]
