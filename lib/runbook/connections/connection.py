"""What every connection can do for a run."""

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from runbook.connections.clock import ClockReading
from runbook.target import Target


class Connection(ABC):
    """One open connection of a run.

    ``identity`` proves which part this is: what it is, where, its version, in a few words each. ``clock`` compares its
    clock with this machine's, or is None where it tells no time. One that ``ends_gently`` can be told to end what it
    does for a question, which then has an answer of what there is.
    """

    name: ClassVar[str]
    ends_gently: ClassVar[bool] = False
    identity: dict[str, str]
    clock: ClockReading | None = None

    @classmethod
    @abstractmethod
    def open(cls, target: Target, label: str) -> Self:
        """Connect and read the identity; raises `Unreachable` with the reason.

        ``label`` names the run to the other side, where it keeps such a name.
        """

    @classmethod
    def lacking(cls, target: Target) -> str:
        """Return what the profile lacks for this connection, in words; "" where it can be opened."""
        return ""

    @property
    def closed(self) -> bool:
        """Tell whether the other side has ended the connection, so that only a new one helps."""
        return False

    @abstractmethod
    def close(self) -> None:
        """Give everything back; called once, also after a failure."""

    def interrupt(self, why: str) -> bool:
        """Have what is under way end at once with what there is; tell whether anything could be told so."""
        return False

    def abort(self) -> None:
        """Wake a thread that waits in this connection; the connection is of no use afterwards."""
        self.close()
