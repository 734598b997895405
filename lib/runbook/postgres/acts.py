"""How a step is done to the database with a statement of this package."""

from runbook.connections import statements
from runbook.connections.statements import Arguments, Statement, plain
from runbook.model import Act

__all__ = ["composed", "packaged", "plain", "written"]


def packaged(name: str, *, none: str, happened: str | None = None) -> Act:
    """Return an act that executes the packaged statement ``sql/NAME.sql``; see `statements.packaged`."""
    return statements.packaged(__package__, name, none=none, happened=happened)


def written(name: str, arguments: Arguments) -> str:
    """Return a packaged statement with its values in place, in one line, as one would type it."""
    return statements.written(__package__, name, arguments)


def composed(statement: Statement, *, happened: str | None = None) -> Act:
    """Return an act that executes a statement composed of the step's arguments; see `statements.composed`."""
    return statements.composed(statement, package=__package__, happened=happened)
