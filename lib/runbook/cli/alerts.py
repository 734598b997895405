"""The commands ``alerts rules · dashboard``: what Prometheus and Grafana load, made from the rules and a profile."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from runbook.model import RunFailed
from runbook.target import Target, load_target


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of ``alerts``."""
    commands = parser.add_subparsers(dest="alerts", required=True, metavar="WHAT")
    rules = commands.add_parser("rules", help="the alert rules, as a file for `rule_files` of Prometheus")
    rules.add_argument(
        "--base",
        default="",
        metavar="URL",
        help="where the repository is seen, for whole links in runbook_url",
    )
    rules.add_argument("--objective", type=_objective, default=99.5, metavar="P", help="of requests to succeed (99.5)")
    rules.add_argument(
        "--time-scale",
        type=_scale,
        default=1.0,
        metavar="X",
        help="windows and waits X times as long (1)",
    )
    dashboard = commands.add_parser("dashboard", help="the runbook's panels, as a dashboard for Grafana (JSON)")
    for command in (rules, dashboard):
        command.add_argument("--target", metavar="T", help="a profile, whose thresholds and names of jobs are used")
        command.add_argument("--output", type=Path, metavar="FILE", help="a file to write; else it is printed")


def run(arguments: argparse.Namespace) -> int:
    """Write what was asked for and return 0."""
    target = load_target(arguments.target) if arguments.target else None
    text = _rules(arguments, target) if arguments.alerts == "rules" else _dashboard(target)
    if arguments.output is None:
        sys.stdout.write(text)
        return 0
    try:
        arguments.output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunFailed(f"{arguments.output} cannot be written: {error.strerror}") from error
    return 0


def _rules(arguments: argparse.Namespace, target: Target | None) -> str:
    from runbook.prometheus.rules import Terms, rule_file
    from runbook.prometheus.rules.applies import fires_for_nothing

    terms = Terms.of(target, objective=arguments.objective, scale=arguments.time_scale)
    return rule_file(terms, base=arguments.base, without=fires_for_nothing(target) if target else ())


def _dashboard(target: Target | None) -> str:
    from runbook.prometheus.dashboard import dashboard_text

    return dashboard_text(target)


def _objective(text: str) -> float:
    return _within(text, lambda number: 0 < number < 100, "more than 0 and less than 100 (%), as in 99.5")


def _scale(text: str) -> float:
    return _within(text, lambda number: 0 < number <= 1000, "more than 0 and at most 1000, as in 0.1")


def _within(text: str, allowed: Callable[[float], bool], range_: str) -> float:
    """Return a number; whoever gives another is told which ones there are."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not allowed(number):
        raise argparse.ArgumentTypeError(f"{text!r} is to be a number, {range_}")
    return number
