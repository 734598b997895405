"""Questions on the clocks of the target's parts."""

from runbook.clock.offsets import offsets

questions = (offsets,)

__all__ = ["offsets", "questions"]
