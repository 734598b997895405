"""The window of time that the questions on logs are about, and how long before it is "usual"."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from runbook.connections import LogsConnection
from runbook.logfiles.entries import as_stamp
from runbook.logfiles.tally import Period, Reading, Tally
from runbook.model import Asking, CouldNotFindOut, UsageError
from runbook.model.moments import moment

PASS_SECONDS = 60.0
# A question's own deadline leaves the pass room to end by itself, with a sentence about what to do.
DEADLINE = PASS_SECONDS + 10


@dataclass(frozen=True)
class Window:
    """From ``since`` until just before ``until``; ``before`` is how much earlier the time to compare with begins."""

    since: datetime
    until: datetime
    before: timedelta

    @property
    def hours(self) -> float:
        """Return the length in hours."""
        return (self.until - self.since).total_seconds() / 3600

    @property
    def periods(self) -> tuple[Period, Period]:
        """Return the window and the time before it as periods of the log."""
        since = as_stamp(self.since)
        return Period("window", since, as_stamp(self.until)), Period(
            "before", as_stamp(self.since - self.before), since
        )


def window(hours: float = 24.0, until: str = "", before_hours: float = 48.0) -> Window:
    """Return the window of the last ``hours`` before ``until`` (ISO, UTC where it names no zone; empty: now).

    Raises `UsageError` for what is no time or no length of time.
    """
    try:
        end = moment_of(until) if until else datetime.now(UTC)
        begin = end - timedelta(hours=hours)
        return Window(begin, end, _positive(hours, before_hours))
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"no window of {hours} hours until {until or 'now'!r}: write the time as 2026-01-31T14:30, in UTC, "
            "and more than 0 hours"
        ) from error


def moment_of(text: str) -> datetime:
    """Return the moment of an ISO text, in UTC where it names no zone; raises `UsageError` where it is none."""
    try:
        return moment(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no time: write it as 2026-01-31T14:30, in UTC") from error


def _positive(hours: float, before: float) -> timedelta:
    if not hours > 0 or not before >= 0:
        raise ValueError("a window has a length")
    return timedelta(hours=before)


def one_pass(asking: Asking, asked: Window | None) -> tuple[Reading, Tally, Window]:
    """Return the pass over the window (the last 24 h where none is asked), its tally and the window itself."""
    logs = asking.connection(LogsConnection)
    about = asked or window(until=logs.opened_at.isoformat())
    reading = logs.reading(about.periods, PASS_SECONDS)
    return reading, reading.periods["window"], about


def require_entries(reading: Reading, tally: Tally) -> None:
    """Raise `CouldNotFindOut` where the window holds no entry: nothing can be told from silence."""
    if not tally.entries:
        newest = f"the newest entry of all is of {reading.newest[:19]} UTC" if reading.newest else "no file holds one"
        raise CouldNotFindOut(f"the log has no entry in this window; {newest}")


def require_requests(reading: Reading, tally: Tally) -> None:
    """Raise `CouldNotFindOut` where the window's entries record no requests, as those of the text format do not."""
    require_entries(reading, tally)
    if not tally.requests:
        form = "the text format of the log records" if tally.text_lines else "the log records"
        raise CouldNotFindOut(f"{form} no path, no status and no duration")


def require_statuses(reading: Reading, tally: Tally) -> None:
    """Raise `CouldNotFindOut` where the window's entries do not record how requests were answered."""
    require_requests(reading, tally)
    if tally.without_status == tally.requests:
        raise CouldNotFindOut(f"the log records no status of the {tally.requests:,} requests")


def partly_recorded(tally: Tally) -> str:
    """Return what to add to a figure where a part of the entries is in the text format, which records less."""
    if not tally.text_lines:
        return ""
    return f" ({tally.text_lines:,} of {tally.entries:,} entries are of the text format, which records no request)"
