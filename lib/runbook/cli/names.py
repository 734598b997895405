"""Whether the checks and thresholds that a profile names are there: one that is not would be without effect."""

import difflib
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from runbook.model import UsageError

if TYPE_CHECKING:
    from runbook.kernels.owner import Template
    from runbook.target import Target


def check_names(target: "Target", forking: "Template | None" = None) -> None:
    """Refuse a profile that names a check or a threshold that does not exist: it would be without effect."""
    named = [
        *target.thresholds,
        *(entry.check for entry in target.acknowledge),
        *(entry.check for entry in target.not_applicable),
    ]
    if not named:
        return
    known = _thresholds(forking)
    for name in named:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise UsageError(f"profile {target.name}: there is no check {name!r}{hint}")
    for name, thresholds in target.thresholds.items():
        unknown = sorted(set(thresholds) - set(known[name]))
        if unknown:
            there = ", ".join(known[name]) or "none"
            raise UsageError(f"profile {target.name}: {name} has no threshold {', '.join(unknown)}; it has {there}")


def _thresholds(forking: "Template | None") -> Mapping[str, Collection[str]]:
    """Return the thresholds of every question: as the template knows them, or by importing the questions here."""
    from runbook.kernels import questions
    from runbook.kernels.owner import TemplateGone

    if forking is not None:
        with suppress(TemplateGone):
            return forking.thresholds()
    return questions.thresholds()
