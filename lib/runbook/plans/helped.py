"""Did it help? Computed from the same findings before and after."""

from collections.abc import Iterable, Sequence

from runbook.model import Finding, Status
from runbook.model.plan import Helped


def compare(before: Sequence[Finding], after: Sequence[Finding]) -> Helped:
    """Return whether a change helped.

    One that is not well any more makes it worse, whatever else it mended; what could not be asked afterwards, and is
    not known to be wrong otherwise, leaves the question open.
    """
    was = {finding.key: finding.status for finding in before}
    changed = [
        f"{finding.check}: {finding.object}: {was.get(finding.key, 'not there')} -> {finding.status}: {finding.message}"
        for finding in after
        if was.get(finding.key) != finding.status
    ]
    left = not_well(after)
    # Asked under another name before, it may have been bad all the same.
    bad_checks = {finding.check for finding in not_well(before)}
    worse = [
        finding
        for finding in left
        if finding.status is not Status.UNKNOWN
        and (
            finding.status.severity < was[finding.key].severity and was[finding.key] is not Status.UNKNOWN
            if finding.key in was
            else finding.check not in bad_checks
        )
    ]
    if not after or (left and all(finding.status is Status.UNKNOWN for finding in left)):
        answer = "could not be found out"
    elif worse:
        answer = "made it worse"
    elif left:
        answer = "did not help"
    elif not_well(before):
        answer = "helped"
    else:
        answer = "made no difference"
    return Helped(answer=answer, changed=changed, left=[_line(finding) for finding in left])


def not_well(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that somebody should do something about."""
    return [finding for finding in findings if finding.bad]


def _line(finding: Finding) -> str:
    return f"{finding.check}: {finding.object}: {finding.status}: {finding.message}"
