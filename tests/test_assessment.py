"""The first five minutes: how bad it is, what causes it, what comes next, and where a complaint in words leads."""

import subprocess
from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
import pytest

from runbook import assessment
from runbook.assessment.signs import SIGNS
from runbook.kernels.questions import all_questions
from runbook.model import Acknowledgement, CouldNotFindOut, DoesNotApply, Finding, Findings, Status
from runbook.model.collection import all_notebooks, found_by
from runbook_sandbox import faults
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN, SKIPPED = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN, Status.SKIPPED
NOBODY: Any = None


def found(check: str, status: Status, **more: Any) -> Finding:
    return Finding(check=check, object="it", status=status, message="so it is", **more)


def judged(*findings: Finding, symptom: str = "") -> dict[str, Finding]:
    frame = assessment.severity.probe(NOBODY, findings=findings, symptom=symptom)
    return {finding.object: finding for finding in assessment.severity.check(frame)}


def test_the_worst_sign_decides_and_the_likeliest_cause_comes_first() -> None:
    told = judged(
        found("queue.stuck", WARNING),
        found("api.liveness", CRITICAL, explained_by="postgres.reachable"),
        found("postgres.reachable", CRITICAL),
        found("api.error_rate", CRITICAL),
    )
    worst = told["severity"]
    assert worst.status is CRITICAL and worst.value == "P0" and "Critical (Response: immediate)" in worst.message
    assert "the database is unavailable" in worst.message and "runbook run database-issues" in worst.next
    assert told["also high-error-rate"].value == "P1" and told["also queue-backup"].value == "P2"
    assert "also api-down" not in told


def test_slowness_is_no_outage_and_an_acknowledged_finding_is_no_sign() -> None:
    slow = judged(found("api.user_request", CRITICAL, unit="ms"))["severity"]
    assert slow.value == "P1" and "runbook run api-performance" in slow.next
    down = judged(found("api.user_request", CRITICAL, unit="HTTP status"))["severity"]
    assert down.value == "P0" and "runbook run api-down" in down.next
    mild = judged(found("queue.oldest_item", WARNING))["severity"]
    assert mild.status is WARNING and mild.value == "P2" and "2 hours" in mild.message
    known = Acknowledgement(reason="it is known", until=date(2999, 1, 1))
    assert judged(found("host.disk", CRITICAL, acknowledged=known), found("api.liveness", OK))["severity"].status is OK


def test_what_could_not_be_asked_is_not_taken_for_well() -> None:
    told = judged(found("api.liveness", UNKNOWN), found("host.disk", OK), found("docker.containers", SKIPPED))
    assert set(told) == {"not known"} and told["not known"].status is UNKNOWN and "api-down" in told["not known"].next
    both = judged(found("api.liveness", UNKNOWN), found("queue.stuck", CRITICAL))
    assert both["severity"].value == "P2" and both["not known"].status is UNKNOWN
    part = judged(found("redis.reachable", UNKNOWN), found("host.disk", OK))["severity"]
    assert part.status is OK and part.message == "none of 1 sign is wrong; not known: redis.reachable"
    assert judged(found("redis.reachable", UNKNOWN))["severity"].status is UNKNOWN
    with pytest.raises(CouldNotFindOut, match="nothing was asked before"):
        judged()


def test_where_it_is_an_outage_nobody_is_told_that_this_is_not_known() -> None:
    told = judged(
        found("api.liveness", CRITICAL), found("api.user_request", UNKNOWN, explained_by="api.liveness"),
        found("postgres.checksums", UNKNOWN),
    )  # fmt: skip
    assert set(told) == {"severity"} and told["severity"].value == "P0"
    explained = judged(found("host.disk", CRITICAL), found("postgres.checksums", UNKNOWN, explained_by="host.disk"))
    assert set(explained) == {"severity"} and explained["severity"].value == "P1"


def test_of_one_question_the_worst_finding_is_told_and_its_own_command_goes_on() -> None:
    release = "the plan has them wait again: runbook run queue-backup --target t -p older=8.0"
    mild = msgspec.structs.replace(found("queue.stuck", WARNING), object="items with nobody")
    told = judged(mild, found("queue.stuck", CRITICAL, next=release))["severity"]
    assert "(queue.stuck): it: so it is" in told.message and told.next.endswith("--target t -p older=8.0")
    ask = "ask its owner; then: runbook run database-issues --target t -p pid=26, which lets all behind it go on"
    assert judged(found("postgres.blocking", CRITICAL, next=ask))["severity"].next.endswith("--target t -p pid=26")
    elsewhere = judged(found("prometheus.response_time", CRITICAL, next="runbook run query-performance --target t"))
    assert "runbook run api-performance" in elsewhere["severity"].next


def test_a_damaged_page_is_data_corruption_whichever_question_met_it() -> None:
    met = Finding(check="queue.stuck", object="orphaned items", status=UNKNOWN,
                  message="not known: PostgreSQL: invalid page in block 0 of relation base/1/2")  # fmt: skip
    told = judged(met, found("postgres.checksums", OK))
    assert told["severity"].value == "P0" and "runbook run data-corruption-recovery" in told["severity"].next


def test_what_sums_it_up_is_read_first() -> None:
    first, *_ = Findings([found("host.disk", CRITICAL), found("assessment.severity", WARNING)]).worst_first()
    assert first.check == "assessment.severity"
    well = Findings([found("host.disk", CRITICAL), found("assessment.severity", OK)]).worst_first()
    assert well[0].check == "host.disk"


def test_with_all_well_the_symptom_still_leads_somewhere() -> None:
    well = judged(found("api.liveness", OK), symptom="annotators say the queue grows")["severity"]
    assert well.status is OK and "look into queue-backup" in well.message


def test_each_sign_is_a_question_and_leads_to_a_notebook_of_the_collection() -> None:
    questions = {question.name for question in all_questions()}
    notebooks = {notebook.name for notebook in all_notebooks()}
    assert {sign.check for sign in SIGNS if sign.check} <= questions and {sign.notebook for sign in SIGNS} <= notebooks


@pytest.mark.parametrize(
    ("symptom", "first"),
    [
        ("HighErrorRate", "high-error-rate"), ("higherrorrate", "high-error-rate"),
        ("OldestItemWaitsTooLong", "queue-backup"), ("ApiDown", "api-down"), ("the site returns 502", "api-down"),
        ("too many connections", "connection-exhaustion"), ("our certificate has expired", "certificate-management"),
        ("somebody dropped the database", "system-recovery"), ("deadlocks", "database-issues"),
        ("memory", "high-memory-usage"), ("429", "daily-security-checks"), ("disk full", "weekly-maintenance"),
        ("cannot log in", "access-management"), ("annotators idle", "queue-backup"), ("queue grows", "queue-backup"),
        ("no space left on device", "weekly-maintenance"), ("candidates are empty", "high-error-rate"),
        ("high cpu", "api-performance"), ("OOMKilled", "high-memory-usage"), ("slow queries", "query-performance"),
        ("HighMemoryUsage", "high-memory-usage"), ("there is a memory leak", "high-memory-usage"),
    ],
)  # fmt: skip
def test_an_alert_or_a_complaint_in_words_leads_to_its_notebook(symptom: str, first: str) -> None:
    assert found_by(symptom)[0].name == first
    frame = assessment.door.probe(NOBODY, symptom=symptom)
    (told,) = assessment.door.check(frame)
    assert told.status is OK and told.value == first and f"runbook run {first}" in told.next


@pytest.mark.parametrize("symptom", ["xyzzy", "<b>; DROP TABLE", "\x1b[2J\n", "ü" * 5000, "the of and"])
def test_words_that_lead_nowhere_are_unknown_and_harm_nothing(symptom: str) -> None:
    (told,) = assessment.door.check(assessment.door.probe(NOBODY, symptom=symptom))
    assert told.status in (UNKNOWN, OK) and len(told.message) < 600 and told.message.isprintable()


def test_without_a_symptom_the_door_is_skipped() -> None:
    with pytest.raises(DoesNotApply):
        assessment.door.probe(NOBODY, symptom=" ")


def test_list_names_the_nearest_where_no_notebook_has_all_the_words(
    runbook: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    told = runbook("list", "annotators complain that the queue does not move")
    assert told.returncode == 0 and "queue-backup" in told.stdout
    assert runbook("list", "xyzzy").returncode == 1
    nearest = [line for line in runbook("list", "memory").stdout.splitlines() if " about " in line]
    assert "high-memory-usage" in nearest[0] and len(nearest) > 1, "the nearest first, whatever its section"


def test_a_healthy_target_has_no_incident(run_json: Any, sandbox: Place, archive: Any) -> None:
    status, document = run_json("first-five-minutes", "--target", sandbox.name, "-p", "symptom=HighErrorRate")
    told = {finding.check: finding for finding in document.runs[0].findings}
    assert status == 0, [finding for finding in document.runs[0].findings if finding.bad]
    assert told["assessment.severity"].value == "none" and told["assessment.door"].value == "high-error-rate"


def test_who_calls_it_from_a_checkout_is_told_what_to_type(sandbox: Place, archive: Any, runbook: Any) -> None:
    asked = ("run", "first-five-minutes", "--target", sandbox.name)
    told = "for `runbook` type here: python3 /a/checkout/lib"
    assert told in runbook(*asked, RUNBOOK_COMMAND="python3 /a/checkout/lib", PATH="/usr/sbin").stdout
    assert "type here" not in runbook(*asked).stdout


# What leaves failed requests in the log comes last: they are a sign of their own for a while.
_FAULTS = [
    ("queue-stuck", "P2", "queue-backup"), ("nobody-annotating", "P2", "queue-backup"),
    ("slow-endpoint", "P2", "api-performance"), ("gil-bound", "P1 P2", "api-performance"),
    ("database-slow", "P2", "api-performance"), ("llm-slow", "P1", "high-error-rate"),
    ("llm-quota", "P1", "high-error-rate"), ("llm-key-revoked", "P1", "high-error-rate"),
    ("disk-full", "P1", "weekly-maintenance"), ("page-damaged", "P0", "data-corruption-recovery"),
    ("redis-full", "P0", "api-down"), ("breaker-open", "P1", "high-error-rate"),
    ("rate-limited", "P2", "daily-security-checks"),
    ("lock-convoy", "P0", "database-issues"),
    ("redis-down", "P0", "api-down"), ("slots-full", "P0", "connection-exhaustion"), ("api-down", "P0", "api-down"),
    ("postgres-hangs", "P0", "database-issues"), ("postgres-down", "P0", "database-issues"),
]  # fmt: skip
_QUICK = {"postgres-down", "queue-stuck"}


@pytest.mark.parametrize(
    ("fault", "severity", "notebook"),
    [pytest.param(*one, marks=() if one[0] in _QUICK else pytest.mark.slow, id=one[0]) for one in _FAULTS],
)
def test_a_fault_is_given_its_severity_and_the_notebook_that_goes_on(
    breakable: Place, run_json: Any, archive: Any, fault: str, severity: str, notebook: str
) -> None:
    faults.break_sandbox(breakable, fault)
    try:
        _, document = run_json("first-five-minutes", "--target", breakable.name)
    finally:
        faults.heal(breakable)
    told = {finding.object: finding for finding in document.runs[0].findings if finding.check == "assessment.severity"}
    assert "severity" in told, document.runs[0].findings
    assert told["severity"].value in severity.split(), told["severity"].message
    assert f"runbook run {notebook} " in told["severity"].next, told["severity"].message
    # What is wrong explains what could not be asked; what users get is not known of a limit that refuses the runbook.
    assert ("not known" in told) == (fault == "rate-limited") and "also api-down" not in told


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "seconds"), [("memory-leak", 75), ("cache-grows", 50)])  # then the cache is full
def test_memory_that_grows_is_seen_once_it_has_for_half_of_the_time_looked_at(
    watched: Place, run_json: Any, runbook: Callable[..., Any], archive: Any, fault: str, seconds: int
) -> None:
    faults.break_sandbox(watched, fault)
    try:
        rate = "5" if seconds > 60 else "2.5"
        loading = ["sandbox", "load", "--name", watched.name, "--seconds", str(seconds), "--rate", rate]
        assert runbook(*loading).returncode == 0
        minutes = "2.0" if seconds > 60 else "1.0"
        _, document = run_json("first-five-minutes", "--target", watched.name, "-p", f"minutes={minutes}")
    finally:
        faults.heal(watched)
    told = {finding.object: finding for finding in document.runs[0].findings if finding.check == "assessment.severity"}
    assert told["severity"].value == "P2", told["severity"].message
    assert "runbook run high-memory-usage " in told["severity"].next
