"""Read the command line and hand over; what a command needs is imported only when it is called."""

import argparse
import os
import sys
from contextlib import suppress
from typing import NoReturn

from runbook.kernels import DEFAULT, FORK, ORDINARY
from runbook.model import RunbookError
from runbook.model.status import EXIT_FAILED, EXIT_USAGE


class Parser(argparse.ArgumentParser):
    """A parser whose mistakes end with the status for usage, and with one sentence."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, where to read more, and end."""
        _complain(f"{message}; see `{self.prog} --help`")
        sys.exit(EXIT_USAGE)


def build_parser() -> Parser:
    """Return the parser of all commands."""
    parser = Parser(prog="runbook", description="The executable operations runbook of the Shrimp Annotation Pipeline.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    commands.add_parser("demo", help="the main job on a practice stack: every read-only notebook, verdicts, reports")
    commands.add_parser("test", help="the whole test suite; what follows is handed to pytest")

    listing = commands.add_parser("list", help="the notebooks, by symptom, alert and section")
    listing.add_argument("symptom", nargs="?", default="", help="words of a symptom, or the name of an alert")

    run = commands.add_parser("run", help="run notebooks headless")
    run.add_argument("notebooks", nargs="*", metavar="NAME")
    run.add_argument("--target", action="append", metavar="T", help="a profile's name, or @GROUP; as often as wanted")
    run.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help="a parameter")
    told = 'the incident that the run belongs to: its id, or "open" for the one that is open'
    run.add_argument("--incident", default="", metavar="I", help=told)
    run.add_argument("--after-close", action="store_true", help="also where that incident is closed already")
    run.add_argument("--confirm", default="", metavar="TOKEN", help="carry out the plan that this token confirms")
    run.add_argument("--deadline", type=seconds, metavar="S", help="bound for each run, in seconds")
    run.add_argument("--cell-deadline", type=seconds, metavar="S", help="bound for each cell, in seconds (120)")
    run.add_argument("--jobs", type=jobs, metavar="N", help="how many runs at a time (as many as there are cores)")
    run.add_argument("--engine", default="local", metavar="E", help="local, or dask://HOST:PORT of a Dask scheduler")
    run.add_argument("--resume", action="store_true", help="go on with the batch that was cut short last")
    run.add_argument(
        "--kernel",
        choices=(FORK, ORDINARY),
        default=DEFAULT,
        help="how kernels start: forked from a process with the imports done, or each as a new interpreter",
    )
    run.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    run.add_argument("--line", action="store_true", help="print last, as one line of JSON, what a scheduler is to know")

    doctor = commands.add_parser("doctor", help="what of a target can be asked and changed, and how to get the rest")
    doctor.add_argument("--target", default="sandbox", metavar="T", help="a profile's name")
    doctor.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")

    commands.add_parser("lab", help="JupyterLab on the collection; what follows is handed to it")

    evidence = commands.add_parser("evidence", help="what runs left: list, show, verify, diff, head, key, add, …")
    if sys.argv[1:2] == ["evidence"]:
        from runbook.cli.evidence import add_commands as add_evidence_commands

        add_evidence_commands(evidence)

    incident = commands.add_parser("incident", help="the runs and notes of one story: open, note, close, report, …")
    if sys.argv[1:2] == ["incident"]:
        from runbook.cli.incident import add_commands as add_incident_commands

        add_incident_commands(incident)

    plans = commands.add_parser("plans", help="changes that were planned: list, show, close")
    if sys.argv[1:2] == ["plans"]:
        from runbook.cli.plans import add_commands as add_plans_commands

        add_plans_commands(plans)

    alerts = commands.add_parser("alerts", help="what Prometheus and Grafana load: rules, dashboard")
    if sys.argv[1:2] == ["alerts"]:
        from runbook.cli.alerts import add_commands as add_alerts_commands

        add_alerts_commands(alerts)

    schedule = commands.add_parser("schedule", help="when notebooks run by themselves: show, cron, systemd, …")
    if sys.argv[1:2] == ["schedule"]:
        from runbook.cli.schedule import add_commands as add_schedule_commands

        add_schedule_commands(schedule)

    _add_what_stays(commands)
    return parser


def _add_what_stays(commands: "argparse._SubParsersAction[Parser]") -> None:
    """Add the commands that do not end by themselves, or leave something that does not."""
    serve = commands.add_parser("serve", help="the archive in a browser, and the runs that Alertmanager starts")
    if sys.argv[1:2] == ["serve"]:
        from runbook.cli.serve import add_arguments

        add_arguments(serve)

    sandbox = commands.add_parser("sandbox", help="the practice stack: up, status, break, heal, down")
    if sys.argv[1:2] == ["sandbox"]:
        from runbook.cli.sandbox import add_commands

        add_commands(sandbox)


def main() -> NoReturn:
    """Run the command and end with its exit status."""
    _open_what_was_closed()
    try:
        # Before argparse, which would take the other program's options for its own.
        status = _become(sys.argv[1], sys.argv[2:]) if sys.argv[1:2] in (["test"], ["lab"]) else _dispatch()
    except RunbookError as error:
        _complain(str(error))
        status = error.exit_status
    except KeyboardInterrupt:
        _complain("interrupted before anything was run")
        status = EXIT_FAILED
    except BrokenPipeError:  # whoever read our output has seen enough
        status = EXIT_FAILED
    except OSError as error:
        _complain(str(error.strerror or error))
        status = EXIT_FAILED
    try:
        sys.stdout.flush()
    except OSError:
        # Whoever read our output has gone, or its disk is full; Python would say so once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = status if isinstance(sys.exc_info()[1], BrokenPipeError) else EXIT_FAILED
    with suppress(OSError):
        sys.stderr.flush()
    # All is written, and all processes have ended: to take the imports apart one by one takes another 0.15 s.
    os._exit(status)


def _open_what_was_closed() -> None:
    """Put something in the place of standard streams that were closed (`>&-`), before a socket gets their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _complain(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"runbook: {text}\n")


def _become(program: str, arguments: list[str]) -> NoReturn:
    from runbook.cli import development

    (development.test if program == "test" else development.lab)(arguments)


def _dispatch() -> int:
    arguments = build_parser().parse_args()
    if arguments.command == "list":
        from runbook.cli import listing

        return listing.show(arguments.symptom)
    if arguments.command == "doctor":
        from runbook.cli import doctor

        return doctor.show(arguments.target, as_json=arguments.json)
    if arguments.command == "run":
        from runbook.cli import run

        return run.run(arguments)
    if arguments.command == "demo":
        from runbook.cli import demo

        return demo.run()
    if arguments.command == "evidence":
        from runbook.cli import evidence

        return evidence.run(arguments)
    if arguments.command == "incident":
        from runbook.cli import incident

        return incident.run(arguments)
    if arguments.command == "plans":
        from runbook.cli import plans

        return plans.run(arguments)
    if arguments.command == "alerts":
        from runbook.cli import alerts

        return alerts.run(arguments)
    if arguments.command == "schedule":
        from runbook.cli import schedule

        return schedule.run(arguments)
    if arguments.command == "serve":
        from runbook.cli import serve

        return serve.run(arguments)
    from runbook.cli import sandbox

    return sandbox.run(arguments)


def jobs(text: str) -> int:
    """Return a number of runs at a time; raises ValueError for what is none, or less than 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def seconds(text: str) -> float:
    """Return a number of seconds; raises ValueError for what is none, or not above 0."""
    number = float(text)
    if not 0 < number < 1e6:
        raise ValueError(text)
    return number
