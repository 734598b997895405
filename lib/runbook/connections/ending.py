"""Work that is worth keeping when it is cut short: SIGTERM ends it as Ctrl-C does, and what there is can be told."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# After which what was to end does end: its last answer is on its way by then, and nothing else was begun.
LEAVE_SECONDS = 0.35


@contextmanager
def ends_gently() -> Iterator[None]:
    """Turn SIGTERM into `KeyboardInterrupt` for a while, so that what was found is kept; the process ends soon after.

    Only the main thread hears signals: in any other one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
        if heard:
            leaving = threading.Timer(LEAVE_SECONDS, os.kill, (os.getpid(), signal.SIGTERM))
            leaving.daemon = True
            leaving.start()
