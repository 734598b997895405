"""The commands ``plans list · show · close``."""

import argparse
import socket
import sys
from datetime import UTC, datetime

from runbook.cli.confirmation import command
from runbook.model import RunFailed, UsageError
from runbook.model.plan import Entry, Plan, PlanState
from runbook.model.plan_text import journal_lines, plan_lines
from runbook.model.text import printable
from runbook.plans.lock import holder
from runbook.plans.place import all_plans, journal, load, note, stamp, whoami
from runbook.plans.progress import can_go_on, is_expired, is_half_done, record_of, state_of, to_end
from runbook.plans.token import token_of


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of ``plans``."""
    commands = parser.add_subparsers(dest="plans", required=True, metavar="WHAT")
    listing = commands.add_parser("list", help="the plans of this user, newest first, and who holds a target's lock")
    listing.add_argument("--target", default="", metavar="T")
    listing.add_argument("-n", dest="most", type=int, default=30, metavar="N", help="at most so many (30; 0 for all)")
    show = commands.add_parser("show", help="one plan: its steps, its reach, its journal; on a terminal its token")
    show.add_argument("plan", metavar="ID")
    close = commands.add_parser("close", help="put an end to a plan that was cut short, saying what was found")
    close.add_argument("plan", metavar="ID")
    close.add_argument("found", metavar="WHAT-YOU-FOUND")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command and return its exit status."""
    return {"list": _list, "show": _show, "close": _close}[arguments.plans](arguments)


def _list(arguments: argparse.Namespace) -> int:
    found = [plan for plan in all_plans() if arguments.target in ("", plan.target)]
    for plan in found[: arguments.most] if arguments.most > 0 else found:
        state = state_of(plan, journal(plan))
        told = "expired" if state is PlanState.PLANNED and is_expired(plan) else str(state)
        _say(f"{plan.id}  {plan.made}  {told:<11} {plan.target}  {printable(plan.summary)} ({plan.notebook})")
    if not found:
        _say("no such plan")
    for target in dict.fromkeys(plan.target for plan in found):
        held, live = holder(target)
        if held is not None:
            words = "being changed by" if live else "not locked: its lock was left by the dead process of"
            _say(f"{target} is {words} {held}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    plan = _existing(arguments.plan)
    entries = journal(plan)
    record = record_of(plan, entries)
    _say(f"{plan.notebook} on {plan.target}, by {plan.user} on {plan.host}, {plan.made}")
    for line in plan_lines(record):
        _say(printable(line))
    for line in journal_lines(record):
        _say(printable(f"  {line}"))
    cut_short = is_half_done(plan, entries)
    waits = record.state is PlanState.PLANNED or cut_short
    if cut_short and not can_go_on(plan, entries):
        _say(f"it was cut short, and its token does not go on with it: {to_end(plan, entries)}")
    elif waits and is_expired(plan):
        _say("it has expired: its token confirms nothing any more")
    elif waits and plan.user == whoami():
        if sys.stdout.isatty():
            _say("to carry it out: " + command(record, token_of(plan)))
        else:
            _say("its token is shown on a terminal only")
    return 0


def _close(arguments: argparse.Namespace) -> int:
    plan = _existing(arguments.plan)
    if not is_half_done(plan, journal(plan)):
        raise UsageError(f"plan {plan.id} was not cut short: it is {state_of(plan, journal(plan))}")
    entry = Entry(
        at=stamp(datetime.now(UTC)),
        event="closed",
        told=arguments.found,
        user=whoami(),
        host=socket.gethostname(),
    )
    try:
        note(plan, entry)
    except OSError as error:
        raise RunFailed(f"the plan's journal cannot be written: {error.strerror}") from error
    _say(f"plan {plan.id} is closed")
    return 0


def _existing(plan_id: str) -> Plan:
    plan = load(plan_id) if plan_id.startswith("pln_") and plan_id.isascii() and plan_id[4:].isalnum() else None
    if plan is None:
        raise UsageError(f"there is no plan {plan_id!r} of yours here; `runbook plans list` shows them")
    return plan


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
