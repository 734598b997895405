"""Moments as people and records write them, read in one way."""

from datetime import UTC, datetime


def moment(text: str) -> datetime:
    """Return the moment that an ISO text says, in UTC: so it is meant, too, where it names no zone.

    "UTC" may stand behind it, as the runbook writes it. Raises `ValueError` for what is no moment.
    """
    at = datetime.fromisoformat(text.strip().removesuffix("UTC").strip())
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} lies outside of what can be told") from error
