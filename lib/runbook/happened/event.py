"""One thing that happened, wherever that is known from."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Event:
    """What happened at a moment (UTC); ``within`` is how many seconds it may have been later or earlier.

    ``then`` is what to do about it where it is the lead.
    """

    at: datetime
    what: str
    known_from: str
    then: str
    within: float = 0.0
