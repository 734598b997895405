"""Did a change help? Computed from the findings before and after it."""

import pytest

from runbook.model import Finding, Status
from runbook.plans.helped import compare

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN


def found(**statuses: Status) -> list[Finding]:
    return [Finding(check="c", object=name, status=status, message="m") for name, status in statuses.items()]


@pytest.mark.parametrize(
    ("before", "after", "whole", "partial"),
    [
        (found(a=CRITICAL), found(a=OK), "helped", "helped"),
        (found(a=CRITICAL, b=CRITICAL), found(a=OK, b=CRITICAL), "did not help", "helped"),
        (found(a=CRITICAL, b=CRITICAL), found(b=CRITICAL), "did not help", "helped"),
        (found(a=CRITICAL), found(a=CRITICAL), "did not help", "made no difference"),
        (found(a=CRITICAL), found(a=WARNING), "did not help", "helped"),
        (found(a=OK), found(a=OK), "made no difference", "made no difference"),
        ([], found(a=OK), "left all well", "left all well"),
        (found(a=Status.SKIPPED), found(a=OK), "left all well", "left all well"),
        (found(a=OK, b=WARNING), found(a=CRITICAL, b=WARNING), "made it worse", "made it worse"),
        (found(a=CRITICAL), found(a=OK, b=UNKNOWN), "could not be found out", "helped"),
        (found(a=CRITICAL, b=OK), found(a=OK, b=UNKNOWN), "could not be found out", "could not be found out"),
        (found(a=CRITICAL, b=UNKNOWN), found(a=OK, b=UNKNOWN), "could not be found out", "helped"),
        (found(a=CRITICAL), found(b=UNKNOWN), "could not be found out", "could not be found out"),
        (found(a=CRITICAL), found(a=UNKNOWN), "could not be found out", "could not be found out"),
        (found(a=CRITICAL), [], "could not be found out", "could not be found out"),
    ],
)
def test_the_answer_is_computed_and_a_partial_change_is_not_blamed_for_what_was_bad_before(
    before: list[Finding], after: list[Finding], whole: str, partial: str
) -> None:
    assert compare(before, after).answer == whole
    assert compare(before, after, partial=True).answer == partial
