"""An incident: an id, and what was written down of it, entry by entry; nothing that was written is changed."""

import re
import secrets
from datetime import datetime
from typing import Literal

import msgspec

from runbook.model.layout import ALPHABET

Severity = Literal["P0", "P1", "P2", "P3"]
SEVERITIES: tuple[Severity, ...] = ("P0", "P1", "P2", "P3")
# In the runbook's own words: within which time somebody must respond.
RESPONSE: dict[str, str] = {"P0": "immediate", "P1": "30 minutes", "P2": "2 hours", "P3": "next business day"}

_ID = re.compile(r"inc_[0-9]{8}_[a-z2-9]{6}")


class IncidentEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing written down of an incident. Times are UTC of ISO form.

    ``kind``: opened (with ``title``, ``severity``, ``owner``, ``targets``), note (its ``text``, and ``severity`` or
    ``owner`` where they changed), closed (``text`` is the resolution), report (a post-mortem was made of it).
    ``at`` is when it happened, as its author says; ``written`` is when it was written down. ``began`` is when the
    trouble itself began, as far as it is known ("" where it is not).
    """

    schema: int = 1
    incident: str
    kind: Literal["opened", "note", "closed", "report"]
    at: str
    written: str
    author: str
    text: str = ""
    title: str = ""
    severity: Literal["", "P0", "P1", "P2", "P3"] = ""
    owner: str = ""
    targets: list[str] = []
    began: str = ""


def new_incident_id(at: datetime) -> str:
    """Return an id that tells its day and begins with letters (papermill turns 0123 into 123)."""
    return f"inc_{at:%Y%m%d}_" + "".join(secrets.choice(ALPHABET) for _ in range(6))


def is_incident_id(text: str) -> bool:
    """Tell whether a text is the id of an incident, as this command gives them."""
    return _ID.fullmatch(text) is not None
