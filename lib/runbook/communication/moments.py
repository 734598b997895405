"""Moments as people write them and as messages tell them: in UTC."""

from datetime import UTC, datetime

from runbook.model import CouldNotFindOut
from runbook.model.moments import moment

_SHOWN = "%Y-%m-%d %H:%M UTC"


def shown(at: datetime) -> str:
    """Return a moment as the runbook's templates have it: 2024-01-01 14:30 UTC."""
    return at.astimezone(UTC).strftime(_SHOWN)


def read(text: str, what: str) -> datetime | None:
    """Return the moment that a text says, UTC where it names no zone; None for an empty one.

    Raises `CouldNotFindOut` for what is no moment.
    """
    if not text.strip():
        return None
    try:
        return moment(text)
    except ValueError:
        raise CouldNotFindOut(f"{what} is no time; write it like 2024-01-01 14:30, in UTC") from None
