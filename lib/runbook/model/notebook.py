"""What a notebook says of itself in its ``metadata.runbook``; lists and schedules are made from it."""

from typing import Literal

import msgspec

from runbook.model.errors import UsageError


class NotebookMetadata(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts about one procedure.

    ``severity``: the worst incident it serves (P0 to P3), or "routine". ``symptoms``: words by which it is found.
    ``alerts``: alert names that lead to it. ``schedule``: how often it runs by itself, or None. ``changes``: "none", or
    "plans" where it can plan changes. ``seconds``: how long it typically takes. ``about_incident``: it tells of an
    incident, and so is run for one that is closed as well.
    """

    title: str
    severity: Literal["P0", "P1", "P2", "P3", "routine"]
    symptoms: list[str]
    alerts: list[str]
    schedule: Literal["daily", "weekly", "monthly"] | None
    changes: Literal["none", "plans"]
    seconds: int
    about_incident: bool = False


def read_metadata(name: str, metadata: dict[str, object]) -> NotebookMetadata:
    """Return the checked metadata of a notebook; raises `UsageError` with what is wrong in it."""
    if "runbook" not in metadata:
        raise UsageError(f"notebook {name} has no `metadata.runbook`")
    try:
        return msgspec.convert(metadata["runbook"], NotebookMetadata)
    except msgspec.ValidationError as error:
        raise UsageError(f"notebook {name}: metadata.runbook: {error}") from error
