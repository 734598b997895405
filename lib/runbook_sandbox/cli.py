"""The command ``sandbox``: up, status, break, heal, load, archive, down."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from runbook_sandbox import faults, stack
from runbook_sandbox.load import load
from runbook_sandbox.place import PARTS, Place, SandboxError, all_places
from runbook_sandbox.servers import NoServerError

DEFAULT_NAME = "sandbox"


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the sandbox's commands to a parser."""
    commands = parser.add_subparsers(dest="sandbox_command", required=True, metavar="COMMAND")
    for name, says in (
        (
            "up",
            "start PostgreSQL, Redis, the stand-in for the service and, where installed, Prometheus; write the target",
        ),
        ("status", "show where everything is and whether it runs"),
        ("break", "break it in one known way"),
        ("heal", "mend every fault"),
        ("load", "send the service requests as its users do, for a while"),
        ("archive", "leave a month of archived runs that nobody made in a new folder, for the reports to be tried on"),
        ("down", "stop everything and remove every file"),
    ):
        command = commands.add_parser(name, help=says, description=says)
        command.add_argument("--name", default=DEFAULT_NAME, help="which sandbox; its target has the same name")
        if name == "up":
            command.add_argument("--docker", action="store_true", help="each part is a container")
            command.add_argument(
                "--compose", action="store_true", help="the service is a Compose project (and --docker)"
            )
            command.add_argument("--mode", choices=stack.MODES, default=stack.MODES[0], help="how the service behaves")
            command.add_argument(
                "--without-monitoring", action="store_true", help="no Prometheus, though it is installed"
            )
            for part in PARTS:
                command.add_argument(f"--{part}-port", type=int, default=0, metavar="PORT", help="0: a free one")
        if name == "status":
            command.add_argument("--json", action="store_true")
        if name == "break":
            command.add_argument("fault", nargs="?", metavar="FAULT")
            command.add_argument("--list", action="store_true", help="list the faults")
        if name == "load":
            command.add_argument("--seconds", type=float, default=60.0, help="for how long; 60")
            command.add_argument("--rate", type=float, default=5.0, help="requests/s; 5")
        if name == "archive":
            command.add_argument("folder", type=Path, metavar="FOLDER", help="a folder that is not there, or empty")
        if name == "down":
            command.add_argument("--all", action="store_true", help="every sandbox of this user")


def run(arguments: argparse.Namespace) -> int:
    """Carry a command out and return its exit status."""
    try:
        return _COMMANDS[arguments.sandbox_command](arguments)
    except (SandboxError, NoServerError) as error:
        sys.stderr.write(f"runbook: {error}\n")
        return 70


def _up(arguments: argparse.Namespace) -> int:
    ports = {part: getattr(arguments, f"{part}_port") for part in PARTS}
    place = stack.up(
        arguments.name,
        arguments.mode,
        ports=ports,
        docker=arguments.docker,
        compose=arguments.compose,
        watched=not arguments.without_monitoring,
        recorded=True,
    )
    _show([place])
    say(f"use it: runbook run morning-health-check --target {place.name}")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    place = Place(arguments.name)
    if arguments.json:
        say(json.dumps(stack.status(place) if place.exists else {"name": place.name, "parts": {}}, indent=1))
        return 0 if place.exists else 1
    if not place.exists:
        others = [other.name for other in all_places()]
        say(f"sandbox {place.name} is not up" + (f"; up: {', '.join(others)}" if others else ""))
        return 1
    _show([place])
    return 0


def _show(places: Sequence[Place]) -> None:
    for place in places:
        told = stack.status(place)
        say(f"sandbox {place.name} ({told['mode']}): {told['folder']}, target file {told['target']}")
        for part, facts in told["parts"].items():
            say(f"  {part:<17} 127.0.0.1:{facts['port']}  {'runs' if facts['runs'] else 'DOES NOT RUN'}")
        if told["unwatched"]:
            say(f"  no Prometheus: {told['unwatched']}")
        if told["no_past"]:
            say(f"  Prometheus remembers no past: {told['no_past']}")
        if told["broken"]:
            say(f"  broken: {', '.join(told['broken'])}")


def _break(arguments: argparse.Namespace) -> int:
    if arguments.list or not arguments.fault:
        for fault in faults.FAULTS.values():
            say(f"{fault.name:<22} {fault.truth}")
        return 0
    fault = faults.break_sandbox(_existing(arguments.name), arguments.fault)
    say(f"broken: {fault.truth}")
    return 0


def _heal(arguments: argparse.Namespace) -> int:
    healed = faults.heal(_existing(arguments.name))
    say(f"healed: {', '.join(healed) or 'nothing was broken'}")
    return 0


def _load(arguments: argparse.Namespace) -> int:
    ends = load(_existing(arguments.name), arguments.seconds, arguments.rate)
    told = ", ".join(f"{count} × {end}" for end, count in sorted(ends.items()))
    say(f"{ends.total()} requests: {told or 'none'}")
    return 0


def _archive(arguments: argparse.Namespace) -> int:
    from runbook_sandbox import archived  # what writes runs costs more to import than all other commands

    folder = arguments.folder.resolve()
    runs = archived.month(folder, arguments.name)
    say(f"{runs} runs of a month that nobody made: RUNBOOK_EVIDENCE={folder} runbook run capacity-report")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    places = all_places() if arguments.all else [Place(arguments.name)]
    for place in places:
        if place.exists:
            stack.down(place)
            say(f"sandbox {place.name} is down; nothing of it is left")
        else:
            say(f"sandbox {place.name} is not up")
    return 0


def _existing(name: str) -> Place:
    place = Place(name)
    if not place.exists:
        raise SandboxError(f"sandbox {name} is not up; `sandbox up --name {name}` starts it")
    return place


def say(text: str) -> None:
    """Write a line on stdout."""
    sys.stdout.write(f"{text}\n")


_COMMANDS = {
    "up": _up, "status": _status, "break": _break, "heal": _heal, "load": _load, "archive": _archive, "down": _down,
}  # fmt: skip
