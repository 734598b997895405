"""The files of the target as they are now: read once for all questions of a notebook, or anew."""

import os
from pathlib import Path

from runbook.connections import Machine
from runbook.integrity.listing import Listing
from runbook.integrity.walk import Wanted, walk
from runbook.model import Asking, CouldNotFindOut
from runbook.target import Target, references

# 100,000 files take some seconds, and a cold disk a minute. The reading ends before its question's deadline does, so
# that it can say how far it came.
DEADLINE = 120.0
_SHARE = 0.85
NOT_NAMED = (
    "the profile names no trees to look at: write [[integrity.trees]] with their path, as the example profile does"
)


class Files:
    """The files of one target as a notebook has read them; questions that are given it share what was read."""

    def __init__(self) -> None:
        self._listing: Listing | None = None

    def listing(self, asking: Asking, *, anew: bool = False) -> Listing:
        """Return what lies in the trees, read anew where that is wanted or was not done yet."""
        if self._listing is None or anew:
            self._listing = None
            self._listing = read(asking)
        return self._listing


def files() -> Files:
    """Return what the questions of a notebook share; nothing is read yet."""
    return Files()


def read(asking: Asking) -> Listing:
    """Return what lies in the target's trees and where its jobs and units are put.

    Raises `CouldNotFindOut` where the profile names none, or the target lives elsewhere.
    """
    asking.connection(Machine).require_here("files are read")
    wanted = trees_of(asking.target)
    limit = asking.target.deadlines.question or DEADLINE
    return walk(wanted, limit * _SHARE)


def trees_of(target: Target) -> list[Wanted]:
    """Return the trees that the profile names, then its places of jobs and units; raises `CouldNotFindOut`."""
    if target.integrity is None or not target.integrity.trees:
        raise CouldNotFindOut(NOT_NAMED)
    files = [one.removeprefix("file:") for one in references(target.model_dump(mode="json")) if one.startswith("file:")]
    secrets = frozenset(os.path.realpath(Path(path).expanduser()) for path in files)
    trees = [Wanted(str(tree.path), tree.exclude, secrets) for tree in target.integrity.trees]
    return trees + [Wanted(str(path), (), secrets) for path in target.integrity.units]


def units_of(target: Target) -> list[str]:
    """Return the places of jobs and units as the profile names them."""
    return [str(path) for path in target.integrity.units] if target.integrity is not None else []
