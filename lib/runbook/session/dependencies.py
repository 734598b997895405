"""The dependencies of a run: opened all at once, and remembered when they do not answer."""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, TypeVar, cast

from runbook.connections import ClockReading, Connection
from runbook.model import CouldNotFindOut, Unreachable
from runbook.model.deadline import DeadlinePassed, Pending
from runbook.target import Target

T = TypeVar("T")

# What the connections' own time limits may add to their deadline before the run stops waiting for them.
GRACE_SECONDS = 0.5


class Dependencies:
    """Connections by kind; each is opened once, and one that did not answer is not asked again in this run."""

    def __init__(self, target: Target, label: str) -> None:
        self.target = target
        self._label = label
        self._open: dict[type[Connection], Connection] = {}
        self._dead: dict[type[Connection], Unreachable] = {}

    def open(self, kinds: Iterable[type[Connection]]) -> None:
        """Open connections, all at once: the slowest decides how long it takes, its deadline how long at most."""
        began = time.monotonic()
        pending = {kind: Pending(self._opener(kind), drop=lambda late: late.close()) for kind in kinds}
        limit = self.target.deadlines.connect
        for kind, work in pending.items():
            try:
                self._open[kind] = work.result(limit + GRACE_SECONDS - (time.monotonic() - began))
            except DeadlinePassed:
                self._dead[kind] = Unreachable(kind.name, "timeout", f"{kind.name}: no answer within {limit:g} s")
            except Unreachable as error:
                self._dead[kind] = error
            except CouldNotFindOut as error:
                self._dead[kind] = Unreachable(kind.name, "not-configured", str(error))
            except Exception as error:  # noqa: BLE001 - whatever one side answers, the others are still worth asking
                reason = f"{kind.name} answered what cannot be read ({type(error).__name__})"
                self._dead[kind] = Unreachable(kind.name, "protocol", reason)

    def _opener(self, kind: type[Connection]) -> Any:
        return lambda: kind.open(self.target, self._label)

    def connection(self, kind: type[T]) -> T:
        """Return the open connection of a kind, opening it now where the run did not foresee it."""
        assert issubclass(kind, Connection)
        if kind in self._open and self._open[kind].closed:
            self._open.pop(kind).close()
        if kind not in self._open and kind not in self._dead:
            self.open([kind])
        if kind in self._dead:
            raise self._dead[kind]
        return cast(T, self._open[kind])

    def renew(self, kinds: Iterable[type]) -> None:
        """Forget these, those that did not answer as well: whoever asks next opens them anew."""
        for kind in kinds:
            assert issubclass(kind, Connection)
            self._dead.pop(kind, None)
            held = self._open.pop(kind, None)
            if held is not None:
                with suppress(CouldNotFindOut, OSError):
                    held.close()

    def clocks(self) -> Mapping[str, ClockReading]:
        """Return the clock reading of each open dependency that tells the time, by name."""
        return {kind.name: held.clock for kind, held in self._open.items() if held.clock is not None}

    def identities(self) -> list[tuple[str, dict[str, str], Unreachable | None]]:
        """Return for each dependency its name, its identity, and why it is not open."""
        opened = [(kind.name, held.identity, None) for kind, held in self._open.items()]
        return opened + [(kind.name, {}, error) for kind, error in self._dead.items()]

    def give_up(self, kinds: Iterable[type], seconds: float, check: str) -> None:
        """Remember that these kept a question (``check``) waiting beyond its deadline, and wake who still waits."""
        for kind in [kind for kind in kinds if kind in self._open]:
            held = self._open.pop(kind)
            reason = f"{kind.name} kept silent: no answer within {seconds:g} s to {check}; not asked again in this run"
            self._dead[kind] = Unreachable(kind.name, "timeout", reason)
            held.abort()

    def interrupt(self, kinds: Iterable[type], why: str) -> bool:
        """Have what these do for a question end at once with what there is; tell whether one of them can."""
        held = [self._open[kind] for kind in kinds if kind in self._open]
        return max([one.interrupt(why) for one in held], default=False)

    def close(self) -> None:
        """Close every connection; one that fails to close does not keep the others open."""
        while self._open:
            _, held = self._open.popitem()
            with suppress(CouldNotFindOut, OSError):
                held.close()
