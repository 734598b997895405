"""The questions on logs: each check at its limits on small frames, each probe on small logs through an open run."""

import gzip
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from runbook import logs, open_run
from runbook.logfiles import crew
from runbook.logs import comparing, logins, refused, searching, servers, unusual
from runbook.logs.durations import EXPECTED
from runbook.model import Finding, Question, Status, UsageError
from runbook.redaction import Redactor
from runbook.session import Run

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
UNTIL = datetime(2026, 3, 11, 9, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOW = logs.window(24, UNTIL.isoformat())
Rows = Sequence[dict[str, Any]]
_session = Redactor(["a-secret-of-the-target"])


def framed(rows: Rows, columns: Sequence[str], **attrs: Any) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(columns))
    frame.attrs = attrs
    return frame


def judge(question: Question, frame: pd.DataFrame, **thresholds: float) -> dict[str, Finding]:
    """Return the findings by object, on a frame that came through the session's scrubbing."""
    given: pd.DataFrame = _session.frame(frame)
    before = given.copy(deep=True)
    findings = question.check(given, **thresholds)
    pd.testing.assert_frame_equal(given, before)
    told = {finding.object: finding for finding in findings}
    assert len(told) == len(findings), "each object is judged once"
    assert all(finding.message and not finding.check for finding in findings)
    return told


# --- checks: each limit, at itself and just above


def files(malformed: int = 0, lines: int = 1000, **more: Any) -> pd.DataFrame:
    row = {"path": "/a", "read": 1 << 20, "json_lines": lines - malformed, "text_lines": 0, "other_lines": 0}
    row |= {"malformed": malformed, "unordered": False, "problem": "", "future": 0, "newest": ""}
    return pd.DataFrame([row | more])


def failed(count: int, hours: float = 1) -> pd.DataFrame:
    row = {"level": "ERROR", "logger": "a", "message": "m", "count": count, "first": "", "last": "", "example": ""}
    return framed([row] if count else [], row, hours=hours, note="")


def minutes(count: int) -> pd.DataFrame:
    start = pd.Timestamp("2026-03-11T09:00", tz="UTC")
    rows = [(start, "INFO", 10_000), (start, "WARNING", 9000), (start, "ERROR", 3), (start, "CRITICAL", 1)]
    rows += [(start + pd.Timedelta(minutes=1), "ERROR", count - 1), (start + pd.Timedelta(minutes=1), "CRITICAL", 1)]
    return pd.DataFrame(rows, columns=["minute", "level", "count"])


def requests(count: int, status: int = 500, total: int = 10_000, path: str = "/a", **more: Any) -> pd.DataFrame:
    row = {"status": status, "method": "GET", "path": path, "user": "u", "client": "c", "count": count}
    row |= {"first": "", "last": "", **more}
    attrs = {"hours": 1.0, "requests": total, "partly": "", "note": "", "recorded": True}
    return framed([row] if count else [], refused.COLUMNS, **attrs)


def attack(count: int, status: int = 404) -> pd.DataFrame:
    row = {"rule": "scanner", "path": "/wp-login.php", "status": status, "count": count, "first": "", "last": ""}
    return framed([row] if count else [], row, partly="", requests=5, note="")


def slow(p95: float, count: int = 20, kind: str = "request", subject: str = "/a") -> pd.DataFrame:
    row = {"kind": kind, "subject": subject, "count": count, "p50": 1.0, "p95": p95, "p99": p95, "longest": p95}
    return framed([row], row, partly="")


def guessed(most: int, users: int = 0, by: str = "client") -> pd.DataFrame:
    row = {"by": by, "name": "x", "failed": most, "most": most, "since": "2026-03-11 09:00"}
    row |= {"users": users, "users_since": "2026-03-11 08:30"}
    return framed([row] if most else [], row, failed=most, note="")


def server(count: int, level: str, message: str = "m") -> pd.DataFrame:
    row = {
        "level": level,
        "message": message,
        "count": count,
        "first": "",
        "last": "2026-11-24 12:00:00",
        "example": "",
    }
    return framed([row] if count else [], servers.COLUMNS, lines=9, problems=[], until="2026-11-24 12:05:00")


def now(errors: int) -> pd.DataFrame:
    rows = [(minute, 100, errors if minute else 9999, 0, 0, 0) for minute in range(6)]
    columns = ["minute", "entries", "errors", "warnings", "requests", "failed"]
    frame = pd.DataFrame(rows, columns=columns)
    frame.attrs = {"read": 1, "top": "", "minutes": 15, "problems": {}}
    return frame


LIMITS: list[tuple[Question, Callable[[int], pd.DataFrame], str, int, int]] = [
    (logs.coverage, files, "lines", 10, 100),
    (logs.errors, failed, "service", 20, 200),
    (logs.timeline, minutes, "busiest minute", 30, 200),
    (logs.authentication, lambda n: requests(n, 401), "401 and 403", 60, 600),
    (logs.server_errors, requests, "service", 100, 1000),
    (logs.rate_limited, lambda n: requests(n, 429), "service", 100, 1000),
    (logs.suspicious_requests, lambda n: attack(n or 0), "requests", 0, 0),
    (logs.suspicious_requests, attack, "scanner", 0, 200),
    (logs.durations, slow, "/a", 2000, 5000),
    (logs.failed_logins, guessed, "client x", 9, 29),
    (logs.failed_logins, lambda n: guessed(1, n), "client x, users", 4, 9),
    (logs.postgres_log, lambda n: server(n, "FATAL"), "FATAL", 20, 200),
    (logs.redis_log, lambda n: server(n, "WARNING"), "warnings", 20, 200),
    (logs.recent, now, "last minutes", 5, 30),
]


@pytest.mark.parametrize(
    ("question", "frame", "obj", "warning", "critical"), LIMITS, ids=lambda x: x.name if isinstance(x, Question) else ""
)
def test_a_limit_is_well_at_itself_and_not_just_above(
    question: Question, frame: Callable[[int], pd.DataFrame], obj: str, warning: int, critical: int
) -> None:
    def status(value: int) -> Status:
        told = judge(question, frame(value))
        # What is well is told of the whole, not of each.
        return told[obj].status if obj in told else max(finding.status for finding in told.values())

    if warning:
        assert status(warning) in (OK, UNKNOWN if question is logs.durations else OK)
    if critical:
        assert (status(warning + 1), status(critical)) == (WARNING, WARNING)
        assert status(critical + 1) is CRITICAL
    else:
        assert status(0) is OK


@pytest.mark.parametrize("question", logs.questions, ids=lambda question: question.name)
def test_thresholds_can_be_given(question: Question) -> None:
    assert all(isinstance(value, int | float) and not math.isnan(value) for value in question.thresholds.values())


def test_coverage_names_each_file_that_could_not_be_read() -> None:
    frame = pd.concat([files(), files(path="/b", problem="cannot be read: Permission denied", unordered=True)])
    told = judge(logs.coverage, frame)
    assert (told["/b"].status, told["/b"].message) == (UNKNOWN, "cannot be read: Permission denied")
    assert told["lines"].status is OK and "2,000 lines of 2 files" in told["lines"].message
    assert "not in the order of time" in told["lines"].message


def test_coverage_judges_the_share_of_malformed_lines_of_all_files() -> None:
    told = judge(logs.coverage, pd.concat([files(5, 10), files(0, 990)]))["lines"]
    assert (told.status, told.value) == (OK, 0.5)
    assert judge(logs.coverage, files(0, 0))["lines"].status is OK


def test_coverage_tells_entries_of_the_future() -> None:
    assert judge(logs.coverage, files(future=3))["clock"].status is WARNING
    assert "clock" not in judge(logs.coverage, files())


def test_errors_say_which_is_the_most_frequent() -> None:
    assert "most often (7): m" in judge(logs.errors, failed(7))["service"].message
    assert judge(logs.errors, failed(0))["service"].message == "0 errors in 1 h"
    assert judge(logs.errors, failed(100, hours=24))["service"].value == pytest.approx(100 / 24)


def test_a_timeline_without_an_error_is_well() -> None:
    frame = minutes(2)
    told = judge(logs.timeline, frame[frame["level"] == "INFO"])["busiest minute"]
    assert (told.status, told.value) == (OK, 0.0) and "no error" in told.message


def test_who_was_refused_is_unknown_where_it_is_not_recorded() -> None:
    told = judge(logs.authentication, requests(3, 401, user="", client=""))
    assert told["401 and 403"].status is OK
    assert told["by user"].status is told["by client"].status is UNKNOWN
    assert set(judge(logs.authentication, requests(3, 401))) == {"401 and 403"}
    assert set(judge(logs.authentication, requests(0))) == {"401 and 403"}, "nobody was refused"


def test_the_two_paths_that_say_nothing_there_by_500_are_told_apart() -> None:
    (path, _) = refused.EMPTY_AS_500
    told = judge(logs.server_errors, requests(5000, 500, path=path))["service"]
    assert told.status is OK and told.value == 0 and "5,000 × 500 of" in told.message
    assert judge(logs.server_errors, requests(5000, 502, path=path))["service"].status is CRITICAL


def test_no_429_means_nothing_where_they_are_not_logged() -> None:
    frame = requests(0)
    frame.attrs["recorded"] = False
    told = judge(logs.rate_limited, frame)["service"]
    assert told.status is UNKNOWN and "never logs a 429" in told.message
    assert judge(logs.rate_limited, requests(0))["service"].status is OK
    seen = requests(500, 429)
    seen.attrs["recorded"] = False
    assert judge(logs.rate_limited, seen)["service"].status is WARNING, "one that is there is one"


def test_an_attack_that_made_the_service_fail_is_critical_even_once() -> None:
    told = judge(logs.suspicious_requests, attack(1, 500))["scanner"]
    assert told.status is CRITICAL and "made the service fail" in told.message
    assert judge(logs.suspicious_requests, attack(1, 200))["scanner"].status is WARNING


def test_durations_of_few_requests_are_not_judged_and_operations_are_told() -> None:
    told = judge(logs.durations, slow(9999, count=19))
    assert set(told) == set(EXPECTED) and {finding.status for finding in told.values()} == {UNKNOWN}
    told = judge(logs.durations, slow(9999, kind="operation", subject="llm openai"))
    assert told["llm openai"].status is OK and told["database"].status is UNKNOWN
    both = pd.concat([slow(10), slow(2001, subject="/b"), slow(3, subject="/c")])
    both.attrs = {"partly": ""}
    assert {name for name in judge(logs.durations, both) if name.startswith("/")} == {"/b"}


def test_without_failed_logins_there_is_one_finding() -> None:
    told = judge(logs.failed_logins, guessed(0))
    assert told["logins"].status is OK and told["logins"].value == 0
    assert set(judge(logs.failed_logins, guessed(9, 4))) == {"logins"}
    assert set(judge(logs.failed_logins, guessed(10, 5))) == {"client x", "client x, users"}
    assert set(judge(logs.failed_logins, guessed(10, 5, by="user"))) == {"user x"}


def message(count: int, usual: float, **more: Any) -> pd.DataFrame:
    row = {"level": "ERROR", "logger": "a", "message": "m", "count": count, "per_hour": count / 24}
    row |= {"before_per_hour": usual, "times": count / 24 / usual if usual else math.inf, "first": "", "example": ""}
    return pd.DataFrame([row | more])


def test_messages_that_are_new_or_much_more_frequent_are_named() -> None:
    assert "never seen before" in judge(logs.unusual_messages, message(1, 0))["a: m"].message
    assert "5.0 times" in judge(logs.unusual_messages, message(120, 1))["a: m"].message
    for usual in (message(119, 1), message(4, 0.01), message(1, 0, message="damaged \ufffd")):
        assert set(judge(logs.unusual_messages, usual)) == {"messages"}
    assert judge(logs.unusual_messages, message(1, 1).head(0))["messages"].status is OK


def test_of_many_unusual_messages_the_rest_is_counted() -> None:
    frame = pd.concat([message(1, 0, message=f"m{n}") for n in range(unusual.MOST_TOLD + 7)])
    told = judge(logs.unusual_messages, frame)
    assert len(told) == unusual.MOST_TOLD + 1 and told["others"].value == 7


def compared(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return what the probe returns for two windows."""
    frame = pd.DataFrame(rows)
    frame.attrs = {"windows": "2026-11-22T12:00 to 2026-11-22T13:00 and 2026-11-22T13:00 to 2026-11-22T14:00"}
    frame.attrs |= {"passed": 1.0, "passed_seconds": 3600.0}
    return frame


def figure(what: str, before: float, after: float) -> dict[str, Any]:
    times_ = after / before if before else math.inf
    return {"what": what, "subject": "s", "before": before, "after": after, "unit": "u", "times": times_}


@pytest.mark.parametrize(("what", "floor"), [("error", 3), ("p95", 200), ("5xx", 1)])
def test_what_is_three_times_as_much_is_named_unless_it_is_small(what: str, floor: float) -> None:
    def told(before: float, after: float) -> set[str]:
        rows = [figure("entries", 5, 5), figure(what, before, after), figure("warning", 0, 1e9)]
        return set(judge(logs.compared, compared(rows)))

    assert told(floor / 3, floor) == {f"{what} s", "volume"}
    assert told(0, floor) == {f"{what} s", "volume"}
    assert told(floor / 2.9, floor) == told(0, floor * 0.99) == {"volume"}


def test_of_much_that_grew_the_rest_is_counted() -> None:
    rows = [{**figure("error", 0, 9), "subject": f"s{n}"} for n in range(comparing.MOST_TOLD + 4)]
    told = judge(logs.compared, compared([figure("entries", 5, 5), *rows]))
    assert "4 more figures" in told["others"].message


def test_a_grave_line_of_postgresql_is_critical_whatever_its_level() -> None:
    grave = "could not read block # in file"
    assert judge(logs.postgres_log, server(1, "ERROR", grave))[grave].status is CRITICAL
    assert judge(logs.postgres_log, server(1, "PANIC"))["m"].status is CRITICAL
    over = server(1, "FATAL", grave)
    over.attrs["until"] = "2026-11-24 12:11:00"
    told = judge(logs.postgres_log, over)[grave]
    assert told.status is WARNING and told.message.endswith("; not since then"), "what is over is not where to begin"
    ended = server(500, "FATAL", "terminating connection due to administrator command")
    assert judge(logs.postgres_log, ended)["FATAL"].status is OK, "somebody wanted it"
    assert judge(logs.postgres_log, server(5000, "ERROR"))["FATAL"].status is OK


def test_what_of_a_servers_log_could_not_be_read_is_unknown() -> None:
    for question in (logs.postgres_log, logs.redis_log):
        frame = server(0, "")
        frame.attrs["problems"] = ["/a.log: cannot be read: Permission denied"]
        assert judge(question, frame)["/a.log"].status is UNKNOWN


def test_lines_are_told_and_not_judged() -> None:
    frame = framed([], searching.COLUMNS, count=3, problems={"/a": "is no file but a FIFO"})
    told = judge(logs.matching, frame)
    assert told["lines"].status is OK and "3 lines" in told["lines"].message and told["/a"].status is UNKNOWN


# --- probes


def entry(moment: datetime | str = UNTIL - HOUR, **fields: Any) -> str:
    stamp = moment if isinstance(moment, str) else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return json.dumps({"timestamp": stamp, "level": "INFO", "logger": "api", "message": "m", **fields}) + "\n"


def request(moment: datetime | str = UNTIL - HOUR, **fields: Any) -> str:
    usual = {"method": "GET", "path": "/items", "status_code": 200, "duration_ms": 5.0, "user_id": None}
    return entry(moment, **usual | fields)


def text(count: int = 1, level: str = "INFO", message: str = "m") -> str:
    return f"{UNTIL - HOUR:%Y-%m-%d %H:%M:%S} [{level}] api:ask:1: {message}\n" * count


Opened = Callable[..., Run]


@pytest.fixture
def logged(tmp_path: Path, profile: Callable[..., str]) -> Iterator[Opened]:
    """Open a run on a target that has only logs: the texts given, each a file."""
    runs: list[Run] = []

    def open_(*texts: str | bytes, more: str = "", pattern: str = "api_*") -> Run:
        folder = tmp_path / f"logs{len(runs)}"
        folder.mkdir()
        for number, told in enumerate(texts):
            (folder / f"api_{number}.log").write_bytes(told.encode() if isinstance(told, str) else told)
        target = profile(f'[logs]\napi = ["{folder}/{pattern}"]\n{more}')
        runs.append(open_run("test", target=target, needs=["logs"]))
        return runs[-1]

    yield open_
    for run in runs:
        run.close()


def asked(run: Run, question: Question, **arguments: Any) -> dict[str, Finding]:
    if question not in (logs.compared, logs.recent):
        arguments.setdefault("window", WINDOW)
    return {finding.object: finding for finding in run.ask(question, **arguments).findings}


def unknown(run: Run, question: Question, **arguments: Any) -> str:
    (finding,) = asked(run, question, **arguments).values()
    assert finding.status is UNKNOWN
    return finding.message


OF_REQUESTS = (
    logs.authentication,
    logs.server_errors,
    logs.rate_limited,
    logs.suspicious_requests,
    logs.durations,
    logs.failed_logins,
)


@pytest.mark.parametrize("question", OF_REQUESTS, ids=lambda question: question.name)
def test_the_text_format_records_no_requests(logged: Opened, question: Question) -> None:
    assert "text format of the log records no path, no status and no duration" in unknown(logged(text(9)), question)


@pytest.mark.parametrize("question", [*OF_REQUESTS, logs.errors, logs.timeline], ids=lambda question: question.name)
def test_silence_is_no_answer(logged: Opened, question: Question) -> None:
    old = request(UNTIL - 30 * HOUR)
    assert f"the newest entry of all is of {old[15:34]} UTC" in unknown(logged(old), question)
    assert "no file holds one" in unknown(logged("", b"\0" * 99), question)


def test_a_part_in_the_text_format_is_told_beside_the_figures(logged: Opened) -> None:
    told = asked(logged(request(), text(3)), logs.server_errors)["service"]
    assert "1 requests" in told.message and "3 of 4 entries are of the text format" in told.message


@pytest.mark.parametrize("question", [logs.authentication, logs.server_errors, logs.rate_limited, logs.failed_logins])
def test_requests_without_a_status_are_no_good_news(logged: Opened, question: Question) -> None:
    assert "records no status" in unknown(logged(request(status_code=None) * 5), question)
    assert asked(logged(request(status_code=None) + request()), question).popitem()[1].status in (OK, UNKNOWN)


def test_requests_without_a_duration_are_no_good_news(logged: Opened) -> None:
    assert "records no duration" in unknown(logged(request(duration_ms=None) * 50), logs.durations)


def test_users_and_clients_that_are_not_recorded_are_unknown(logged: Opened) -> None:
    login = request(path="/auth/login", status_code=401)
    run = logged(login * 30)
    told = asked(run, logs.authentication)
    assert told["by user"].status is told["by client"].status is UNKNOWN
    assert "neither user nor client of 30 failed logins" in unknown(run, logs.failed_logins)
    run = logged(login + request(path="/auth/login", status_code=401, username="ann", client_ip="10.0.0.9"))
    assert set(asked(run, logs.authentication)) == {"401 and 403"}
    assert asked(run, logs.failed_logins)["logins"].status is OK


@pytest.mark.parametrize(("more", "status"), [("", UNKNOWN), ("records_429 = true", OK)])
def test_none_of_429_means_what_the_profile_says(logged: Opened, more: str, status: Status) -> None:
    assert asked(logged(request() * 5, more=more), logs.rate_limited)["service"].status is status


def attempts(begin: datetime, count: int, step: timedelta, **fields: Any) -> str:
    login = {"path": "/auth/login", "status_code": 401, "client": "10.0.0.9"}
    users = fields.pop("users", 1)
    return "".join(request(begin + n * step, **login, user_id=f"u{n % users}", **fields) for n in range(count))


@pytest.mark.parametrize(("count", "status"), [(9, OK), (10, WARNING), (29, WARNING), (30, CRITICAL)])
def test_guessing_is_judged_within_ten_minutes(logged: Opened, count: int, status: Status) -> None:
    close = attempts(UNTIL - 5 * HOUR, count, timedelta(seconds=9))
    told = asked(logged(close), logs.failed_logins)
    assert max(finding.status for finding in told.values()) is status
    scattered = attempts(UNTIL - 20 * HOUR, count, timedelta(minutes=2))
    assert set(asked(logged(scattered), logs.failed_logins)) == {"logins"}


def test_ten_minutes_and_an_hour_are_counted_wherever_they_begin() -> None:
    start = datetime(2026, 3, 11)
    seen = [
        (start + timedelta(minutes=at), n, who)
        for at, n, who in [
            (0, 1, "a"),
            (9, 1, "b"),
            (10, 3, "c"),
            (19, 2, "a"),
            (20, 1, "d"),
            (69, 1, "e"),
            (80, 1, "f"),
        ]
    ]
    assert logins._most(seen, users=True) == (10, 5, "2026-03-11 00:10", 4, "2026-03-11 00:00")
    assert logins._most(seen, users=False) == (10, 5, "2026-03-11 00:10", 0, "2026-03-11 00:00")


def test_a_spray_over_very_many_users_is_judged_in_time(logged: Opened) -> None:
    spray = attempts(UNTIL - 20 * HOUR, 60_000, timedelta(seconds=1), users=60_000)
    answer = logged(spray).ask(logs.failed_logins, window=WINDOW)
    told = {finding.object: finding for finding in answer.findings}
    assert told["client 10.0.0.9"].status is told["client 10.0.0.9, users"].status is CRITICAL
    assert answer.frame is not None and answer.frame.attrs["failed"] == 60_000
    assert answer.seconds < 15


def test_more_messages_than_are_kept_are_all_counted_as_errors(logged: Opened) -> None:
    letters = str.maketrans("0123456789", "ghijklmnop")
    told = "".join(entry(level="ERROR", message=str(n).translate(letters)) for n in range(7000))
    answer = logged(told).ask(logs.errors, window=WINDOW)
    assert answer.frame is not None
    assert answer.frame["count"].sum() == 7000 and answer.frame.iloc[0]["message"] == "(others)"


def test_more_attacks_and_refusals_than_are_kept_are_all_counted(logged: Opened) -> None:
    letters = str.maketrans("0123456789", "ghijklmnop")
    names = [str(n).translate(letters) for n in range(6000)]
    run = logged(
        "".join(request(path=f"/{n}/.env", status_code=404) + request(path=f"/{n}", status_code=403) for n in names)
    )
    assert asked(run, logs.suspicious_requests)["scanner"].value == 6000
    assert "6,000 × 403" in asked(run, logs.authentication)["401 and 403"].message


def test_a_time_that_is_none_keeps_no_question_from_being_answered(logged: Opened) -> None:
    odd = ["2026-03-11T25:61:00.000000Z", "2026-03-1\ufffdT08:00:00.000000Z", "2026-02-30T00:00:00.000000Z"]
    login = {"path": "/auth/login", "status_code": 401, "user_id": "u", "level": "ERROR"}
    run = logged(request(**login) * 3 + "".join(request(stamp, **login) for stamp in odd))
    wide = logs.window(500, UNTIL.isoformat())
    assert asked(run, logs.errors, window=wide)["service"].status is OK
    assert asked(run, logs.timeline, window=wide)["busiest minute"].value == 3
    assert asked(run, logs.failed_logins, window=wide)["logins"].status is OK
    told = asked(run, logs.coverage, window=wide)["lines"]
    assert told.status is CRITICAL and "3 malformed" in told.message


def test_the_share_of_malformed_lines_is_that_of_what_was_read(logged: Opened) -> None:
    told = asked(logged(request() * 97 + '{"cut\n' * 3), logs.coverage)["lines"]
    assert (told.status, told.value) == (WARNING, pytest.approx(3.0)) and "100 lines of 1 file " in told.message


def test_entries_of_the_future_warn_of_the_clock(logged: Opened) -> None:
    told = asked(logged(request() + request(datetime.now(UTC) + timedelta(days=300)) * 2), logs.coverage)
    assert told["clock"].status is WARNING and told["clock"].value == 2


def test_a_file_that_cannot_be_read_is_unknown_and_the_others_count(logged: Opened) -> None:
    run = logged(request() * 5, gzip.compress((request() * 2000).encode())[:-9])
    folder = Path(run.target.logs.api[0]).parent
    os.mkfifo(folder / "api_2.log")
    (folder / "api_3.log").symlink_to("/dev/zero")
    told = asked(run, logs.coverage)
    assert told["lines"].status is OK
    unknowns = {Path(name).name: finding for name, finding in told.items() if finding.status is UNKNOWN}
    assert set(unknowns) == {"api_1.log", "api_2.log", "api_3.log"}
    assert all(finding.check == "logs.coverage" and finding.next for finding in unknowns.values())


def test_an_hour_of_local_text_is_looked_for_at_its_utc_time(logged: Opened) -> None:
    run = logged(text(4, "ERROR", "lost"), more='timezone = "Europe/Vienna"')
    hour = logs.window(1, (UNTIL - HOUR).isoformat())
    assert "4 errors" in asked(run, logs.errors, window=hour)["service"].message
    assert "4 lines" in asked(run, logs.matching, window=hour, pattern="lost")["lines"].message


def test_what_takes_too_long_says_what_to_do(logged: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    run = logged(request() * 100)
    whole = crew.read_all
    monkeypatch.setattr("runbook.connections.logs.read_all", lambda *a, **k: whole(*a, **{**k, "seconds": 0.0}))
    told = unknown(run, logs.errors)
    assert "could not be read within 0 s" in told and "ask for a shorter window (fewer hours)" in told
    assert unknown(run, logs.coverage) == told, "nobody reads again what took too long"


def test_a_process_that_died_leaves_no_figure(logged: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "WORTH_WORKERS", 0)
    run = logged(request(level="ERROR") * 100)

    def die(worker: Any, *_: Any) -> None:
        worker.kill()

    with monkeypatch.context() as dying:
        dying.setattr(crew, "_feed", die)
        assert "a process that read the logs died; run it again" in unknown(run, logs.errors)
    assert asked(run, logs.errors)["service"].status is OK, "asked again, it is read again"


def test_no_file_and_no_section_are_told(logged: Opened, profile: Callable[..., str]) -> None:
    assert "no file is named" in unknown(logged(pattern="nothing_*"), logs.errors)
    (finding,) = open_run("test", target=profile("", name="bare"), needs=["logs"]).ask(logs.errors).findings
    assert finding.status is UNKNOWN and "names no logs (section [logs])" in finding.message


# --- what is hostile is shown, and harmless

HOSTILE = "<script>alert(1)</script> \x1b[31mred\x1b[0m \x07 =cmd|' /C calc'!A0 \u202e"
ALL_OF_IT = [question for question in logs.questions if question not in (logs.postgres_log, logs.redis_log)]


@pytest.mark.parametrize("question", ALL_OF_IT, ids=lambda question: question.name)
def test_hostile_texts_are_shown_and_do_nothing(logged: Opened, question: Question) -> None:
    now_ = datetime.now(UTC) - timedelta(minutes=2)
    fields = {"level": "ERROR", "message": HOSTILE, "logger": HOSTILE, "exception": HOSTILE, "method": HOSTILE}
    fields |= {"client": HOSTILE, "user_id": HOSTILE, "operation": HOSTILE, "provider": HOSTILE}
    lines = [entry(now_ - timedelta(hours=30)), entry(now_ - timedelta(minutes=80), **fields)]
    for path in ("/auth/login", f"/{HOSTILE}", f"/wp-login.php{HOSTILE}"):
        lines += [request(now_, **fields, path=path, status_code=status) for status in (401, 429, 500)] * 15
    lines += [entry(now_, duration_ms=4.0, operation=HOSTILE), '{"timestamp": "<script>"}\n', f"{HOSTILE}\n"]
    run = logged("".join(lines), more="records_429 = true")
    arguments = {"where": "level=ERROR"} if question is logs.matching else {}
    answer = run.ask(question, **arguments)
    assert answer.frame is not None, answer.findings
    bundle = answer._repr_mimebundle_()
    for kind in ("text/plain", "text/html"):
        assert not [sign for sign in "\x1b\x07\u202e" if sign in bundle[kind]], kind
    assert "<script" not in bundle["text/html"]
    if question not in (logs.coverage, logs.timeline, logs.recent, logs.suspicious_requests, logs.secrets):
        assert "&lt;script&gt;alert(1)" in bundle["text/html"]


@pytest.mark.parametrize(("question", "part"), [(logs.postgres_log, "postgres"), (logs.redis_log, "redis")])
def test_hostile_texts_in_the_servers_logs_do_nothing_either(
    logged: Opened, tmp_path: Path, question: Question, part: str
) -> None:
    now_ = datetime.now(UTC) - timedelta(minutes=2)
    (tmp_path / "server.log").write_text(
        f"{now_:%Y-%m-%d %H:%M:%S}.123 UTC [1] FATAL:  {HOSTILE}\n"
        f"{now_:%Y-%m-%d %H:%M:%S}.123 UTC [1] LOG:  could not read block 7 {HOSTILE}\n"
        f"1:M {now_:%d %b %Y %H:%M:%S}.123 # {HOSTILE}\n"
    )
    answer = logged(more=f'{part} = ["{tmp_path}/server.log"]').ask(question)
    bundle = answer._repr_mimebundle_()
    assert answer.frame is not None and len(answer.frame) == (2 if part == "postgres" else 1)
    assert not [kind for kind in ("text/plain", "text/html") if "\x1b" in bundle[kind] or "\u202e" in bundle[kind]]
    assert "<script" not in bundle["text/html"] and "&lt;script&gt;" in bundle["text/html"]


@pytest.mark.parametrize("pattern", ["(", "*", "(?P<n>", "[z-a]", "a{9999999999999}", "(" * 100_000])
def test_an_expression_that_is_none_is_a_usage_error(logged: Opened, pattern: str) -> None:
    with pytest.raises(UsageError, match="is no regular expression"):
        logged(request()).ask(logs.matching, window=WINDOW, pattern=pattern)


def test_an_expression_that_takes_forever_is_ended(logged: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "SEARCH_SECONDS", 1.0)
    told = unknown(logged(entry(message="a" * 60 + "!")), logs.matching, pattern="(a+)+$")
    assert "did not end within 1 s" in told and "simpler expression" in told


def test_the_runbooks_own_grep_never_waits_for_what_is_no_file(
    logged: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = logged(request(level="ERROR"))
    folder = Path(run.target.logs.api[0]).parent
    os.mkfifo(folder / f"api_{datetime.now(UTC):%Y%m%d}.log")
    answer = run.ask(logs.errors, window=WINDOW)
    assert answer.seconds < 5 and "there is no file of this day" in answer.findings[0].message


@pytest.mark.parametrize(("damage", "told"), [(b"", "prints 2 lines"), (b"\0\n", "prints 0 lines")])
def test_the_note_counts_what_the_runbooks_own_grep_prints_and_not_its_complaints(
    logged: Opened, damage: bytes, told: str
) -> None:
    run = logged(request())
    today = Path(run.target.logs.api[0]).parent / f"api_{datetime.now(UTC):%Y%m%d}.log"
    today.write_bytes(damage + (entry(level="ERROR") * 2).encode())
    note = run.ask(logs.errors, window=WINDOW).findings[0].message
    assert f"grep 'ERROR' {told} of this day's file" in note
    assert ("at a byte that is no text" in note) is bool(damage)


def test_the_note_stands_beside_the_first_finding_only() -> None:
    rows = [{"by": "user", "name": name, "failed": 50, "most": 50, "since": "x", "users": 0} for name in "ab"]
    told = judge(logs.failed_logins, framed(rows, [*rows[0], "users_since"], failed=100, note="the note"))
    assert [finding.message.count("the note") for finding in told.values()] == [1, 0]


def test_suspicious_requests_tell_how_each_was_answered_and_the_worst_of_them() -> None:
    rows = [
        {"rule": "scanner", "path": path, "status": status, "count": count, "first": "", "last": ""}
        for path, status, count in [("/.env", 404, 9), ("/.git", 200, 2), ("/x.php", 404, 1)]
    ]
    frame = framed(rows, [*rows[0]], partly="", requests=99, note="")
    message = judge(logs.suspicious_requests, frame)["scanner"].message
    assert message == "12 requests, answered 2 × 200, 10 × 404; such as /.git (200)"


@pytest.mark.parametrize(("share", "status"), [(0.9, None), (10.0, WARNING), (10.1, CRITICAL)])
def test_failures_that_grew_above_the_runbooks_p1_are_critical(share: float, status: Status | None) -> None:
    rows = [figure("entries", 1, 1), {**figure("5xx", 0.1, share), "subject": "all requests"}]
    found = judge(logs.compared, compared(rows)).get("5xx all requests")
    assert (found.status if found else None) is status


def test_the_last_minutes_are_judged_by_the_last_five(logged: Opened) -> None:
    now_ = datetime.now(UTC).replace(second=0) - timedelta(minutes=1)
    told = "".join(
        entry(now_ - n * timedelta(minutes=1), level="ERROR") * (6 if n < 5 else 1) for n in range(9, -1, -1)
    )
    run = logged(told)
    finding = asked(run, logs.recent)["last minutes"]
    assert (finding.status, finding.value) == (WARNING, 6.0)
    assert "no entry of the last" in unknown(logged(request()), logs.recent)


def test_two_windows_are_compared_around_a_moment(logged: Opened) -> None:
    middle = UNTIL - 2 * HOUR
    before, after = middle - HOUR / 2, middle + HOUR / 2
    told = (request(before) + request(before, duration_ms=100)) * 20 + request(after, duration_ms=900) * 30
    run = logged(told + entry(after, level="ERROR", message="lost 7") * 5)
    found = asked(run, logs.compared, moment=middle.isoformat())
    assert found["error api: lost #"].status is found["p95 /items"].status is WARNING
    assert "no entry from" in unknown(run, logs.compared, moment=(UNTIL + 9 * HOUR).isoformat())


def test_an_hour_that_has_not_passed_is_compared_by_what_has(logged: Opened) -> None:
    now_ = datetime.now(UTC)
    middle, after = now_ - timedelta(minutes=2), now_ - timedelta(minutes=1)
    told = request(middle - HOUR / 2) * 60 + entry(after, level="ERROR", message="lost 7") * 4
    told += entry(after, level="ERROR", message="once") * 2
    found = asked(logged(told), logs.compared, moment=middle.isoformat())
    assert found["error api: lost #"].value == pytest.approx(4 * 30, rel=0.2)
    assert "error api: once" not in found, "too few to be told by, of a whole hour and of two minutes"
    assert "of the later one only 2 min have passed" in found["volume"].message and found["volume"].value > 100


def test_what_was_never_logged_before_is_named(logged: Opened) -> None:
    known, new = entry(level="ERROR", message="known 5"), entry(level="ERROR", message="new 5")
    earlier = entry(UNTIL - 30 * HOUR, level="ERROR", message="known 8")
    assert set(asked(logged(earlier + known + new), logs.unusual_messages)) == {"api: new #"}
    assert "nothing of the time before" in unknown(logged(known), logs.unusual_messages)


def test_following_names_what_it_does_not_read(logged: Opened, tmp_path: Path) -> None:
    now_ = entry(datetime.now(UTC) - timedelta(minutes=1))
    run = logged(now_, pattern='api_*", "container:shrimp-api')
    folder = tmp_path / "logs0" / "api_folder.log"
    folder.mkdir()
    found = asked(run, logs.recent)
    assert found["last minutes"].status is OK
    assert (found[str(folder)].status, found[str(folder)].message) == (UNKNOWN, "is no file but a folder")
    assert found["container:shrimp-api"].status is UNKNOWN
    assert "not followed" in found["container:shrimp-api"].message
    assert "container:gone: a container's output is not followed" in unknown(
        logged(pattern='none", "container:gone'), logs.recent
    )


def test_lines_without_a_condition_are_the_errors_and_the_critical_ones(logged: Opened) -> None:
    run = logged(
        "".join(entry(level=level) for level in ("INFO", "WARNING", "ERROR", "CRITICAL")) + text(2, "CRITICAL")
    )
    assert asked(run, logs.matching)["lines"].value == 4
    assert asked(run, logs.matching, where="level!=INFO|CRITICAL")["lines"].value == 2


@pytest.mark.parametrize(
    ("where", "count"),
    [("status_code=401|403", 2), ("status_code!=401|403", 1), ("status_code=401.0", 1), ("message=a|b", 3)],
)
def test_a_condition_may_name_several_values(logged: Opened, where: str, count: int) -> None:
    run = logged("".join(request(status_code=status, message="a|b") for status in (200, 401, 403)))
    assert asked(run, logs.matching, where=where)["lines"].value == count


def test_lines_with_damaged_bytes_are_found_as_they_are_counted(logged: Opened) -> None:
    damaged = [entry(level="ERROR", message="lost @ row").encode().replace(b"@", sign) for sign in (b"\xff", b"\x01")]
    run = logged(b"".join(damaged) + entry(level="ERROR", duration_ms=float("nan")).encode())
    assert int(run.ask(logs.errors, window=WINDOW).frame["count"].sum()) == 3
    assert asked(run, logs.matching)["lines"].value == 3
