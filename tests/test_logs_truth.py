"""One pass over the log, held to the truth of a generated history: exactly, in each format and however it is stored."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest

from runbook.logfiles.crew import read_all
from runbook.logfiles.durations import percentile
from runbook.logfiles.entries import as_stamp
from runbook.logfiles.reader import Job
from runbook.logfiles.sources import find_files
from runbook.logfiles.tally import Period, Reading, Tally
from runbook_sandbox.history import STYLES, Truth, events, write

UNTIL = datetime(2026, 3, 11, 9, 30, tzinfo=UTC)
SINCE = UNTIL - timedelta(hours=24)
BEGIN = UNTIL - timedelta(hours=72)
PERIODS = [
    Period("window", as_stamp(SINCE), as_stamp(UNTIL)),
    Period("before", as_stamp(BEGIN), as_stamp(SINCE)),
]


@dataclasses.dataclass
class Case:
    reading: Reading
    truth: Truth
    before: Truth
    malformed: int
    broken: Mapping[Any, int]

    @property
    def tally(self) -> Tally:
        return self.reading.periods["window"]


CASES: dict[str, dict[str, Any]] = {
    "json": {},
    "text": {"formats": ("text",)},
    "mixed": {"formats": ("mixed",)},
    "json then text": {"formats": ("json", "text")},
    "gz": {"gz_older": True},
    "mixed gz": {"gz_older": True, "formats": ("mixed",)},
    "rotated": {"rotate_bytes": 300_000},
    "odd json": {"styles": STYLES},
    "damaged json": {"damage": 5, "styles": STYLES},
    "damaged mixed": {"damage": 5, "formats": ("mixed",), "styles": STYLES},
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("logs")
    truth, before = Truth(SINCE, UNTIL), Truth(BEGIN, SINCE)
    told = events(11, BEGIN, UNTIL, 12_000, documented=True, attacked=True)
    written = write(folder, told, truths=[truth, before], **{"rotate_bytes": 1_000_000, **CASES[request.param]})
    reading = read_all(find_files([f"{folder}/api_*.log*"]), Job(PERIODS), seconds=60)
    yield Case(reading, truth, before, written.malformed, written.broken)


def test_entries_are_counted_by_minute_and_level(case: Case) -> None:
    assert dict(case.tally.timeline) == dict(case.truth.timeline)
    assert dict(case.reading.periods["before"].timeline) == dict(case.before.timeline)


def test_errors_are_counted_by_message_with_their_first_and_last_time(case: Case) -> None:
    assert case.tally.failures == case.truth.errors > 50
    found: dict[str, tuple[int, str, str]] = {}
    for (level, _, message), seen in case.tally.messages.items():
        if level in ("ERROR", "CRITICAL") and "\ufffd" not in message:
            count, first, last = found.get(message, (0, "9", ""))
            found[message] = (count + seen.count, min(first, seen.first[:19]), max(last, seen.last[:19]))
    expected = {
        pattern[:300]: (seen.count, f"{seen.first:%Y-%m-%dT%H:%M:%S}", f"{seen.last:%Y-%m-%dT%H:%M:%S}")
        for pattern, seen in case.truth.error_patterns.items()
    }
    assert found == expected


def by(case: Case, *statuses: int) -> Counter[tuple[int, str]]:
    counted: Counter[tuple[int, str]] = Counter()
    for (status, _, path, _, _), seen in case.tally.refused.items():
        if int(status) in statuses and path != "(others)":
            counted[(int(status), path)] += seen.count
    return counted


def plain(counted: Mapping[tuple[int, str], int], suspicious: Mapping[tuple[str, str], int]) -> dict[Any, int]:
    paths = {path for _, path in suspicious}
    return {key: count for key, count in counted.items() if key[1] not in paths}


def test_refusals_and_failures_are_counted_by_status_and_path(case: Case) -> None:
    suspicious = case.truth.suspicious
    assert by(case, 401, 403) == plain(case.truth.auth, suspicious)
    assert by(case, *range(500, 600)) == plain(case.truth.server_errors, suspicious)
    limited = {path: count for (_, path), count in by(case, 429).items()}
    assert limited == dict(case.truth.rate_limited)


def test_failed_logins_are_counted_by_user_and_client(case: Case) -> None:
    users: Counter[str] = Counter()
    clients: Counter[str] = Counter()
    for (_, user, client), count in case.tally.failed_logins.items():
        users[user] += count
        clients[client] += count
    assert sum(users.values()) == case.truth.failed_logins
    assert +Counter({k: v for k, v in users.items() if k}) == case.truth.failed_logins_by_user
    assert +Counter({k: v for k, v in clients.items() if k}) == case.truth.failed_logins_by_client


def test_each_suspicious_request_is_found_and_no_other(case: Case) -> None:
    found: Counter[tuple[str, str]] = Counter()
    for (rule, path, _), seen in case.tally.suspicious.items():
        found[(rule, path)] += seen.count
    assert found == case.truth.suspicious


def three_digits(milliseconds: float) -> float:
    exact = (Decimal(str(milliseconds)) * 1000).to_integral_value(ROUND_HALF_UP)
    unit = Decimal(10) ** max(0, len(str(exact)) - 3)
    return float((exact / unit).to_integral_value(ROUND_HALF_UP) * unit / 1000)


def test_percentiles_are_those_of_all_durations(case: Case) -> None:
    attacked = {path for _, path in case.truth.suspicious}
    expected = {path: durations for path, durations in case.truth.durations.items() if path not in attacked}
    found = {path: counted for path, counted in case.tally.durations.items() if path != "(others)"}
    assert set(found) == set(expected)
    for path, durations in expected.items():
        assert sum(found[path].values()) == len(durations)
        for share in (0.5, 0.95, 0.99, 1.0):
            rank = max(1, -int(-share * len(durations) // 1))
            assert percentile(found[path], share) == three_digits(sorted(durations)[rank - 1]), (path, share)


def test_operations_are_timed(case: Case) -> None:
    names = {"candidate_generation": "candidate_generation", "llm": "llm ", "database": "database"}
    for name, durations in case.truth.operations.items():
        counted = [c for subject, c in case.tally.operations.items() if subject.startswith(names[name])]
        assert sum(sum(c.values()) for c in counted) == len(durations)


def test_messages_never_seen_before_are_those_of_the_truth(case: Case) -> None:
    before = {message for _, _, message in case.reading.periods["before"].messages}
    new = {message for _, _, message in case.tally.messages if message not in before and "\ufffd" not in message}
    assert new == {pattern[:300] for pattern in case.truth.new_patterns(case.before)}


def test_malformed_lines_are_counted(case: Case) -> None:
    found = sum(file.malformed for file in case.reading.files.values())
    # An empty line is no damage; in a file of text a broken line cannot be told from a message's next line.
    certain = sum(count for (kind, form), count in case.broken.items() if form == "json" and kind != "empty")
    possible = sum(count for (kind, _), count in case.broken.items() if kind != "empty")
    assert certain <= found <= possible
