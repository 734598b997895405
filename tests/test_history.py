"""The made history of the service's log: the same again for a seed, written as the service writes, its truth right."""

import gzip
import hashlib
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from runbook_sandbox import history
from runbook_sandbox.history import Event, Seen, Truth, as_json, as_text, request
from runbook_sandbox.history.attacks import SUSPICIOUS
from runbook_sandbox.history.event import microseconds, moment

UNTIL = datetime(2026, 11, 23, 16, 30, tzinfo=UTC)
SINCE = UNTIL - timedelta(hours=60)
RECORDED = ["timestamp", "level", "logger", "message", "module", "function", "line"]
TEXT = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[(INFO|WARNING|ERROR|CRITICAL)\] [\w.]+:\w+:\d+: .")


def told(count: int = 3000, seed: int = 7, **how: Any) -> list[Event]:
    how = {"documented": True, **how}
    return list(history.events(seed, SINCE, UNTIL, count, **how))


def read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def error(at: datetime, message: str, pattern: str, level: str = "ERROR", traceback: tuple[str, ...] = ()) -> Event:
    where = ("services.api.annotation_api", "annotation_api", "export_gold_data", 1109)
    return Event(microseconds(at), level, *where, message, pattern, {}, traceback=traceback)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
        events = told(2000, 8 if name == "other" else 7, attacked=True)
        how: dict[str, Any] = {"formats": ("mixed",), "styles": history.STYLES, "damage": 5, "gz_older": True}
        history.write(tmp_path / name, events, **how)
    assert digest(tmp_path / "one") == digest(tmp_path / "two") != digest(tmp_path / "other")


def test_entries_come_in_order_within_their_time_and_as_many_as_asked() -> None:
    events = told(attacked=True)
    times = [event.at for event in events]
    assert times == sorted(times)
    assert microseconds(SINCE) <= times[0] and times[-1] < microseconds(UNTIL)
    assert len(told()) == 3000 and len(events) == 3000 + 60 + 25 + sum(map(len, SUSPICIOUS.values())) + 80 + 5


def test_most_entries_are_requests_and_few_are_errors() -> None:
    events = told(20_000, errors=0.02)
    assert 0.70 < sum(event.logger == "api.requests" for event in events) / len(events) < 0.80
    assert 0.015 < sum(event.level in ("ERROR", "CRITICAL") for event in events) / len(events) < 0.025
    assert not [event for event in told(20_000, errors=0) if event.level in ("ERROR", "CRITICAL")]
    documents = [event.path_pattern == "/documents/{id}" for event in events if event.path_pattern]
    assert 0.08 < sum(documents) / len(documents) < 0.13


def test_a_canonical_line_is_what_json_dumps_writes_of_the_recorded_keys() -> None:
    for event in told(6000, attacked=True, errors=0.1):
        line = as_json(event)
        record = json.loads(line)
        assert line.decode() == json.dumps(record, ensure_ascii=False) + "\n"
        exception = ["exception"] if event.traceback else []
        assert list(record) == [*RECORDED, *exception, *event.extra, "uptime"]
        assert datetime.fromisoformat(record["timestamp"]) == moment(event.at)
        assert [record[key] for key in RECORDED[1:]] == [getattr(event, key) for key in RECORDED[1:]]
        assert {key: record[key] for key in event.extra} == event.extra
        assert record.get("exception", "") == "\n".join(event.traceback)


@pytest.mark.parametrize("style", history.STYLES)
def test_every_style_says_the_same_in_one_line(style: str) -> None:
    looks = set()
    for event in told(1500, attacked=True, errors=0.1):
        line = as_json(event, style)
        assert line.endswith(b"\r\n" if style == "crlf" else b"\n") and line.count(b"\n") == 1
        assert json.loads(line) == json.loads(as_json(event))
        looks.add(line == as_json(event))
    assert looks == {style == "canonical"}


def test_text_lines_have_the_services_format() -> None:
    zone = timezone(timedelta(hours=-5))
    at = datetime(2026, 11, 23, 15, 50, 57, 999_999, tzinfo=UTC)
    event = error(at, "Export failed: 404: none", "", traceback=("Traceback:", "", "  x"))
    start = b"[ERROR] services.api.annotation_api:export_gold_data:1109: Export failed: 404: none\nTraceback:\n\n  x\n"
    assert as_text(event) == b"2026-11-23 15:50:57 " + start
    assert as_text(event, zone) == b"2026-11-23 10:50:57 " + start
    assert all(TEXT.match(as_text(each)) for each in told(attacked=True, errors=0.1))


def test_a_pattern_is_the_message_without_its_numbers_and_ids() -> None:
    ids = r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{12}\b"
    for event in told(20_000, attacked=True, errors=0.1):
        assert re.sub(r"\d+(?:\.\d+)?", "#", re.sub(ids, "<id>", event.message)) == event.pattern


def test_path_patterns_hide_ids_and_nothing_else() -> None:
    for event in told(20_000, attacked=True, documented=False):
        if "path" in event.extra:
            hidden = re.sub(r"/(?:[0-9a-f]{12}|\d+)(?=/|$)", "/{id}", event.extra["path"])
            assert hidden == event.path_pattern


def test_as_built_nobody_is_named_and_nothing_is_limited() -> None:
    built = [event.extra for event in told(20_000, documented=False, attacked=True) if "path" in event.extra]
    assert all(extra["user_id"] is None and "client" not in extra and extra["status_code"] != 429 for extra in built)
    documented = [event.extra for event in told(20_000) if "path" in event.extra]
    assert all(re.match(r"203\.0\.113\.|198\.51\.100\.", extra["client"]) for extra in documented)
    assert {429, 401, 403, 404, 422, 500, 503} < {extra["status_code"] for extra in documented}


def test_decoys_are_no_trouble() -> None:
    shown = [event.message for event in told(20_000) if event.level == "INFO"]
    for word in ("ERROR", "401", "403", "rate limit exceeded", "DROP TABLE", "CRITICAL", "API request failed"):
        assert any(word in message for message in shown), word


def test_an_attack_is_in_the_last_hour_and_known() -> None:
    truth, hour, before = (
        Truth(SINCE, UNTIL),
        Truth(UNTIL - timedelta(hours=1)),
        Truth(None, UNTIL - timedelta(hours=1)),
    )
    for event in told(attacked=True):
        for each in (truth, hour, before):
            each.add(event)
    assert truth.suspicious == Counter({(rule, path): 1 for rule, paths in SUSPICIOUS.items() for path in paths})
    assert hour.suspicious == truth.suspicious and not before.suspicious
    assert truth.entries == hour.entries + before.entries
    assert hour.failed_logins_by_user["admin"] >= 60 and hour.failed_logins_by_client["203.0.113.66"] == 60
    assert hour.failed_logins_by_client["203.0.113.99"] == 25
    assert hour.server_errors[500, "/candidates/generate"] == 40
    assert hour.new_patterns(before)["Checksum of export <id> differs: # rows, # expected"].count == 5


def test_double_encoded_attacks_are_marked() -> None:
    twice = [event for event in told(attacked=True) if "%25" in event.extra.get("path", "")]
    assert {event.attack for event in twice} == {"sql injection", "path traversal", "scanner"}
    assert all(unquote(unquote(event.extra["path"])) != unquote(event.extra["path"]) for event in twice)


def test_the_truth_of_a_few_entries_is_as_counted_by_hand() -> None:
    def at(second: float) -> datetime:
        return datetime(2026, 11, 23, 10, 0, tzinfo=UTC) + timedelta(seconds=second)

    def asked(second: float, path: str, status: int, duration: float, **more: str) -> Event:
        return request(microseconds(at(second)), "GET", path, status, duration, **more)

    def operation(second: float, **extra: Any) -> Event:
        return Event(microseconds(at(second)), "INFO", "x", "x", "x", 1, "done", "done", extra)

    started = {"operation": "candidate_generation", "status": "started"}
    events = [
        asked(-0.5, "/health", 500, 9.0),  # before the window
        asked(0, "/documents/ab12cd34ef56", 200, 5.5, pattern="/documents/{id}"),
        asked(1, "/documents/0012cd34ef56", 200, 2.25, pattern="/documents/{id}"),
        asked(2, "/auth/login", 401, 1.0, user="admin", client="203.0.113.7"),
        asked(3, "/auth/login", 401, 1.0, user="bea", client="203.0.113.7"),
        asked(4, "/auth/users", 403, 1.0, user="bea", client="203.0.113.8"),
        asked(5, "/triage/queue", 429, 1.0),
        asked(6, "/.env", 404, 1.0, attack="scanner"),
        asked(59.9, "/ready", 503, 1.0),
        error(at(61.25), "Export failed: 404", "Export failed: #"),
        error(at(62.75), "Export failed: 500", "Export failed: #"),
        error(at(63), "Pool", "Pool", "CRITICAL"),
        error(at(64), "Slow", "Slow", "WARNING"),
        operation(65, **started),
        operation(66, operation="candidate_generation", duration_ms=900.0, status="completed"),
        operation(67, provider="openai", model="gpt-4o", duration_ms=880.5),
        operation(68, operation="database_query", duration_ms=3.5),
        operation(69, operation="database_query", duration_ms=1.5),
        asked(120, "/health", 500, 9.0),  # at its end
    ]
    truth = Truth(at(0), at(120))
    for event in events:
        truth.add(event)
    assert truth.levels == {"INFO": 7, "WARNING": 6, "ERROR": 3, "CRITICAL": 1} and truth.entries == 17
    assert truth.errors == 4 and truth.error_patterns == {
        "API request failed": Seen(1, at(59.9), at(59.9)),
        "Export failed: #": Seen(2, at(61.25), at(62.75)),
        "Pool": Seen(1, at(63), at(63)),
    }
    assert truth.timeline == {
        ("2026-11-23T10:00", "INFO"): 2,
        ("2026-11-23T10:00", "WARNING"): 5,
        ("2026-11-23T10:00", "ERROR"): 1,
        ("2026-11-23T10:01", "INFO"): 5,
        ("2026-11-23T10:01", "WARNING"): 1,
        ("2026-11-23T10:01", "ERROR"): 2,
        ("2026-11-23T10:01", "CRITICAL"): 1,
    }
    assert truth.auth == {(401, "/auth/login"): 2, (403, "/auth/users"): 1} and truth.failed_logins == 2
    assert truth.failed_logins_by_user == {"admin": 1, "bea": 1}
    assert truth.failed_logins_by_client == {"203.0.113.7": 2}
    assert truth.server_errors == {(503, "/ready"): 1} and truth.rate_limited == {"/triage/queue": 1}
    assert truth.suspicious == {("scanner", "/.env"): 1}
    assert truth.durations["/documents/{id}"] == [2.25, 5.5] and "/health" not in truth.durations
    assert truth.operations == {"candidate_generation": [900.0], "llm": [880.5], "database": [1.5, 3.5]}
    earlier = Truth()
    earlier.add(events[9])
    assert set(truth.new_patterns(earlier)) == {"API request error", "API request failed", "Pool", "Slow"}


def test_text_tells_whole_seconds_and_no_request() -> None:
    at = datetime(2026, 11, 23, 10, 0, 1, 900_000, tzinfo=UTC)
    truth, late = Truth(), Truth(at - timedelta(seconds=0.5))
    for each in (truth, late):
        each.add(error(at, "Pool", "Pool"), recorded=False)
        each.add(request(microseconds(at), "GET", "/health", 500, 9.0), False)
    assert truth.error_patterns["Pool"].first == at.replace(microsecond=0) and truth.errors == 2
    assert not truth.durations and not truth.server_errors
    assert late.entries == 0


def test_bad_bytes_leave_an_error_in_every_count_but_under_no_pattern() -> None:
    truth = Truth()
    truth.add(error(SINCE, "Pool", "Pool"), spoilt=True)
    assert truth.errors == truth.spoilt_errors == 1 and not truth.error_patterns


def test_files_are_named_rotated_packed_and_dated_as_the_services(tmp_path: Path) -> None:
    events = told(3000)
    written = history.write(tmp_path, events, rotate_bytes=100_000, gz_older=True)
    names = [path.name for path in written.paths]
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())
    days = sorted({f"{moment(event.at):%Y%m%d}" for event in events})
    assert sorted({name[4:12] for name in names}) == days == ["20261121", "20261122", "20261123"]
    for day in days:
        packed = "" if day == days[-1] else ".gz"
        of_day = [name for name in names if day in name]
        numbers = [f".{number}" for number in range(len(of_day) - 1, 0, -1)]
        assert len(of_day) > 2 and of_day == [f"api_{day}.log{number}{packed}" for number in [*numbers, ""]]
    assert all(len(read(path)) < 100_000 for path in written.paths)
    texts = [read(path) for path in written.paths]
    assert b"".join(texts) == b"".join(map(as_json, events))
    for path, text in zip(written.paths, texts, strict=True):
        last = json.loads(text.splitlines()[-1])["timestamp"]
        assert abs(path.stat().st_mtime - datetime.fromisoformat(last).timestamp()) < 1e-5
    assert (written.lines, written.entries, written.malformed) == (3000, 3000, 0)


def test_without_names_of_days_there_is_one_log(tmp_path: Path) -> None:
    written = history.write(tmp_path, told(500), stem="service", day_names=False)
    assert [path.name for path in written.paths] == ["service.log"]


def test_mixed_files_change_between_json_and_text(tmp_path: Path) -> None:
    events, truth = told(3000), Truth()
    written = history.write(tmp_path, events, formats=("mixed", "json", "text"), truths=[truth])
    kinds = [{line[:1] == b"{" for line in read(path).splitlines()[::20]} for path in written.paths]
    assert kinds == [{True, False}, {True}, {False}]
    recorded = sum(line.count(b'"status_code"') for path in written.paths for line in [read(path)])
    assert truth.entries == 3000 and sum(map(len, truth.durations.values())) == recorded


@pytest.mark.parametrize("style", history.STYLES)
def test_damage_breaks_lines_of_every_kind_and_counts_them(tmp_path: Path, style: str) -> None:
    truth = Truth()
    written = history.write(tmp_path, told(3000), damage=3, styles=(style,), truths=[truth], day_names=False)
    data = read(written.paths[0])
    lines = data.split(b"\n")[:-1]
    assert len(lines) == written.lines and truth.entries == written.entries == 3000
    assert {kind for kind, _ in written.broken} == {"cut", "binary", "empty", "huge"}
    good = spoilt = 0
    for line in lines:
        try:
            good += bool(json.loads(line.decode()))
        except ValueError:
            spoilt += line.strip().startswith(b"{") and line.strip().endswith(b"}")
    assert good + written.spoilt + written.malformed == written.lines
    assert spoilt == written.spoilt > 10 and truth.spoilt_errors > 3
    assert b"\x00" in data and b"\xff\xfe" in data and max(map(len, lines)) > 100_000


@pytest.mark.parametrize("fmt", ["json", "text", "mixed"])
def test_a_big_file_has_about_its_size_and_its_truth(tmp_path: Path, fmt: str) -> None:
    truth, malformed = history.fast_file(tmp_path / "big.log", 8_000_000, 1, fmt)
    data = (tmp_path / "big.log").read_bytes()
    assert len(data) == pytest.approx(8_000_000, rel=0.1) and malformed
    if fmt == "text":
        assert truth.entries == sum(bool(TEXT.match(line)) for line in data.split(b"\n"))
        assert b"\nTraceback" in data
    else:
        assert b'"timestamp":"' in data and truth.durations["/health"]
