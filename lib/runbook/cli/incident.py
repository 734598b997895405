"""The commands ``incident open · note · close · list · show · report``."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from runbook.model import RunbookError, UsageError
from runbook.model.incident import RESPONSE, SEVERITIES
from runbook.model.moments import moment as read_moment
from runbook.model.text import printable
from runbook.model.units import counted

if TYPE_CHECKING:
    from runbook.evidence.incidents import Incident
    from runbook.evidence.standing import Stood
    from runbook.redaction import Redactor

_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?")
_WHICH = 'an incident\'s id, or the end of it; "open" or "" for the open one, where there is exactly one'
_WHEN = "2026-11-25T14:30, or 14:30 for the last time that it was so late; UTC"


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of ``incident``."""
    commands = parser.add_subparsers(dest="incident", required=True, metavar="WHAT")
    severities = ", ".join(f"{severity}: {time}" for severity, time in RESPONSE.items())

    opening = commands.add_parser("open", help="open an incident, and print its id")
    opening.add_argument("title", metavar="TITLE", help="what is seen, in a few words")
    opening.add_argument(
        "--severity", required=True, type=str.upper, choices=SEVERITIES, help=f"and so the response ({severities})"
    )
    opening.add_argument("--target", action="append", default=[], metavar="T", help="what is hit; more than once too")
    opening.add_argument("--owner", default="", metavar="WHO", help="who is responsible (else you)")
    opening.add_argument("--began", default="", metavar="TIME", help=f"when the trouble began: {_WHEN}")

    note = commands.add_parser("note", help="write down what was seen, done or decided")
    note.add_argument("which", metavar="ID", help=_WHICH)
    note.add_argument("text", nargs="?", default="", metavar="TEXT")
    note.add_argument("--at", default="", metavar="TIME", help=f"when it happened: {_WHEN}")
    note.add_argument("--severity", default="", type=str.upper, choices=SEVERITIES, help="the severity from now on")
    note.add_argument("--owner", default="", metavar="WHO", help="who is responsible from now on")
    note.add_argument("--began", default="", metavar="TIME", help="when the trouble began, as is known now")

    close = commands.add_parser("close", help="close it: it is over")
    close.add_argument("which", nargs="?", default="", metavar="ID", help=_WHICH)
    close.add_argument("--resolution", default="", metavar="TEXT", help="what ended it")
    close.add_argument("--at", default="", metavar="TIME", help=f"when it was over: {_WHEN}")

    listing = commands.add_parser("list", help="the incidents, newest first")
    listing.add_argument("--open", action="store_true", help="only those that are open")
    listing.add_argument("-n", dest="most", type=int, default=30, metavar="N", help="at most so many (30; 0 for all)")

    show = commands.add_parser("show", help="one incident: what was noted and run, and whether the seals hold")
    show.add_argument("which", nargs="?", default="", metavar="ID", help=_WHICH)

    report = commands.add_parser("report", help="the post-mortem of it: one page, sealed, and PDF by Chromium")
    report.add_argument("which", nargs="?", default="", metavar="ID", help=_WHICH)
    report.add_argument("--key", action="append", default=[], metavar="FILE", help="a public key to trust (PEM)")
    report.add_argument("--no-pdf", action="store_true", help="make the page only")


def run(arguments: argparse.Namespace) -> int:
    """Carry out the command and return its exit status."""
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "open": _open,
        "note": _note,
        "close": _close,
        "list": _list,
        "show": _show,
        "report": _report,
    }
    return commands[arguments.incident](arguments)


def _open(arguments: argparse.Namespace) -> int:
    from runbook.evidence.incidents import open_incident
    from runbook.target import load_target

    for name in arguments.target:
        load_target(name)  # a target that is not there is told before anything is written
    incident = open_incident(
        arguments.title,
        arguments.severity,
        author=who(),
        redactor=redactor_of(arguments.target),
        targets=dict.fromkeys(arguments.target),
        owner=arguments.owner,
        began=moment(arguments.began),
    )
    say(incident.id)
    page = bring_up_to_date(incident)
    tell(f"{incident.severity}, response: {RESPONSE[incident.severity]}; owner {incident.owner}")
    tell(f"runs belong to it with `runbook run NAME --incident {incident.id}`; its page: {page}")
    return 0


def _note(arguments: argparse.Namespace) -> int:
    from runbook.evidence.incidents import add_note, find

    incident = find(arguments.which)
    add_note(
        incident,
        arguments.text,
        author=who(),
        redactor=redactor_for(incident),
        at=moment(arguments.at),
        severity=arguments.severity,
        owner=arguments.owner,
        began=moment(arguments.began),
    )
    bring_up_to_date(incident)
    say(f"noted in {incident.id}: {printable(incident.title)}")
    return 0


def _close(arguments: argparse.Namespace) -> int:
    from runbook.evidence.incidents import close_incident, find

    incident = find(arguments.which)
    told = _end_that_was_told(incident.id)
    resolution = arguments.resolution or told.get("resolution", "")
    at = moment(arguments.at or told.get("ended", ""))
    if at and at < incident.began:
        raise UsageError(f"it cannot have been over at {at}: it began at {incident.began}")
    incident = close_incident(incident, resolution, author=who(), redactor=redactor_for(incident), at=at)
    bring_up_to_date(incident)
    say(f"{incident.id} is closed: {printable(incident.title)}")
    if told and not (arguments.at and arguments.resolution):
        say(f"  as everybody was told: it ended at {at}; {printable(resolution) or 'no resolution'}")
    return 0


def _end_that_was_told(incident: str) -> dict[str, str]:
    """Return the end and the resolution that a message told everybody; nothing where none was delivered."""
    from runbook.communication.sent import sent
    from runbook.evidence.incidents import find
    from runbook.evidence.standing import verified_runs

    runs = [run.record for run in verified_runs(find(incident)) if run.standing == "sealed" and run.record is not None]
    ends = [message.facts for message in sent(incident, runs) if message.kind == "resolved"]
    return {name: ends[-1][name] for name in ("ended", "resolution") if name in ends[-1]} if ends else {}


def _list(arguments: argparse.Namespace) -> int:
    from runbook.evidence.incidents import all_incidents

    found = [incident for incident in all_incidents() if incident.is_open or not arguments.open]
    for incident in found[: arguments.most] if arguments.most > 0 else found:
        state = "open" if incident.is_open else f"closed {incident.closed}"
        told = [incident.id, incident.severity, incident.opened, state, incident.owner, incident.title]
        say("  ".join(printable(part) for part in told))
    if not found:
        say("no such incident")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from runbook.evidence.archive import archive_folder
    from runbook.evidence.incidents import find
    from runbook.evidence.keys import trusted_keys
    from runbook.evidence.standing import stood, verified_runs

    archive = archive_folder()
    incident = find(arguments.which, archive)
    state = "open" if incident.is_open else f"closed at {incident.closed}"
    say(f"{incident.id}: {incident.severity}, {state}: {printable(incident.title)}")
    say(f"  opened {incident.opened}, began {incident.began}, owner {printable(incident.owner)}")
    lines: list[tuple[str, str]] = []
    keys = trusted_keys([])
    runs = verified_runs(incident, archive, keys)
    for noted in incident.notes:
        entry = noted.entry
        changed = [entry.severity and f"severity {entry.severity}", entry.owner and f"owner {entry.owner}"]
        says = "; ".join(filter(None, [entry.title or entry.text, *changed]))
        lines.append((entry.at, f"{entry.kind} by {entry.author}: {says}"))
    lines += [(run.record.started, _run_line(run)) for run in runs if run.record is not None]
    for at, line in sorted(lines, key=lambda line: line[0]):
        say(f"  {at}  {printable(line)}")
    records = [*(stood(noted.place, archive, keys) for noted in incident.notes), *runs]
    broken = [record for record in records if record.standing not in ("sealed", "pruned")]
    for record in broken:
        say(f"  {record.standing.upper()}  {printable(f'{record.place.run_id}: {record.why}')}")
    whole = sum(record.standing == "sealed" for record in records)
    say(f"  {counted(whole, 'record is', 'records are')} what was sealed")
    say(f"  {archive / incident.page}")
    return 1 if broken else 0


def _report(arguments: argparse.Namespace) -> int:
    from runbook.cli.post_mortem import report

    return report(arguments)


def _run_line(run: "Stood") -> str:
    record = run.record
    assert record is not None
    changed = [f"; plan {plan.id}: {plan.summary}: {plan.state}" for plan in record.plans]
    return f"{record.notebook} on {record.target}: {record.status} ({record.run_id})" + "".join(changed)


def redactor_of(targets: Iterable[str]) -> "Redactor":
    """Return what scrubs the secrets of some targets; a target whose profile is gone has none that could be known."""
    from runbook.redaction import Redactor
    from runbook.target import load_target

    secrets: list[str] = []
    allowed: list[str] = []
    for name in targets:
        with suppress(RunbookError):
            target = load_target(name)
            secrets += target.secret_values()
            allowed += target.redaction.allow
    return Redactor(secrets, allow=allowed)


def redactor_for(incident: "Incident") -> "Redactor":
    """Return what scrubs the secrets of an incident's targets, and of those that its runs name."""
    from runbook.evidence.standing import runs_of

    runs = [run.record.target for run in runs_of(incident) if run.record is not None]
    return redactor_of(dict.fromkeys([*incident.targets, *runs]))


def moment(text: str) -> str:
    """Return a time as entries tell it, "" for none; raises `UsageError` for what is no time, or not yet past."""
    if not text:
        return ""
    now = datetime.now(UTC)
    if _CLOCK.fullmatch(text):
        hours, minutes, *seconds = map(int, text.split(":"))
        at = now.replace(hour=hours, minute=minutes, second=seconds[0] if seconds else 0, microsecond=0)
        at -= timedelta(days=1) if at > now else timedelta()
    else:
        try:
            at = read_moment(text)
        except ValueError:
            raise UsageError(f"{text!r} is no time; a time is {_WHEN}") from None
    if at > now:
        raise UsageError(f"{text} has not come yet: it is {now:%Y-%m-%d %H:%M} UTC")
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def bring_up_to_date(incident: "Incident") -> Path:
    """Bring the archive's pages up to date; what was written is not lost for their sake."""
    from runbook.evidence.archive import archive_folder
    from runbook.evidence.index import rebuild_index

    archive = archive_folder()
    try:
        rebuild_index(archive)
    except (OSError, RunbookError) as error:
        tell(f"the archive's pages were not brought up to date: {getattr(error, 'strerror', None) or error}")
    return archive / incident.page


def who() -> str:
    """Return the user who gives the command, as the system knows it."""
    from runbook.plans.place import whoami

    return whoami()


def say(text: str) -> None:
    """Write a line of what the command is for."""
    sys.stdout.write(text + "\n")


def tell(text: str) -> None:
    """Say what a program that takes the output does not want to read."""
    with suppress(OSError):
        sys.stderr.write(f"{text}\n")
