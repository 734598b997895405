"""Plans carried out in a test's own kernel, and runs that are closed behind it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from runbook.plans.token import token_of
from runbook.session import open_run


@contextmanager
def opening(notebook: str, target: str, needs: list[str]) -> Iterator[Callable[..., Any]]:
    """Give a function that opens a run of a notebook, on this target or another; all are closed in the end."""
    runs = []

    def open_(other: str = target, of: list[str] = needs) -> Any:
        runs.append(open_run(notebook, target=other, needs=of))
        return runs[-1]

    try:
        yield open_
    finally:
        for run in runs:
            run.close()


def carried_out(run: Any, change: Any, verify: Any, **arguments: Any) -> Any:
    """Plan a change, carry it out by its token, and return what became of it."""
    shown = run.propose(change, verify=verify, **arguments)
    assert shown.plans, shown.reason
    token = token_of(shown.plans[0].plan)
    return run.apply(run.propose(change, verify=verify, confirm=token, **arguments), token).plans[0]
