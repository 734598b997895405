"""A plan: a change written out, frozen and stored; and what became of it."""

from enum import StrEnum
from typing import Any, Literal

import msgspec


class PlanState(StrEnum):
    """What became of a plan.

    PLANNED: nothing was changed. CONFIRMED: it was begun, and what was done of it is known. APPLIED: every step was
    done, and whether it helped is not known. VERIFIED, FAILED: it ended so. ROLLED_BACK: its inverse was carried out.
    UNKNOWN: a step was begun, and nobody knows whether it happened.
    """

    PLANNED = "planned"
    CONFIRMED = "confirmed"
    APPLIED = "applied"
    VERIFIED = "verified"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    UNKNOWN = "unknown"


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step: ``act`` names how it is done, with ``arguments``; ``shown`` is the same as one would do it by hand.

    What cannot be known before it is done (``previewed`` False) is shown as UNPREVIEWABLE.
    """

    act: str
    shown: str
    arguments: dict[str, Any]
    previewed: bool = True


class PostCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question whose findings, before and after, tell whether the change helped."""

    question: str
    arguments: dict[str, Any] = {}


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A frozen plan. Times are UTC of ISO form.

    ``identity`` is the target as it was found, ``observed`` what must still hold when it is carried out, ``expected``
    what must hold afterwards. ``restored`` is what its inverse brings back. ``undoes`` names the plan whose inverse
    this is, "" for any other. ``incident`` is that of the run that made it, "" for none. ``partial`` and ``of_target``
    as for `runbook.model.change.Change`.
    """

    schema: int = 1
    id: str
    change: str
    summary: str
    notebook: str
    target: str
    identity: dict[str, dict[str, str]]
    user: str
    host: str
    made: str
    expires: str
    arguments: dict[str, Any]
    observed: dict[str, Any]
    expected: dict[str, Any]
    steps: list[Step]
    blast_radius: list[str]
    inverse: list[Step]
    irreversible: str
    restored: dict[str, Any]
    checks: list[PostCheck]
    patience: float
    partial: bool = False
    of_target: bool = True
    incident: str = ""
    undoes: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of a plan's journal.

    ``event``: confirmed (it is begun), intent (a step is begun: on the disk before it is), outcome (what came of it),
    refused (it was not carried out, and why), ended (with its ``state``), rolled-back (by the plan in ``told``),
    closed (one that was cut short, by a person who looked and tells what they found).
    ``step`` counts from 1.
    """

    at: str
    event: Literal["confirmed", "intent", "outcome", "refused", "ended", "rolled-back", "closed"]
    step: int = 0
    result: Literal["", "done", "failed", "unknown"] = ""
    state: str = ""
    told: str = ""
    user: str = ""
    host: str = ""
    pid: int = 0
    run_id: str = ""


class Helped(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a change helped, computed from the same findings before and after it.

    ``answer``: "helped", "left all well" (nothing was wrong before), "made no difference",
    "did not help", "made it worse", or "could not be found out".
    ``changed`` has a line for each finding whose status differs, ``left`` one for each that is not well afterwards.
    """

    answer: str
    changed: list[str]
    left: list[str]
