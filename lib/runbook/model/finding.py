"""One judged fact, and the findings of a run."""

from collections.abc import Iterable, Iterator
from datetime import date

import msgspec

from runbook.model.status import Status, verdict

# The question that sums up all others: what it found is read first, for it says what to do first.
SUMS_UP = "assessment.severity"


class Acknowledgement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why and until when a target's profile accepts a finding (the end date counts)."""

    reason: str
    until: date


class Finding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One judged fact about one object.

    ``check`` is the question's name, ``source`` the exact query or command that anyone can repeat, ``next`` what to do
    about it: a sentence, or the notebook to open. ``threshold`` is the limit that ``value`` passed (or the first one
    that it would pass), in ``unit``. A check leaves ``check``, ``source`` and ``next`` empty; the session fills them.
    ``explained_by`` names the check whose CRITICAL finding explains this one: mend that first.
    """

    object: str
    status: Status
    message: str
    check: str = ""
    value: float | str | None = None
    threshold: float | str | None = None
    unit: str = ""
    source: str = ""
    next: str = ""
    explained_by: str = ""
    acknowledged: Acknowledgement | None = None

    @property
    def bad(self) -> bool:
        """Tell whether somebody should do something about it: neither well nor skipped nor acknowledged."""
        return self.acknowledged is None and self.status not in (Status.OK, Status.SKIPPED)

    @property
    def key(self) -> tuple[str, str]:
        """Return what makes two findings the same fact asked twice."""
        return (self.check, self.object)

    @property
    def counts(self) -> bool:
        """Tell whether it takes part in the verdict: neither acknowledged nor skipped."""
        return self.acknowledged is None and self.status is not Status.SKIPPED


class Findings:
    """The findings of a run in the order first asked; asked again, a question's last answer replaces the former."""

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self._by_check: dict[str, dict[tuple[str, str], Finding]] = {}
        for finding in findings:
            self._by_check.setdefault(finding.check, {})[finding.key] = finding

    def replace(self, check: str, findings: Iterable[Finding]) -> None:
        """Take a question's answer: all that it found before is superseded, objects that are gone included."""
        self._by_check[check] = {finding.key: finding for finding in findings}

    def __iter__(self) -> Iterator[Finding]:
        for findings in self._by_check.values():
            yield from findings.values()

    def __len__(self) -> int:
        return sum(map(len, self._by_check.values()))

    def worst_first(self) -> list[Finding]:
        """Return the findings to read them: what explains others first, then by severity, acknowledged ones last.

        Before all of them comes what sums them up, where it is not well. Of as severe ones a cause stands where the
        first was found that it explains, the others as they were asked.
        """
        placed = list(enumerate(self))
        first: dict[str, int] = {}
        for place, finding in placed:
            if finding.explained_by and finding.status is Status.CRITICAL:
                first.setdefault(finding.explained_by, place)

        def order(one: tuple[int, Finding]) -> tuple[bool, bool, bool, int, int]:
            place, f = one
            explained, place = f.explained_by != "", min(place, first.get(f.check, place))
            return f.acknowledged is not None, not (f.bad and f.check == SUMS_UP), explained, f.status.severity, place

        return [finding for _, finding in sorted(placed, key=order)]

    def of(self, check: str) -> list[Finding]:
        """Return the last answer's findings of one question."""
        return list(self._by_check.get(check, {}).values())

    @property
    def verdict(self) -> Status:
        """Return the worst of those that count; UNKNOWN where none does."""
        return verdict(finding.status for finding in self if finding.counts)
