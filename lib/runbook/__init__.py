"""The operations runbook of the Shrimp Annotation Pipeline: questions, notebooks that ask them, and their runs.

A notebook begins with ``from runbook import open_run`` and the packages whose questions it asks.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runbook.session import open_run as open_run

__all__ = ["open_run"]


def __getattr__(name: str) -> Any:
    # Late, so that the command line does not pay for what only a kernel needs.
    if name == "open_run":
        from runbook.session import open_run

        return open_run
    raise AttributeError(f"module 'runbook' has no attribute {name!r}")
