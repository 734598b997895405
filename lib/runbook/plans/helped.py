"""Did it help? Computed from the same findings before and after."""

from collections.abc import Iterable, Sequence

from runbook.model import Finding, Status
from runbook.model.plan import Helped


def compare(before: Sequence[Finding], after: Sequence[Finding], *, partial: bool = False) -> Helped:
    """Return whether a change helped.

    One that is not well any more makes it worse, whatever else it mended; what could not be asked afterwards, and is
    not known to be wrong otherwise, leaves the question open. A ``partial`` change has helped where one thing got
    better and nothing worse.
    """
    was = {finding.key: finding.status for finding in before}
    changed = [
        f"{finding.check}: {finding.object}: {was.get(finding.key, 'not there')} -> {finding.status}: {finding.message}"
        for finding in after
        if was.get(finding.key) != finding.status
    ]
    left = not_well(after)
    worse = [finding for finding in worsened(before, after) if finding.status is not Status.UNKNOWN]
    open_ones = worsened(before, after) if partial else left
    if not after or (open_ones and all(finding.status is Status.UNKNOWN for finding in open_ones)):
        answer = "could not be found out"
    elif worse:
        answer = "made it worse"
    elif partial and not bettered(before, after):
        answer = "left all well" if changed and not left else "made no difference"
    elif left and not partial:
        answer = "did not help"
    elif not_well(before):
        answer = "helped"
    else:
        answer = "left all well" if changed else "made no difference"
    return Helped(answer=answer, changed=changed, left=[_line(finding) for finding in left])


def worsened(before: Sequence[Finding], after: Sequence[Finding]) -> list[Finding]:
    """Return the findings that are not well, and were better before, or were not there."""
    was = {finding.key: finding.status for finding in before}
    # Asked under another name before, it may have been bad all the same; but what could not be asked is not known.
    bad_checks = {finding.check for finding in not_well(before)} - _unasked(before, after)
    return [
        finding
        for finding in not_well(after)
        if (
            was[finding.key] not in (Status.UNKNOWN, finding.status)
            and (finding.status is Status.UNKNOWN or finding.status.severity < was[finding.key].severity)
            if finding.key in was
            else finding.check not in bad_checks
        )
    ]


def bettered(before: Sequence[Finding], after: Sequence[Finding]) -> list[Finding]:
    """Return the findings of before that were not well, and are better, or not there any more, afterwards."""
    now = {finding.key: finding.status for finding in after}
    unasked = _unasked(before, after)
    return [
        finding
        for finding in not_well(before)
        if (
            now[finding.key] is not Status.UNKNOWN and now[finding.key].severity > finding.status.severity
            if finding.key in now
            else finding.check not in unasked
        )
    ]


def _unasked(before: Sequence[Finding], after: Sequence[Finding]) -> set[str]:
    """Return the checks that could not be asked afterwards: then one UNKNOWN stands for all of their objects."""
    was = {finding.key for finding in before}
    asked = {finding.check for finding in after if finding.status is not Status.UNKNOWN or finding.key in was}
    return {finding.check for finding in after} - asked


def not_well(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that somebody should do something about."""
    return [finding for finding in findings if finding.bad]


def _line(finding: Finding) -> str:
    return f"{finding.check}: {finding.object}: {finding.status}: {finding.message}"
