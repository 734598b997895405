"""Tokens that must be refused later: kept in the memory of this process, and nowhere else."""

from runbook.connections import ApiConnection
from runbook.model import Asking, ChangeFailed, CouldNotFindOut, Unreachable
from runbook.model.change import Act
from runbook.model.plan import Step
from runbook.users.handed_over import read
from runbook.users.log_in import log_in

ACT = "hold_token"
_HELD: dict[tuple[str, str], str] = {}


def hold(target: str, username: str, token: str) -> None:
    """Keep a user's token."""
    _HELD[(target, username)] = token


def held(target: str, username: str) -> str:
    """Return a user's token that was good when it was kept; "" where there is none."""
    return _HELD.get((target, username), "")


def steps_for(username: str, reference: str) -> tuple[Step, ...]:
    """Return the step that logs in as a user whose password is at hand; none where it is not."""
    if not reference:
        return ()
    shown = (
        f"log in as {username} with what {reference} holds, so that there is a token that must be refused afterwards "
        "(kept in the memory of this process only)"
    )
    return (Step(act=ACT, shown=shown, arguments={"username": username, "reference": reference}),)


def _hold(asking: Asking, arguments: dict[str, str]) -> str:
    """Log in and keep the token. What does not work is told, and does not keep access from being revoked."""
    name = arguments["username"]
    try:
        came = log_in(asking.connection(ApiConnection), name, read(arguments["reference"]))
    except Unreachable as error:
        raise ChangeFailed(f"the service does not answer: {error.reason}") from error
    except CouldNotFindOut as reason:
        return f"no token: {reason}"
    if not came.token:
        return f"no token: {came.problem}"
    hold(asking.target.name, name, came.token)
    return f"{name} was let in; its token is held"


# To log in again does no harm, and nothing but a token held by a process that is gone tells whether it happened.
hold_token = Act(lambda asking, arguments: _hold(asking, dict(arguments)), lambda asking, arguments, begun: False)
