"""The baseline that the target's files are compared with, and its list."""

from collections.abc import Callable

from runbook.evidence.baselines import Baseline, Kept, newest_baseline
from runbook.integrity.comparing import Compared, Entries, compare
from runbook.integrity.listing import Listing, from_lines
from runbook.model import Asking, CouldNotFindOut
from runbook.redaction import Redactor

NONE = "nobody has recorded a baseline of this target in the archive"


def kept_of(asking: Asking) -> Kept | None:
    """Return the newest baseline of the target, verified; raises `CouldNotFindOut` where the archive cannot be read."""
    try:
        return newest_baseline(asking.target.name)
    except OSError as error:
        raise CouldNotFindOut(f"the archive cannot be read: {error.strerror}") from error


def trusted(asking: Asking) -> tuple[Kept, Baseline, Entries]:
    """Return the baseline and its list; raises `CouldNotFindOut` where there is none, or it is not what was sealed."""
    kept = kept_of(asking)
    if kept is None:
        raise CouldNotFindOut(NONE)
    if kept.baseline is None:
        raise CouldNotFindOut(f"the baseline {kept.run_id} is not used: {kept.standing}: {kept.why}")
    try:
        return kept, kept.baseline, from_lines(kept.listing)
    except ValueError as error:
        raise CouldNotFindOut(f"the baseline {kept.run_id} is not used: {error}") from error


def compared(
    asking: Asking, before: Entries, baseline: Baseline, now: Listing, *, of: Callable[[str], bool]
) -> Compared:
    """Return how what lies in some of the trees (``of``) differs from a baseline that has them too."""
    trees = [tree for tree in now.trees if of(tree) and tree in baseline.trees]
    return compare(before, now, trees, redactor_of(asking).text)


def redactor_of(asking: Asking) -> Redactor:
    """Return what takes the target's secrets out of names of files."""
    return Redactor(asking.target.secret_values(), allow=asking.target.redaction.allow)
