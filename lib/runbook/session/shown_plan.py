"""How a plan shows itself: what would be done, how far it reaches, how it is undone, and what became of it."""

import html
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runbook.model import Finding, Status
from runbook.model.change import Change
from runbook.model.plan import PlanState
from runbook.model.plan_text import plan_lines, shown_step, time_of
from runbook.model.protocol import FINDINGS_MIME, Message, PlanRecord, encode
from runbook.model.text import printable
from runbook.redaction import Redactor
from runbook.session.display import badge, findings_html, lines

_COLOUR = {
    PlanState.VERIFIED: Status.OK,
    PlanState.FAILED: Status.CRITICAL,
    PlanState.UNKNOWN: Status.UNKNOWN,
    PlanState.APPLIED: Status.UNKNOWN,
}


@dataclass(frozen=True)
class ShownPlan:
    """A plan (the first of ``plans``; the second undoes it), or the ``reason`` why there is none.

    ``token`` is there only for a screen that nothing keeps; ``confirmed``: the operator gave it. ``to_copy`` is
    the text by which a person does the same.
    """

    change: Change
    plans: list[PlanRecord]
    reason: str
    findings: list[Finding]
    applied: bool
    run_id: str
    redactor: Redactor
    token: str = field(default="", repr=False)
    to_copy: str = ""
    confirmed: bool = False

    @property
    def carried_out(self) -> bool:
        """Tell whether anything of it may have happened just now."""
        return self.applied and bool(self.plans) and self.plans[0].state is not PlanState.PLANNED

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        told = [printable(line) for line in self._lines()]
        message = Message(
            kind="plan",
            run_id=self.run_id,
            check=f"plan.{self.change.name}",
            asked_at=datetime.now(UTC),
            seconds=0.0,
            findings=self.findings,
            plans=self.plans,
            not_planned="" if self.plans or self.applied else self.reason,
            to_copy=self.to_copy,
        )
        return {
            "text/plain": self.redactor.text("\n".join(told)) + self._confirmation(),
            "text/html": self.redactor.text(self._html()) + self._confirmation_html(),
            FINDINGS_MIME: self.redactor.data(encode(message)),
        }

    def _lines(self) -> list[str]:
        told = [] if self.plans and not self.reason else [self._without()]
        for record in self.plans:
            told += plan_lines(record)
        return [*told, *lines(self.findings, with_check=True)]

    def _without(self) -> str:
        words = self.reason or "nothing"
        return words if self.applied and not self.plans else f"no change of this kind is planned: {words}"

    def _confirmation(self) -> str:
        fresh = self._fresh()
        if fresh is None:
            return ""
        if self.confirmed:
            return (
                f"\nits token is here: `run.apply` carries it out; what became of it: `runbook plans show {fresh.id}`"
            )
        if self.token:
            return f'\nnothing was changed. To carry it out: confirm = "{self.token}", then this cell and the next'
        return f"\nnothing was changed. To carry it out: its token, which `runbook plans show {fresh.id}` shows"

    def _fresh(self) -> PlanRecord | None:
        planned = [record for record in self.plans if record.state is PlanState.PLANNED]
        return planned[-1] if planned and not self.reason else None

    def _html(self) -> str:
        parts = [] if self.plans and not self.reason else [f"<p>{html.escape(printable(self._without()))}</p>"]
        parts += [_plan_html(record) for record in self.plans]
        return "".join(parts) + findings_html(self.findings, with_check=True)

    def _confirmation_html(self) -> str:
        told = self._confirmation().strip()
        return f"<p>{html.escape(told)}</p>" if told else ""


def _plan_html(record: PlanRecord) -> str:
    plan = record.plan
    colour = _COLOUR.get(record.state)
    state = badge(colour) if colour is not None else ""
    shown = ["\n".join(map(printable, shown_step(record, n).splitlines())) for n in range(len(plan.steps))]
    steps = "".join(f"<li><code>{html.escape(step)}</code></li>" for step in shown)
    told = [html.escape(printable(line.removeprefix("  "))) for line in plan_lines(record)[1 + len(plan.steps) :]]
    # What PostgreSQL says of a plan of its own is read by its indentation.
    rest = "".join(f'<li style="white-space:pre-wrap">{line}</li>' for line in told)
    head = html.escape(printable(f"plan {plan.id}: {plan.summary}: {record.state}"))
    if record.state is PlanState.PLANNED:
        head += html.escape(f", expires {time_of(plan.expires)}")
    return f"<p>{state} <b>{head}</b></p><ol>{steps}</ol><ul>{rest}</ul>"
