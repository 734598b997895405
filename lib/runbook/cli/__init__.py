"""The command ``runbook``."""

from runbook.cli.main import main

__all__ = ["main"]
