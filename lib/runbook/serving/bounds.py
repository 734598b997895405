"""How often something may happen: so many at once, and then so many in a time."""

import time


class Bucket:
    """Holds ``most`` drops, and gets them back evenly within so many seconds; for one thread at a time."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._each = most, seconds / most
        self._drops, self._at = float(most), time.monotonic()

    def has(self, drops: int) -> bool:
        """Tell whether as many are there now."""
        now = time.monotonic()
        self._drops = min(self._most, self._drops + (now - self._at) / self._each)
        self._at = now
        return self._drops >= drops

    def take(self, drops: int) -> None:
        """Take as many."""
        self._drops -= drops
