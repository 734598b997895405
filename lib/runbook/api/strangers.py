"""What somebody whom the service does not know is answered, and whether such an answer is to be believed."""

from runbook.connections import Response
from runbook.model import Asking, Finding, Status

_SHOWN = 60


def catches_all(control: Response) -> bool:
    """Tell whether a path that nobody serves was answered as if it were there: a 200 then says nothing of a path."""
    return 200 <= control.status < 300


def not_believed(control_status: int) -> Finding:
    """Return the finding on a service that answers everything alike."""
    message = (
        f"a path that nobody serves is answered {control_status}: what is answered here tells nothing of what is open"
    )
    after = "see what answers at this address: a proxy's or a front end's page, or another service; mend the profile"
    return Finding(object="control request", status=Status.UNKNOWN, message=message, value=control_status, next=after)


def user_path(asking: Asking) -> str:
    """Return the path that stands for what users do, as the profile says."""
    return asking.target.api.user_request if asking.target.api else "/"


def shortened(text: str) -> str:
    """Return what the other side wrote, short enough for a sentence."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
