"""A plan and what became of it, as lines of text."""

from runbook.model.plan import PlanState
from runbook.model.protocol import PlanRecord


def plan_lines(record: PlanRecord) -> list[str]:
    """Return a plan and what became of it as lines of text."""
    plan = record.plan
    head = f"PLAN {plan.id}: {plan.summary} ({plan.change}): {record.state}"
    told = [head + (f", expires {time_of(plan.expires)}" if record.state is PlanState.PLANNED else "")]
    told += [f"  {number}. {shown_step(record, number - 1)}" for number, _ in enumerate(plan.steps, start=1)]
    told += [f"  reaches: {reach}" for reach in plan.blast_radius]
    undone = " ; ".join(step.shown for step in plan.inverse)
    told.append(f"  undone by: {undone}" if undone else f"  IRREVERSIBLE: {plan.irreversible}")
    told += [
        f"  holds while: {name} is {_cut(value)}" for name, value in plan.observed.items() if value not in (None, "")
    ]
    if record.state is PlanState.PLANNED:
        facts = [f"{name} being {_cut(value)}" for name, value in plan.expected.items()]
        told.append(f"  verified by: {', '.join([check.question for check in plan.checks] or facts)}")
    told += [f"  {line}" for entry in record.told for line in _in_lines(entry)]
    if record.helped is not None:
        part = " in part" if record.helped.answer == "helped" and record.helped.left else ""
        told.append(f"  did it help? It {record.helped.answer}{part}")
        told += [f"    {line}" for line in record.helped.changed]
        told += [f"    not well: {line}" for line in record.helped.left]
    return told


def _in_lines(told: str) -> list[str]:
    """Return what was told as lines: of several, as a plan of PostgreSQL's has, the indentation tells."""
    first, *more = told.splitlines() or [""]
    return [first, *(f"  {line}" for line in more)]


def journal_lines(record: PlanRecord) -> list[str]:
    """Return what became of a plan, a line for each thing that was noted."""
    told = []
    for entry in record.journal:
        where = f" of step {entry.step}" if entry.step else ""
        words = " ".join(filter(None, [entry.result, entry.state, entry.told]))
        told.append(f"{entry.at} {entry.event}{where}: {words} ({entry.user} on {entry.host}, {entry.run_id})")
    return told


def _cut(value: object) -> str:
    """Return an observed value as it is read; ids are known by their beginning, paths by their end."""
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, dict | list) for one in value)):
        return f"as it was seen ({len(value)})"
    if isinstance(value, list):
        value = ", ".join(map(str, value)) or "nothing"
    text = str(value)
    if len(text) <= 40:
        return text
    return f"…{text[-39:]}" if text.startswith("/") else f"{text[:12]}…"


def shown_step(record: PlanRecord, place: int) -> str:
    """Return a step, counted from 0, as it is shown."""
    step = record.plan.steps[place]
    return step.shown if step.previewed else f"{step.shown} (UNPREVIEWABLE)"


def time_of(stamp: str) -> str:
    """Return the time of day of a moment as plans tell it."""
    return f"{stamp[11:19]} UTC"
