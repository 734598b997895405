"""The commands ``schedule show · cron · systemd · kubernetes · airflow``: when notebooks run, and if they do."""

import argparse
import json
import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from runbook.model import RunFailed
from runbook.model.collection import all_notebooks
from runbook.model.text import printable
from runbook.schedules.planned import JITTER, MOST_JITTER, Planned, bound, planned_for, this_place
from runbook.target import Target, load_target

if TYPE_CHECKING:
    from runbook.schedules.standing import Standing, VersionChange

SCHEMA = 1
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of ``schedule``."""
    commands = parser.add_subparsers(dest="schedule", required=True, metavar="WHAT")
    show = commands.add_parser(
        "show",
        help="the last success of each, what is overdue, what was not clean for long, or since the service changed",
    )
    show.add_argument("--days", type=_days, default=7.0, metavar="N", help="drifted: not clean for so many days (7)")
    show.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    cron = commands.add_parser("cron", help="lines for a crontab")
    systemd = commands.add_parser("systemd", help="timer and service units")
    systemd.add_argument("--user", type=_user, metavar="NAME", help="for the machine's systemd, as this user")
    kubernetes = commands.add_parser("kubernetes", help="CronJobs, and with --output a Dockerfile for their image")
    kubernetes.add_argument("--image", type=_image, default="runbook:latest", metavar="IMAGE", help="(runbook:latest)")
    airflow = commands.add_parser("airflow", help="a file of DAGs for Airflow")
    for command in (kubernetes, airflow):
        command.add_argument("--timezone", type=_zone, metavar="ZONE", help="of the times (Etc/UTC)")
    for command in (show, cron, systemd, kubernetes, airflow):
        command.add_argument("--target", action="append", metavar="T", help="a profile's name; more than once for more")
    for command in (cron, systemd, kubernetes, airflow):
        told = f"begin up to so many minutes later, always as many ({JITTER})"
        command.add_argument("--jitter", type=_jitter, default=JITTER, metavar="M", help=told)
    for command in (cron, airflow):
        command.add_argument("--output", type=Path, metavar="FILE", help="a file to write; else it is printed")
    for command in (systemd, kubernetes):
        command.add_argument("--output", type=Path, metavar="FOLDER", help="where files are written; else printed")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for; ``show`` returns 1 where something is overdue or has drifted, all else 0."""
    targets = [load_target(name) for name in dict.fromkeys(arguments.target or ["sandbox"])]
    notebooks = all_notebooks()
    planned = {target.name: planned_for(target, notebooks) for target in targets}
    if arguments.schedule == "show":
        return _show(arguments, [one for of_target in planned.values() for one in of_target])
    if arguments.schedule == "cron":
        return _cron(arguments, targets, planned)
    if arguments.schedule == "systemd":
        return _systemd(arguments, targets, planned)
    if arguments.schedule == "airflow":
        return _airflow(arguments, targets, planned)
    return _kubernetes(arguments, targets, planned)


def _cron(arguments: argparse.Namespace, targets: list[Target], planned: dict[str, list[Planned]]) -> int:
    from runbook.schedules.cron import crontab

    flock = shutil.which("flock") or "/usr/bin/flock"
    places = {target.name: this_place(target) for target in targets}
    text = crontab((one for of_target in planned.values() for one in of_target), places, arguments.jitter, flock)
    return _leave_one(text, arguments.output)


def _airflow(arguments: argparse.Namespace, targets: list[Target], planned: dict[str, list[Planned]]) -> int:
    from runbook.schedules.airflow import dags

    text = dags(
        (one for of_target in planned.values() for one in of_target),
        {target.name: this_place(target) for target in targets},
        zone=arguments.timezone or "Etc/UTC",
        jitter=arguments.jitter,
        seconds={target.name: bound(target) for target in targets},
    )
    return _leave_one(text, arguments.output)


def _leave_one(text: str, path: Path | None) -> int:
    """Print a text, or write it into a file."""
    if path is None:
        sys.stdout.write(text)
    else:
        _write({path: text})
    return 0


def _systemd(arguments: argparse.Namespace, targets: list[Target], planned: dict[str, list[Planned]]) -> int:
    from runbook.schedules.systemd import former, units

    files: dict[str, str] = {}
    for target in targets:
        place, seconds = this_place(target), bound(target)
        for one in planned[target.name]:
            if one.when is not None:
                files |= units(one, place, jitter=arguments.jitter, seconds=seconds, user=arguments.user or "")
    if arguments.output is not None:
        for timer in former(arguments.output, planned, [one.name for one in all_notebooks()], files):
            sys.stderr.write(
                f"runbook: {timer} is of a run that is not scheduled any more: disable it, and remove it\n"
            )
    return _leave(files, arguments.output)


def _kubernetes(arguments: argparse.Namespace, targets: list[Target], planned: dict[str, list[Planned]]) -> int:
    from runbook.schedules.kubernetes import cron_job, dockerfile, manifests

    how = {"image": arguments.image, "zone": arguments.timezone or "Etc/UTC", "jitter": arguments.jitter}
    jobs = [
        cron_job(one, **how, seconds=bound(target))
        for target in targets
        for one in planned[target.name]
        if one.when is not None
    ]
    if arguments.output is None:
        sys.stdout.write(manifests(jobs))
        return 0
    return _leave({"cronjobs.yaml": manifests(jobs), "Dockerfile": dockerfile()}, arguments.output)


def _leave(files: dict[str, str], folder: Path | None) -> int:
    """Print files, each under its name, or write them into a folder."""
    if folder is None:
        sys.stdout.write("\n".join(f"# --- {name}\n{text}" for name, text in files.items()))
    else:
        _write({folder / name: text for name, text in files.items()})
    return 0


def _write(files: dict[Path, str]) -> None:
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise RunFailed(f"{path} cannot be written: {error.strerror}") from error
        sys.stdout.write(f"{path}\n")


def _show(arguments: argparse.Namespace, planned: list[Planned]) -> int:
    from runbook.evidence.archive import archive_folder
    from runbook.schedules.standing import DRIFTED, LOOKED_BACK, OVERDUE, read_past, standings

    now, back = datetime.now(UTC), max(LOOKED_BACK, 2 * arguments.days)
    targets = dict.fromkeys(one.target for one in planned)
    past = read_past(archive_folder(), targets, now, back)
    told = standings(planned, past, now, arguments.days, back)
    if arguments.json:
        document = {"schema": SCHEMA, "left_out": past.left_out, "schedule": [_as_json(one) for one in told]}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        for one in told:
            name = f"{one.planned.notebook} on {one.planned.target}"
            line = f"{one.state:<8} {name:<40} {one.planned.told:<18} {one.message}"
            sys.stdout.write(printable(line) + "\n")
        for why, count in past.left_out.items():
            sys.stdout.write(f"not counted: {count} runs ({why}); runbook evidence verify\n")
    return 1 if any(one.state in (OVERDUE, DRIFTED) for one in told) else 0


def _as_json(one: "Standing") -> dict[str, object]:
    last = one.last
    return {
        "notebook": one.planned.notebook,
        "target": one.planned.target,
        "schedule": one.planned.told,
        "by": "profile" if one.planned.by_profile else "notebook",
        "state": one.state,
        "overdue": one.overdue,
        "drifted": one.drifted,
        "last_success": last.succeeded.isoformat() if last is not None and last.succeeded else None,
        "last_clean": last.clean.isoformat() if last is not None and last.clean else None,
        "last_status": last.status if last is not None else None,
        "not_clean_since": _change_as_json(one.not_since),
        "message": one.message,
    }


def _change_as_json(change: "VersionChange | None") -> dict[str, str] | None:
    if change is None:
        return None
    seen = {"after": change.after.isoformat(), "seen": change.seen.isoformat()}
    return {"version": change.now, "version_before": change.before, **seen}


def _days(text: str) -> float:
    number = _number(text)
    if not 0 < number <= 3650:
        raise argparse.ArgumentTypeError(f"{text!r} is to be a number of days, more than 0 and at most 3650")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _jitter(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= MOST_JITTER):
        raise argparse.ArgumentTypeError(f"{text!r} is to be a number of minutes, from 0 to {MOST_JITTER}")
    return int(text)


def _user(text: str) -> str:
    if not _USER.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a user")
    return text


def _image(text: str) -> str:
    if not _IMAGE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of an image, as in registry.example/runbook:1")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ValueError, OSError, KeyError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time zone; write one like Etc/UTC or Europe/Vienna"
        ) from error
    return text
