"""The words of the runbook as plain data: verdicts, findings, limits, ids, the protocol, notebook metadata."""

import json
import math
from datetime import UTC, date, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from runbook.cli.run import exit_status
from runbook.model import (
    Acknowledgement,
    Finding,
    Findings,
    RunbookError,
    RunFailed,
    Status,
    UsageError,
    at_least,
    at_most,
    first_of,
    verdict,
)
from runbook.model.layout import new_run_id, run_folder
from runbook.model.notebook import NotebookMetadata, read_metadata
from runbook.model.protocol import SCHEMA, DataFile, Message, ProtocolError, RunRecord, RunsDocument, decode, encode
from runbook.model.units import as_bytes

OK, WARNING, CRITICAL, UNKNOWN, SKIPPED = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN, Status.SKIPPED
ACCEPTED = Acknowledgement(reason="OPS-1", until=date(2031, 1, 31))
AT = datetime(2031, 1, 31, 3, 4, 5, tzinfo=UTC)


def found(obj: str, status: Status = OK, *, check: str = "a.b", **more: Any) -> Finding:
    return Finding(object=obj, status=status, message="told", check=check, **more)


# --- verdicts


@pytest.mark.parametrize(("worse", "better"), [(CRITICAL, UNKNOWN), (UNKNOWN, WARNING), (WARNING, OK), (OK, SKIPPED)])
def test_the_worse_status_decides_in_any_order(worse: Status, better: Status) -> None:
    assert worse.severity < better.severity
    assert verdict([worse, better]) is verdict([better, worse]) is worse


def test_of_all_statuses_critical_is_the_verdict_in_every_order() -> None:
    assert {verdict(order) for order in permutations(Status)} == {CRITICAL}


@pytest.mark.parametrize("statuses", [[], [SKIPPED], [SKIPPED, SKIPPED]], ids=["nothing", "one", "all"])
def test_nothing_or_nothing_but_skipped_is_unknown(statuses: list[Status]) -> None:
    assert verdict(statuses) is UNKNOWN
    assert Findings(found(str(n), status) for n, status in enumerate(statuses)).verdict is UNKNOWN


def test_one_skipped_among_others_does_not_count() -> None:
    assert verdict([SKIPPED, OK]) is OK


# --- findings


def test_an_acknowledged_finding_does_not_count_and_is_not_bad() -> None:
    accepted = found("x", CRITICAL, acknowledged=ACCEPTED)
    assert not accepted.counts and not accepted.bad
    assert Findings([accepted, found("y", WARNING)]).verdict is WARNING
    assert Findings([accepted]).verdict is UNKNOWN, "what is accepted has not shown that all is well"


@pytest.mark.parametrize("status", Status)
def test_what_is_neither_ok_nor_skipped_is_bad(status: Status) -> None:
    assert found("x", status).bad is (status in (WARNING, CRITICAL, UNKNOWN))
    assert found("x", status).counts is (status is not SKIPPED)


def test_the_key_is_check_and_object_whatever_else_was_found() -> None:
    assert found("x", OK).key == found("x", CRITICAL, value=3).key == ("a.b", "x")
    assert len({found("x").key, found("y").key, found("x", check="a.c").key}) == 3


def test_the_same_fact_asked_again_counts_as_last_found() -> None:
    findings = Findings([found("x", CRITICAL), found("y", WARNING), found("x", OK)])
    assert [(f.object, f.status) for f in findings] == [("x", OK), ("y", WARNING)]
    assert len(findings) == 2 and findings.verdict is WARNING


def test_a_question_asked_again_replaces_its_former_answer_with_the_objects_that_are_gone() -> None:
    findings = Findings()
    findings.replace("a.b", [found("gone", CRITICAL), found("stays", WARNING)])
    findings.replace("a.c", [found("other", check="a.c")])
    findings.replace("a.b", [found("stays", OK)])
    assert [(f.check, f.object) for f in findings] == [("a.b", "stays"), ("a.c", "other")], "in the order first asked"
    assert findings.of("a.b") == [found("stays", OK)] and findings.of("never.asked") == []
    assert findings.verdict is OK


def test_findings_are_read_worst_first_explained_ones_after_their_cause_and_acknowledged_ones_last() -> None:
    findings = Findings(
        [
            found("well", OK),
            found("accepted", CRITICAL, acknowledged=ACCEPTED),
            found("explained", CRITICAL, explained_by="a.z"),
            found("explained too", CRITICAL, check="a.d", explained_by="a.z"),
            found("unknown", UNKNOWN),
            found("as severe", CRITICAL),
            found("cause", CRITICAL, check="a.z"),
            found("first warning", WARNING),
            found("second warning", WARNING),
        ]
    )
    order = [f.object for f in findings.worst_first()]
    assert order == [
        "cause",
        "as severe",
        "unknown",
        "first warning",
        "second warning",
        "well",
        "explained",
        "explained too",
        "accepted",
    ]


# --- limits


@pytest.mark.parametrize(
    ("value", "status", "threshold"),
    [
        (-1, OK, 80),
        (80, OK, 80),
        (math.nextafter(80, 81), WARNING, 80),
        (90, WARNING, 80),
        (math.nextafter(90, 91), CRITICAL, 90),
        (math.inf, CRITICAL, 90),
    ],
)
def test_a_value_is_well_up_to_its_limit_and_names_the_limit_it_passed(
    value: float, status: Status, threshold: float
) -> None:
    judged = at_most("slots", value, 80, 90, unit="%", message="told")
    assert (judged.status, judged.threshold, judged.value, judged.unit) == (status, threshold, value, "%")
    mirrored = at_least("days left", -value, -80, -90, unit="d", message="told")
    assert (mirrored.status, mirrored.threshold, mirrored.value) == (status, -threshold, -value)


@pytest.mark.parametrize("value", [None, math.nan, np.float64("nan")])
@pytest.mark.parametrize("judge", [at_most, at_least])
def test_a_value_that_is_not_there_is_unknown_and_never_ok(judge: Any, value: float | None) -> None:
    judged = judge("slots", value, 80, 90, unit="%", message="told")
    assert (judged.status, judged.value, judged.message) == (UNKNOWN, None, "told (no value)")


def test_equal_limits_leave_no_room_for_a_warning() -> None:
    assert [at_most("x", value, 5, 5, unit="", message="").status for value in (5, 5.1)] == [OK, CRITICAL]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (12.3 * 2**20, "12.3 MiB"), (2**50, "1024.0 TiB")],
)
def test_bytes_are_written_with_a_binary_unit(count: float, text: str) -> None:
    assert as_bytes(count) == text


# --- run ids


@pytest.mark.parametrize("notebook", ["morning-health-check", "0123", "Ünïcode / ../ name", "x" * 300])
def test_a_run_id_begins_with_letters_and_finds_its_folder_by_month(notebook: str, tmp_path: Path) -> None:
    run_id = new_run_id(notebook, AT)
    assert run_id.startswith("run_20310131T030405Z_")
    folder = run_folder(tmp_path, run_id)
    assert folder == tmp_path / "runs" / "2031-01" / run_id
    assert folder.resolve().is_relative_to(tmp_path.resolve())


def test_run_ids_sort_by_time_and_differ_within_a_second() -> None:
    assert new_run_id("z", AT) < new_run_id("a", AT.replace(second=6))
    assert len({new_run_id("a", AT) for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "../run_20310131T030405Z_a_abcdef",
        "run_20310131T030405Z_../../etc_abcdef",
        "run_20310131T030405Z_a_abcdef/..",
        "run_20310131T030405Z_a_abcdef\n",
        "run_20310131T030405Z__abcdef",
        "run_20310131T030405Z_a_abcde1",
        "RUN_20310131T030405Z_a_abcdef",
        "run_٢٠٣١٠١٣١T030405Z_a_abcdef",
        "/run_20310131T030405Z_a_abcdef",
    ],
)
def test_what_is_no_run_id_has_no_folder(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a run id"):
        run_folder(tmp_path, text)


# --- the protocol


def message(**more: Any) -> Message:
    findings = [
        found("x", CRITICAL, value=91.5, threshold=90, unit="%"),
        found("y", acknowledged=ACCEPTED, value="err"),
    ]
    given: dict[str, Any] = {
        "kind": "answer", "run_id": "run_1", "check": "a.b", "asked_at": AT, "seconds": 0.1, "findings": findings,
        "data": DataFile(file="001-a.b.parquet", sha256="00", rows=2, columns=["p", "q"]),
    }  # fmt: skip
    return Message(**{**given, **more})


@pytest.mark.parametrize("sent", [message(), message(kind="summary", findings=[], data=None)])
def test_a_message_survives_its_way_through_json(sent: Message) -> None:
    told = json.loads(json.dumps(encode(sent)))
    assert told["schema"] == SCHEMA
    assert decode(told) == sent


@pytest.mark.parametrize(("scalar", "plain"), [(np.int64(7), 7), (np.float64(7.5), 7.5), (np.float32(7.5), 7.5)])
def test_a_scalar_of_a_frame_is_sent_as_a_plain_number(scalar: Any, plain: float) -> None:
    told = json.loads(json.dumps(encode(message(findings=[found("x", value=scalar)]))))
    assert told["findings"][0]["value"] == plain
    assert decode(told).findings[0].value == plain


def test_a_limit_that_is_never_reached_is_told_in_words() -> None:
    """JSON has no infinity; the kernel's channel warns of one on every notebook's page."""
    never = found("x", value=math.inf, threshold=math.inf)
    told = json.dumps(encode(message(findings=[never])), allow_nan=False)
    assert decode(json.loads(told)).findings[0].threshold == "inf"


def test_what_is_no_plain_data_is_not_sent() -> None:
    with pytest.raises(TypeError, match="object"):
        encode(message(findings=[found("x", value=object())]))


@pytest.mark.parametrize("schema", [None, 0, SCHEMA + 1, str(SCHEMA)])
def test_another_schema_is_refused_by_its_number(schema: Any) -> None:
    with pytest.raises(ProtocolError, match="this runner reads schema 1") as refused:
        decode({**encode(message()), "schema": schema})
    assert repr(schema) in str(refused.value)


def with_change(path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    told = encode(message())
    place: Any = told
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return told


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("extra",), 1, "unknown field `extra`"),
        (("findings", 0, "extra"), 1, "unknown field `extra`"),
        (("findings", 1, "acknowledged", "extra"), 1, "unknown field `extra`"),
        (("data", "extra"), 1, "unknown field `extra`"),
        (("findings", 0, "status"), "FINE", "FINE"),
        (("findings", 0, "value"), [1], "findings"),
        (("kind",), "rumour", "rumour"),
        (("seconds",), "0.1", "seconds"),
        (("asked_at",), "yesterday", "asked_at"),
        (("schema",), True, "schema"),
    ],
)
def test_unknown_fields_and_wrong_types_are_refused_by_name(
    path: tuple[str | int, ...], value: object, says: str
) -> None:
    with pytest.raises(ProtocolError, match="agreed shape") as refused:
        decode(with_change(path, value))
    assert says in str(refused.value)


@pytest.mark.parametrize("data", [None, [], "text", {}, {"schema": SCHEMA}])
def test_what_is_no_message_is_refused(data: object) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


# --- exit statuses


def test_exit_statuses_are_those_of_monitoring_plugins_and_failures_are_others() -> None:
    assert {status: status.exit_status for status in Status} == {OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3, SKIPPED: 3}
    assert (UsageError.exit_status, RunFailed.exit_status, RunbookError.exit_status) == (64, 70, 70)


def record(status: str, exit_: int) -> RunRecord:
    return RunRecord(
        notebook="n", target="t", run_id="r", status=status, exit=exit_, error=None, seconds=1, evidence="", findings=[]
    )


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([("OK", 0)], 0),
        ([("OK", 0), ("WARNING", 1)], 1),
        ([("UNKNOWN", 3), ("WARNING", 1)], 3),
        ([("UNKNOWN", 3), ("CRITICAL", 2)], 2),
        ([("CRITICAL", 2), ("FAILED", 70)], 70),
        ([], 70),
    ],
)
def test_many_runs_exit_as_the_worst_of_them_and_a_failed_one_is_never_mixed_up(
    runs: list[tuple[str, int]], expected: int
) -> None:
    assert exit_status([record(*run) for run in runs]) == expected


def test_the_runs_document_reads_back_as_it_was_printed() -> None:
    document = RunsDocument(runs=[record("OK", 0)])
    document.runs[0].findings.append(found("x", acknowledged=ACCEPTED))
    printed = msgspec.json.encode(document)
    assert msgspec.json.decode(printed, type=RunsDocument) == document
    assert set(json.loads(printed)["runs"][0]) >= {"notebook", "target", "run_id", "status", "exit", "error", "plans"}


# --- what a notebook says of itself

METADATA = {
    "title": "Morning", "severity": "routine", "symptoms": ["slow"], "alerts": [], "schedule": "daily",
    "changes": "none", "seconds": 5,
}  # fmt: skip


def test_a_notebooks_metadata_is_read() -> None:
    told = read_metadata("n", {"runbook": METADATA, "kernelspec": {}})
    assert isinstance(told, NotebookMetadata)
    assert (told.title, told.schedule, told.symptoms) == ("Morning", "daily", ["slow"])
    assert read_metadata("n", {"runbook": {**METADATA, "schedule": None}}).schedule is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"severity": "P9"}, "severity"),
        ({"schedule": "hourly"}, "schedule"),
        ({"changes": "some"}, "changes"),
        ({"seconds": "5"}, "seconds"),
        ({"symptoms": "slow"}, "symptoms"),
        ({"owner": "me"}, "owner"),
    ],
)
def test_wrong_metadata_is_refused_with_notebook_and_field(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=r"notebook n: metadata\.runbook: ") as refused:
        read_metadata("n", {"runbook": {**METADATA, **change}})
    assert says in str(refused.value)


@pytest.mark.parametrize("field", METADATA)
def test_no_field_of_the_metadata_may_be_missing(field: str) -> None:
    with pytest.raises(UsageError, match=field):
        read_metadata("n", {"runbook": {key: value for key, value in METADATA.items() if key != field}})


@pytest.mark.parametrize("metadata", [{}, {"runbook": None}, {"runbook": []}])
def test_a_notebook_without_metadata_is_refused(metadata: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"notebook n.*metadata\.runbook"):
        read_metadata("n", metadata)


def test_of_many_findings_the_first_are_told_and_the_others_counted_with_their_worst() -> None:
    each = [Finding(check="c", object=str(n), status=Status.WARNING, message="m") for n in range(12)]
    assert first_of(each[:10], "things") == each[:10]
    told = first_of([*each, Finding(check="c", object="x", status=Status.CRITICAL, message="m")], "things")
    assert told[:10] == each[:10] and (told[10].object, told[10].status) == ("other things", Status.CRITICAL)
    assert told[10].message.startswith("3 more are CRITICAL")
