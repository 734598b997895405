"""Plan a change in a run, and carry it out when its token is there."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from runbook.connections import Connection
from runbook.kernels.questions import all_questions
from runbook.model import CouldNotFindOut, DoesNotApply, Finding, Findings, Question, Status, Unreachable
from runbook.model.change import Change, NotPlanned
from runbook.model.deadline import DeadlinePassed, Pending
from runbook.model.plan import Plan, PlanState, PostCheck
from runbook.model.protocol import PlanRecord
from runbook.model.question import Asked
from runbook.model.text import printable
from runbook.plans.admission import Refused, admitted, read_only
from runbook.plans.carrying_out import CarriedOut, Hands, carry_out, moved
from runbook.plans.freezing import freeze, freeze_inverse, in_words
from runbook.plans.place import all_plans, journal
from runbook.plans.progress import half_done, how_far, record_of, step_states, to_end
from runbook.plans.token import plan_of, token_of
from runbook.redaction import Redactor
from runbook.session.dependencies import Dependencies
from runbook.session.shown_plan import ShownPlan
from runbook.target import Target

HALF_DONE = "plans.half_done"
_BUT = {
    "helped": "something got better, and not all is well", "left all well": "what was looked at is well all the same",
    "made no difference": "it made no difference", "did not help": "it did not help",
    "made it worse": "it made it worse",
    "could not be found out": "what it changed could not be found out",
}  # fmt: skip
_AGAIN = "run this notebook again, and read its plan anew"
_STATUS = {
    PlanState.VERIFIED: Status.OK,
    PlanState.FAILED: Status.CRITICAL,
    PlanState.APPLIED: Status.UNKNOWN,
    PlanState.UNKNOWN: Status.UNKNOWN,
}


@dataclass(frozen=True)
class Planning:
    """What is to be planned; as the arguments of `Run.propose`."""

    change: Change
    checks: Sequence[Asked]
    first: Sequence[Question]
    even_if_well: bool
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Whose:
    """The run that plans."""

    notebook: str
    target: Target
    run_id: str
    incident: str = ""


class Planner:
    """Plans and carries out the changes of one run."""

    def __init__(
        self,
        whose: Whose,
        dependencies: Dependencies,
        redactor: Redactor,
        findings: Findings,
        look: Callable[[Sequence[Asked]], list[Finding]],
    ) -> None:
        self._notebook, self._target, self._run_id = whose.notebook, whose.target, whose.run_id
        self._incident = whose.incident
        self._dependencies, self._redactor = dependencies, redactor
        self._findings, self._look = findings, look
        # What the changes that were planned here and are not of the target are about.
        self._concerned: set[tuple[str, str]] = set()
        self._changes: dict[str, Change] = {}

    def propose(self, planning: Planning, confirm: str) -> ShownPlan:
        """Return a new plan, the one that a token confirms, or why there is none."""
        change = planning.change
        self._changes[change.name] = change
        self._concerned.add((change.name, change.concerns(**planning.arguments)))
        self._tell_half_done()
        if confirm:
            return self._loaded(change, planning.arguments, confirm)
        reason = self._first_to_mend(planning)
        if reason:
            return self._without(change, reason)
        to_copy = self._to_copy(change, planning.arguments)
        reason = self._reason_against(planning)
        if reason:
            return self._without(change, reason, to_copy=to_copy)
        try:
            observed = self._observe(change, planning.arguments)
            draft = change.draft(observed, **planning.arguments)
        except (CouldNotFindOut, DoesNotApply) as error:
            return self._without(change, str(error), to_copy=to_copy)
        except NotPlanned as refusal:
            return self._without(change, str(refusal), Status.WARNING)
        written = msgspec.json.decode(msgspec.json.encode([draft.steps, draft.inverse, draft.summary]))
        if self._redactor.data(written) != written:
            # A plan is stored, and shown again and again.
            why = "its steps hold what has the form of a secret"
            return self._without(change, why, Status.WARNING, to_copy=to_copy)
        plan = freeze(
            change,
            draft,
            observed,
            notebook=self._notebook,
            target=self._target,
            identity=self._redactor.data(self._identity()),
            arguments=planning.arguments,
            checks=[PostCheck(question=c.question.name, arguments=dict(c.arguments)) for c in planning.checks],
            incident=self._incident,
        )
        return self._shown(change, [self._record(plan)], to_copy=to_copy)

    def apply(self, shown: ShownPlan, confirm: str) -> ShownPlan:
        """Carry out a plan with its token; without one, or with another one, nothing is done."""
        change = shown.change
        if not confirm:
            why = "no token was given" if shown.plans else "there is no plan"
            return self._without(change, f"nothing was changed: {why}", applied=True, to_copy=shown.to_copy)
        if self._is_of_another(confirm, change):
            why = "nothing of this was changed: the token is of another plan"
            return self._without(change, why, applied=True, to_copy=shown.to_copy)
        try:
            plan = admitted(confirm, self._notebook, self._target)
            if shown.plans and shown.plans[0].id != plan.id:
                raise Refused(f"this token is of plan {plan.id}, not of {shown.plans[0].id}; nothing was changed")
            done = carry_out(confirm, change, self._hands(plan, change))
        except Refused as refusal:
            of = plan_of(confirm)
            cut_short = half_done([of] if of is not None else [])
            after = to_end(*cut_short[0]) if cut_short else _AGAIN
            refused = self._finding(change, "token", Status.CRITICAL, f"refused: {refusal}", after)
            why = str(refusal)
            return self._shown(change, shown.plans, [refused], reason=why, applied=True, to_copy=shown.to_copy)
        return self._outcome(change, done)

    def _outcome(self, change: Change, done: CarriedOut) -> ShownPlan:
        plans = [self._record(done.plan, done)]
        if done.refused:
            status, message = Status.CRITICAL, f"refused: {done.refused}"
            if done.state is PlanState.UNKNOWN:
                status = Status.UNKNOWN
        else:
            status = _STATUS[done.state]
            message = f"{done.plan.summary}: {done.state}"
            # Of what may not have happened nothing can be said yet.
            message += f"; it {done.helped.answer}" if done.helped and done.state is PlanState.VERIFIED else ""
            message += f"; {_BUT[done.helped.answer]}" if done.helped and done.state is PlanState.FAILED else ""
            message += f"; {done.told[-1]}" if done.told and done.state is not PlanState.VERIFIED else ""
        after = "" if status is Status.OK else _AGAIN
        if done.state is PlanState.UNKNOWN:
            after = to_end(done.plan, journal(done.plan))
        whole = all(state == "done" for state in step_states(done.plan, journal(done.plan)))
        to_copy = "" if whole else self._to_copy(change, done.plan.arguments)
        if done.state is PlanState.FAILED and done.plan.inverse and _was_begun(done.plan):
            after = self._offer_inverse(done.plan, change, plans)
        finding = self._finding(change, done.plan.id, status, message, after)
        return self._shown(change, plans, [finding], reason=done.refused, applied=True, to_copy=to_copy)

    def _offer_inverse(self, plan: Plan, change: Change, plans: list[PlanRecord]) -> str:
        """Plan what undoes a change that did not help, and return what to do with it."""
        try:
            observed = self._observe(change, plan.arguments)
            if plan.restored and not moved(plan.restored, observed):
                return f"nothing is left to be undone: {in_words(plan.restored)}, as it was before"
            inverse = freeze_inverse(plan, change, observed)
        except (CouldNotFindOut, DoesNotApply) as error:
            return f"what undoes it cannot be planned now: {error}"
        plans.append(self._record(inverse))
        return f"plan {inverse.id} undoes it; `runbook plans show {inverse.id}` shows its token"

    def _to_copy(self, change: Change, arguments: Mapping[str, Any]) -> str:
        """Return the text by which a person does the same by hand, scrubbed; "" where there is none."""
        return self._redactor.text(change.to_copy(**arguments)) if change.to_copy is not None else ""

    def _first_to_mend(self, planning: Planning) -> str:
        """Return what is to be mended first, as this run has found it; "" where that is nothing."""
        for question in planning.first:
            bad = [f for f in self._findings.of(question.name) if f.status is Status.CRITICAL and f.counts]
            if bad:
                return f"first {question.name}: {bad[0].object}: {bad[0].message}; this change would not help"
        return ""

    def _reason_against(self, planning: Planning) -> str:
        """Return why a change is not to be planned, as this run has found it; "" where nothing speaks against it."""
        if self._target.read_only:
            return read_only(self._target)
        for kind in planning.change.acts_on:
            assert issubclass(kind, Connection)
            if lacking := kind.lacking(self._target):
                return lacking
        asked = [f for check in planning.checks for f in self._findings.of(check.question.name)]
        if planning.change.repairs and not planning.even_if_well and not [finding for finding in asked if finding.bad]:
            if not [finding for finding in asked if finding.counts]:
                return ""  # nothing was asked, or nothing applies: the change itself knows why
            return "nothing that it would mend is wrong"
        return ""

    def _loaded(self, change: Change, arguments: Mapping[str, Any], confirm: str) -> ShownPlan:
        if self._is_of_another(confirm, change):
            return self._without(change, "the token is of another plan")
        try:
            plan = admitted(confirm, self._notebook, self._target)
        except Refused as refusal:
            return self._without(change, str(refusal), Status.CRITICAL)
        told = []
        try:
            told = moved(plan.observed, self._observe(change, plan.arguments))
        except (CouldNotFindOut, DoesNotApply) as error:
            told = [str(error)]
        shown = self._record(plan, told=[f"moved since: {what}" for what in told])
        return self._shown(change, [shown], to_copy=self._to_copy(change, plan.arguments), confirmed=True)

    def _is_of_another(self, token: str, change: Change) -> bool:
        """Tell whether a token is of another plan of the same notebook."""
        plan = plan_of(token)
        return plan is not None and plan.notebook == self._notebook and plan.change != change.name

    def _hands(self, plan: Plan, change: Change) -> Hands:
        questions = {question.name: question for question in all_questions()}
        checks = [Asked(questions[check.question], check.arguments) for check in plan.checks]
        return Hands(
            notebook=self._notebook,
            target=self._target,
            asking=self._dependencies,
            observe=lambda: self._observe(change, plan.arguments),
            look=lambda: self._look(checks),
            run_id=self._run_id,
        )

    def _observe(self, change: Change, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Look anew; raises `CouldNotFindOut` where that cannot be, also in time."""
        self._dependencies.renew(change.needs)
        try:
            found = Pending(lambda: change.observe(self._dependencies, **arguments)).result(change.deadline)
        except Unreachable as error:
            raise CouldNotFindOut(error.reason) from error
        except DeadlinePassed:
            raise CouldNotFindOut(f"no answer within {change.deadline:g} s") from None
        # As it is read back from the disk, so that both can be compared.
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
        return plain

    def _identity(self) -> dict[str, dict[str, str]]:
        return {name: identity for name, identity, error in self._dependencies.identities() if error is None}

    def _record(self, plan: Plan, done: CarriedOut | None = None, *, told: Sequence[str] = ()) -> PlanRecord:
        more: dict[str, Any] = {"told": list(told)}
        if done is not None:
            more = {name: getattr(done, name) for name in ("state", "before", "after", "helped", "told")}
        return record_of(plan, journal(plan), **more)

    def _without(
        self, change: Change, reason: str, status: Status | None = None, *, applied: bool = False, to_copy: str = ""
    ) -> ShownPlan:
        told = f"not planned: {reason}"
        # Why it was not planned says what to do; to run it again would only say so again.
        found = [self._finding(change, self._target.name, status, told)] if status is not None else []
        return self._shown(change, [], found, reason=reason, applied=applied, to_copy=to_copy)

    def _finding(self, change: Change, subject: str, status: Status, message: str, after: str = "") -> Finding:
        return Finding(
            check=f"plan.{change.name}",
            object=subject,
            status=status,
            message=printable(self._redactor.text(message)),
            source="runbook plans list",
            next=after,
        )

    def _tell_half_done(self) -> None:
        """Make a finding of each plan of this target that was begun and has no end.

        Of what is not of the target, such as a message, only who plans another about the same is told.
        """
        found = [
            Finding(
                check=HALF_DONE,
                object=plan.id,
                status=Status.UNKNOWN,
                message=f"{plan.summary} (by {plan.user}, {plan.notebook}) was cut short: {how_far(plan, entries)}",
                source=f"runbook plans show {plan.id}",
                next=to_end(plan, entries),
            )
            for plan, entries in half_done([plan for plan in all_plans() if self._is_told(plan)])
        ]
        self._findings.replace(HALF_DONE, found)

    def _is_told(self, plan: Plan) -> bool:
        if plan.target != self._target.name or plan.of_target:
            return plan.target == self._target.name
        change = self._changes.get(plan.change)
        return change is not None and (plan.change, change.concerns(**plan.arguments)) in self._concerned

    def _shown(
        self,
        change: Change,
        plans: Sequence[PlanRecord],
        findings: Sequence[Finding] = (),
        *,
        reason: str = "",
        applied: bool = False,
        to_copy: str = "",
        confirmed: bool = False,
    ) -> ShownPlan:
        if findings:
            self._findings.replace(findings[0].check, findings)
        if applied:
            self._tell_half_done()
        fresh = [record for record in plans if record.state is PlanState.PLANNED and not reason]
        return ShownPlan(
            change=change,
            plans=list(plans),
            reason=self._redactor.text(reason),
            findings=[*findings, *self._findings.of(HALF_DONE)],
            applied=applied,
            run_id=self._run_id,
            redactor=self._redactor,
            token=token_of(fresh[-1].plan) if fresh and on_screen() else "",
            to_copy=to_copy,
            confirmed=confirmed,
        )


def _was_begun(plan: Plan) -> bool:
    """Tell whether any step was done: otherwise there is nothing to undo."""
    return "done" in step_states(plan, journal(plan))


def on_screen() -> bool:
    """Tell whether a person sees what is shown and nothing keeps it: JupyterLab, whose saves are scrubbed of tokens."""
    return bool(os.environ.get("JPY_SESSION_NAME")) and not os.environ.get("RUNBOOK_RUN_ID")
