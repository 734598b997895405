"""The command ``sandbox``: hands over to the practice stack, where it is installed."""

import argparse

from runbook.model import RunFailed


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Add the practice stack's own commands."""
    try:
        from runbook_sandbox import cli
    except ImportError as error:
        raise RunFailed(f"the practice stack needs the extra `sandbox`: {error}") from error
    cli.add_commands(parser)


def run(arguments: argparse.Namespace) -> int:
    """Carry the command out."""
    from runbook_sandbox import cli

    return cli.run(arguments)
