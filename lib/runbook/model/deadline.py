"""Do a piece of work within a deadline, also where what it waits for never answers."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class DeadlinePassed(Exception):
    """The work was not done in time; it goes on in its thread and its result is dropped."""


class Pending(Generic[T]):
    """Work that was started in a thread of its own; ``drop`` is called with a result that comes too late.

    The thread is a daemon: what hangs for ever must not keep the kernel from ending.
    """

    def __init__(self, work: Callable[[], T], drop: Callable[[T], None] = lambda _: None) -> None:
        self._work = work
        self._drop = drop
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._abandoned = False
        self._result: T
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def result(self, seconds: float) -> T:
        """Return what the work returned or raise what it raised; raises `DeadlinePassed` after so many seconds."""
        done = self._done.wait(max(0.0, seconds))
        with self._lock:
            if not done and not self._done.is_set():
                self._abandoned = True
                raise DeadlinePassed
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
            self._error = error
        with self._lock:
            self._done.set()
            late = self._abandoned and self._error is None
        if late:
            self._drop(self._result)
