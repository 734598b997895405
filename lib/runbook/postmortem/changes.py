"""Did each change help? By what was found before it and after it, as its plan compared them."""

from dataclasses import dataclass
from datetime import datetime

from runbook.model import Status
from runbook.model.plan import PlanState
from runbook.model.protocol import PlanRecord
from runbook.postmortem.story import Cited, Story

# How each answer reads as a status: of a change that is over, not of the target now.
JUDGED = {
    "helped": Status.OK,
    "made no difference": Status.OK,
    "left all well": Status.OK,
    "did not help": Status.WARNING,
    "made it worse": Status.CRITICAL,
    "could not be found out": Status.UNKNOWN,
}


@dataclass(frozen=True)
class Made:
    """One plan: what it was, whether and when it was carried out, and what that did."""

    plan: PlanRecord
    cited: Cited
    begun: datetime | None
    answer: str
    status: Status

    @property
    def before(self) -> list[str]:
        """Return what was not well before it."""
        return [
            f"{f.check}: {f.object}: {f.status}: {f.message}" for f in self.plan.before if f.bad and not f.explained_by
        ]

    @property
    def after(self) -> list[str]:
        """Return what was not well after it."""
        return list(self.plan.helped.left) if self.plan.helped is not None else []


def changes(story: Story) -> list[Made]:
    """Return every plan of the incident in the order of time, those that were never carried out as well.

    A plan that changes nothing of the target, such as one that posts a message, is no change.
    """
    made = []
    doubtful = _begun_by_doubtful(story)
    for plan, cited in story.plans():
        if not plan.plan.of_target:
            continue
        intents = [entry for entry in plan.journal if entry.event == "intent"]
        begun = story.time_of(intents[0].at, intents[0].host or plan.plan.host) if intents else None
        if begun is None and plan.id in doubtful:
            answer = f"it was carried out, as {doubtful[plan.id]} says, of which nothing can be trusted"
            made.append(Made(plan, cited, None, answer, Status.UNKNOWN))
        elif begun is None and (story.broken or story.gaps):
            answer = "whether it was carried out is not known: not every record of this time is there as it was sealed"
            made.append(Made(plan, cited, None, answer, Status.UNKNOWN))
        elif begun is None:
            refused = [entry.told for entry in plan.journal if entry.event == "refused"]
            answer = f"it was not carried out: {refused[-1]}" if refused else "it was not carried out"
            made.append(Made(plan, cited, None, answer, Status.SKIPPED))
        elif plan.plan.undoes:
            status = Status.OK if plan.state is PlanState.VERIFIED else Status.UNKNOWN
            made.append(Made(plan, cited, begun, f"it undid {plan.plan.undoes}: it is {plan.state}", status))
        elif plan.helped is None and not plan.plan.checks:
            status = Status.OK if plan.state is PlanState.VERIFIED else Status.UNKNOWN
            made.append(Made(plan, cited, begun, f"it is {plan.state}", status))
        elif plan.helped is None:
            made.append(
                Made(plan, cited, begun, f"it is {plan.state}: whether it helped was not asked", Status.UNKNOWN)
            )
        else:
            status = JUDGED[plan.helped.answer]
            if status is Status.OK and plan.helped.answer != "helped" and plan.helped.left:
                status = Status.WARNING  # it was bad before, and as bad afterwards
            made.append(Made(plan, cited, begun, f"it {plan.helped.answer}", status))
    return sorted(made, key=lambda one: one.begun or story.time_of(one.plan.plan.made, one.plan.plan.host))


def _begun_by_doubtful(story: Story) -> dict[str, str]:
    """Return which plans were begun as only records tell that are not what was sealed, and by which record."""
    return {
        plan.id: cited.run_id
        for cited in story.broken
        if cited.record is not None
        for plan in cited.record.plans
        if any(entry.event == "intent" for entry in plan.journal)
    }
