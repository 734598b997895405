"""Carry out a confirmed plan: look again, note each intent before the act, each outcome after it, then verify."""

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from runbook.model import CouldNotFindOut, DoesNotApply, Finding, RunFailed, Status
from runbook.model.change import Act, Change, ChangeFailed
from runbook.model.plan import Entry, Helped, Plan, PlanState
from runbook.model.question import Asking
from runbook.plans import lock, silence
from runbook.plans.admission import Refused, admitted
from runbook.plans.helped import bettered, compare, not_well, worsened
from runbook.plans.place import before_of, journal, keep_before, load, note, stamp, whoami
from runbook.plans.progress import CANNOT_BE_TOLD, how_far, in_brief, step_states
from runbook.target import Target

# Between two looks at whether a change has taken effect.
LOOK_SECONDS = 1.0

Look = Callable[[], list[Finding]]


@dataclass
class CarriedOut:
    """What came of carrying out a plan.

    ``refused`` says why nothing was done. ``told`` has a sentence for each thing worth knowing. ``before`` and
    ``after`` are the post-checks' findings around it; ``helped`` is None where it did not come to that.
    """

    plan: Plan
    state: PlanState
    refused: str = ""
    told: list[str] = field(default_factory=list)
    before: list[Finding] = field(default_factory=list)
    after: list[Finding] = field(default_factory=list)
    helped: Helped | None = None


@dataclass(frozen=True)
class Hands:
    """What carrying out needs of a run: its notebook and target, what asks, how to look, the run's id."""

    notebook: str
    target: Target
    asking: Asking
    observe: Callable[[], dict[str, Any]]
    look: Look
    run_id: str


def carry_out(token: str, change: Change, hands: Hands) -> CarriedOut:
    """Carry out the plan that a token confirms and return what came of it.

    Raises `Refused` for a token that is not right here. Nothing is changed where another change of the target is under
    way, or where what was observed has moved since. One that was cut short is gone on with, as far as it can be told
    which steps happened.
    """
    plan = admitted(token, hands.notebook, hands.target)
    if plan.change != change.name:
        raise Refused(f"this token is of plan {plan.id}, which is a {plan.change}, not a {change.name}")
    try:
        with lock.lock(lock.name_of(plan), plan.id) as left:
            # Under the lock once more: another one may have carried it out meanwhile.
            admitted(token, hands.notebook, hands.target)
            return _Work(plan, change, hands).carry_out(left)
    except lock.Held as held:
        note(plan, _entry(hands, "refused", told=str(held)))
        return CarriedOut(plan, PlanState.PLANNED, refused=str(held))


def moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between facts as they were frozen and as they are."""
    return [
        f"{name} was {_shown(before[name])} and is {_shown(now.get(name))}"
        if _is_short(before[name]) and _is_short(now.get(name))
        else f"{name} is not what it was when it was planned"
        for name in before
        if before[name] != now.get(name)
    ]


class _Work:
    def __init__(self, plan: Plan, change: Change, hands: Hands) -> None:
        self._plan, self._change, self._hands = plan, change, hands
        self._done = CarriedOut(plan, PlanState.PLANNED)

    def carry_out(self, left: lock.Holder | None) -> CarriedOut:
        if left is not None:
            self._done.told.append(f"the lock was left by one who died: {left}")
        entries = journal(self._plan)
        begun = any(entry.event == "intent" for entry in entries)
        refused = self._settle(entries) if begun else self._stale()
        if refused:
            self._done.refused = refused
            self._note("refused", told=refused)
            self._done.state = PlanState.UNKNOWN if begun else PlanState.PLANNED
            return self._done
        # One that was cut short is compared with how it was before its first step.
        self._done.before = before_of(self._plan) or self._hands.look()
        if not begun:
            keep_before(self._plan, self._done.before)
        self._note("confirmed")
        failed = self._steps()
        if failed is None:
            self._verify()
        else:
            self._done.after = self._hands.look()
            self._done.helped = self._compared()
            self._end(failed)
        return self._done

    def _stale(self) -> str:
        """Return why what was looked at is not the same any more; "" where it is."""
        try:
            now = self._hands.observe()
        except CouldNotFindOut as error:
            return f"what the plan was made for could not be looked at again: {error}; nothing was changed"
        except DoesNotApply as reason:
            return f"the plan is stale: {reason}; nothing was changed"
        differences = moved(self._plan.observed, now)
        return f"the plan is stale: {'; '.join(differences)}; nothing was changed" if differences else ""

    def _settle(self, entries: Sequence[Entry]) -> str:
        """Find out which steps of a plan that was cut short happened; return why it cannot be gone on with, or ""."""
        self._done.told.append(f"it was cut short: {how_far(self._plan, entries)}")
        begun = {entry.step: entry.at for entry in entries if entry.event == "intent"}
        for number, state in enumerate(step_states(self._plan, entries), start=1):
            if state != "unknown":
                continue
            step = self._plan.steps[number - 1]
            try:
                happened = self._act(step.act).happened(
                    self._hands.asking, step.arguments, datetime.fromisoformat(begun[number])
                )
            except CouldNotFindOut:
                happened = None
            if happened is None:
                return (
                    f"{how_far(self._plan, entries)}; {CANNOT_BE_TOLD}, so it is not gone on with: look, "
                    f"then `runbook plans close {self._plan.id} WHAT-YOU-FOUND`, and plan anew"
                )
            words = "it did happen" if happened else "it did not happen"
            if happened:
                self._note("outcome", step=number, result="done", told=f"found out afterwards: {words}")
            self._done.told.append(f"step {number}: {words}")
        return ""

    def _steps(self) -> PlanState | None:
        """Do every step that is still to be done; return how it ended where one of them did not work."""
        states = step_states(self._plan, journal(self._plan))
        for number, step in enumerate(self._plan.steps, start=1):
            if states[number - 1] == "done":
                continue
            try:
                self._note("intent", step=number, told=step.shown)
            except OSError as error:
                raise RunFailed(
                    f"the intent could not be written to the disk ({error.strerror}), so step {number} was not begun"
                ) from error
            result, told = self._do(step.act, step.arguments)
            self._note("outcome", step=number, result=result, told=told)
            self._done.told.append(f"step {number} ({in_brief(step)}): {result}{': ' + told if told else ''}")
            if result != "done":
                return PlanState.FAILED if result == "failed" else PlanState.UNKNOWN
        return None

    def _do(self, act: str, arguments: Mapping[str, Any]) -> tuple[Literal["done", "failed", "unknown"], str]:
        try:
            return "done", self._act(act).do(self._hands.asking, arguments)
        except ChangeFailed as refusal:
            return "failed", str(refusal)
        except CouldNotFindOut as broken:
            return "unknown", f"whether it happened is not known: {broken}"
        except Exception as mistake:  # noqa: BLE001 - whatever it was, the step was begun
            return "unknown", f"whether it happened is not known ({type(mistake).__name__}: {mistake})"

    def _act(self, name: str) -> Act:
        return silence.silence if name == silence.ACT else self._change.acts[name]

    def _verify(self) -> None:
        """Look until all is as it should be, or the plan's patience is at its end."""
        end = time.monotonic() + self._plan.patience
        while True:
            self._done.after = self._hands.look()
            differs, unseen = self._not_as_expected()
            # What an inverse brings back may have been bad: it is verified when everything is as it was.
            left = [] if self._plan.undoes else self._left()
            if not (differs or unseen or left) or time.monotonic() > end:
                break
            time.sleep(LOOK_SECONDS)
        self._done.helped = self._compared()
        if self._plan.partial and self._done.helped is not None:
            self._done.told += [f"still not well: {line}" for line in self._done.helped.left]
        self._done.told += [f"not as expected: {difference}" for difference in differs]
        self._done.told += [f"whether it is as expected could not be looked at: {unseen}"] if unseen else []
        if differs or any(finding.status is not Status.UNKNOWN for finding in left):
            self._end(PlanState.FAILED)
        elif left or unseen:
            self._end(PlanState.APPLIED)
        else:
            self._end(PlanState.VERIFIED)

    def _left(self) -> list[Finding]:
        """Return what speaks against the change: all that is not well, of a partial one what was better before.

        Where it was to mend something, and of what was wrong nothing is better, all of that.
        """
        if not self._plan.partial:
            return not_well(self._done.after)
        worse = worsened(self._done.before, self._done.after)
        if not self._change.repairs or bettered(self._done.before, self._done.after):
            return worse
        return worse or (not_well(self._done.after) if not_well(self._done.before) else [])

    def _compared(self) -> Helped | None:
        if self._plan.undoes or not self._plan.checks:
            return None  # it brings back what was, well or not; or is one step of many, which its facts verify
        return compare(self._done.before, self._done.after, partial=self._plan.partial)

    def _not_as_expected(self) -> tuple[list[str], str]:
        """Return what is not as expected, and why it could not be looked at ("" where it could)."""
        if not self._plan.expected:
            return [], ""
        try:
            return moved(self._plan.expected, self._hands.observe()), ""
        except DoesNotApply as reason:
            return [str(reason)], ""
        except CouldNotFindOut as error:
            return [], str(error)

    def _end(self, state: PlanState) -> None:
        self._done.state = state
        if state is PlanState.UNKNOWN:
            return  # it has no end yet: it is to be looked into, and told until that is done
        self._note("ended", state=str(state), told=self._done.helped.answer if self._done.helped else "")
        undone = load(self._plan.undoes) if self._plan.undoes else None
        if undone is not None and state is PlanState.VERIFIED:
            note(undone, _entry(self._hands, "rolled-back", told=self._plan.id))

    def _note(self, event: Any, **facts: Any) -> None:
        note(self._plan, _entry(self._hands, event, **facts))


def _entry(hands: Hands, event: Any, **facts: Any) -> Entry:
    return Entry(
        at=stamp(datetime.now(UTC)),
        event=event,
        user=whoami(),
        host=socket.gethostname(),
        pid=os.getpid(),
        run_id=hands.run_id,
        **facts,
    )


def _is_short(value: Any) -> bool:
    """Tell whether a value can be read in a sentence; lists of many things, and things with parts, cannot."""
    parts = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | list) for one in value))
    return not parts and len(str(value)) <= 200


def _shown(value: Any) -> str:
    return "not there" if value in (None, "") else str(value)
