"""Tokens for the eyes of whoever called the command: they stand in nothing that is written down."""

import shlex
import sys
from collections.abc import Sequence

import msgspec

from runbook.model.plan import PlanState
from runbook.model.protocol import PlanRecord, RunRecord
from runbook.plans.place import load
from runbook.plans.token import token_of


def with_tokens(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Return records whose plans that wait for confirmation have their tokens; for `--json`, which was asked for."""
    told = []
    for record in records:
        plans = [msgspec.structs.replace(plan, token=token(plan)) for plan in record.plans]
        told.append(msgspec.structs.replace(record, plans=plans))
    return told


def token(record: PlanRecord) -> str:
    """Return the token of a plan that waits for confirmation; "" for any other."""
    plan = load(record.id) if record.state is PlanState.PLANNED else None
    return token_of(plan) if plan is not None else ""


def how_to_confirm(record: PlanRecord) -> str:
    """Return what to type to carry a plan out; without a terminal, how to see that."""
    if not sys.stdout.isatty():
        return f"to carry it out, `runbook plans show {record.id}` on a terminal shows its token"
    return "to carry it out: " + command(record, token(record))


def command(record: PlanRecord, confirm: str) -> str:
    """Return the command that carries a plan out with its token."""
    plan = record.plan
    of = ["--incident", plan.incident] if plan.incident else []
    return shlex.join(["runbook", "run", plan.notebook, "--target", plan.target, *of, "--confirm", confirm])
