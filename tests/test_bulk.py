"""Reading many lines at once tells just what reading each by itself tells, whatever is done to the lines."""

from pathlib import Path
from random import Random

import msgspec
import pytest

from runbook.logfiles.crew import read_all
from runbook.logfiles.heads import HeadReader
from runbook.logfiles.reader import Job, Reader
from runbook.logfiles.sources import find_files
from runbook.logfiles.tally import Period, Reading

ALWAYS = Period("always", "2000-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z")
PATHS = ("/health", "/ready", "/triage/queue", "/documents/3fa49c00b1e2", "/documents/777", "/auth/login", "/x y", "/Ü")
INSTEAD = (*b'"\\{}[]:,. 0123456789aefnultrEI-/', 0, 10, 13, 0x7F, 0x80, 0xFF)


def entry(rng: Random, at: int) -> bytes:
    second, micro = divmod(at, 1_000_000)
    stamp = f"2026-11-23T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{micro:06d}Z"
    head = f'{{"timestamp": "{stamp}", "level": "INFO", "logger": '
    uptime = f'"uptime": {round(86_000 + at / 1e6, 6)}}}\n'
    kind = rng.random()
    if kind < 0.15:
        text = rng.choice(("Processing doc7.txt", "Processed 1/3", 'odd \\" text', "\\u00e9"))
        return f'{head}"services.triage", "message": "{text}", "module": "m", "line": 1, {uptime}'.encode()
    if kind < 0.2:
        name = rng.choice(("candidate_generation", "database_query"))
        told = f'"message": "done", "operation": "{name}", "duration_ms": {round(rng.lognormvariate(3, 2), 2)}'
        return f'{head}"services.timed", {told}, {uptime}'.encode()
    if kind < 0.22:
        return f'{head}"services.llm", "message": "m", "duration_ms": 812.5, "provider": "openai", {uptime}'.encode()
    if kind < 0.25:
        return f'{head}"services.triage", "message": "failed {at}", {uptime}'.replace("INFO", "ERROR").encode()
    duration = round(rng.lognormvariate(2, 2), 2)
    method, status = rng.choice(("GET", "POST", "DELETE")), rng.choice((200, 200, 201, 304))
    user = rng.choice(("null", '"anna"', '"bo"', '"a b"', '"' + "x" * 30 + '"'))
    user += rng.choice(("", ', "client": "203.0.113.9"', ', "client": "10.0.0.1"'))
    return (
        f'{head}"api.requests", "message": "API request completed", "module": "logging_config", "function": "log", '
        f'"line": 379, "method": "{method}", "path": "{rng.choice(PATHS)}", "status_code": {status}, '
        f'"duration_ms": {duration}, "user_id": {user}, {uptime}'
    ).encode()


def text_line(rng: Random, at: int) -> bytes:
    second = at // 1_000_000
    stamp = f"2026-11-2{3 + second // 86_400} {second // 3600 % 24:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    level = rng.choices(("INFO", "WARNING", "ERROR", "DEBUG", "CRITICAL"), (80, 5, 5, 5, 1))[0]
    after = "Traceback (most recent call last):\n  File x\nValueError: 3\n" if rng.random() < 0.02 else ""
    message = f"services.worker{rng.randrange(3)}:run:12: item {rng.randrange(999)} is late"
    return f"{stamp} [{level}] {message}\n{after}".encode()


def lines_of(make: "type[None] | object", count: int, seed: int = 1) -> list[bytes]:
    rng, at, made = Random(seed), 0, []
    for _ in range(count):
        at += rng.randrange(1, 400_000)
        made.append(make(rng, at))  # type: ignore[operator]
    return made


def reading(lines: bytes, *periods: Period, zone: str = "UTC", latest: str = "9999") -> Reading:
    reader = Reader(Job([*periods] or [ALWAYS], zone, latest))
    pieces = (lines[at : at + (256 << 10)] for at in range(0, len(lines), 256 << 10))
    reader.read_stream(pieces)
    read = reader.done()
    read.files["x"] = reader.file
    return read


@pytest.fixture
def line_by_line(monkeypatch: pytest.MonkeyPatch) -> "object":
    """Return a reading of the same bytes that looks at each line by itself."""

    def read(lines: bytes, *periods: Period, zone: str = "UTC", latest: str = "9999") -> Reading:
        with monkeypatch.context() as patched:
            patched.setattr(Reader, "_json", Reader._lines)
            patched.setattr(HeadReader, "read", lambda *_: None)
            return reading(lines, *periods, zone=zone, latest=latest)

    return read


def differing(one: Reading, other: Reading) -> dict[str, object]:
    """Return what two readings tell differently, by its name."""
    told = [_flat("", msgspec.to_builtins(read)) for read in (one, other)]
    return {
        name: (told[0].get(name), told[1].get(name))
        for name in told[0].keys() | told[1].keys()
        if (told[0].get(name) or 0) != (told[1].get(name) or 0)
    }


def _flat(name: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        return {name: value}
    return {key: each for part, inner in value.items() for key, each in _flat(f"{name}/{part}", inner).items()}


def test_lines_read_at_once_say_what_each_says_by_itself(line_by_line) -> None:  # type: ignore[no-untyped-def]
    lines = b"".join(lines_of(entry, 5000))
    assert reading(lines).periods["always"].requests > 3000
    assert differing(reading(lines), line_by_line(lines)) == {}


def test_every_byte_of_a_line_may_be_another_and_nothing_is_told_differently(line_by_line) -> None:  # type: ignore[no-untyped-def]
    made = lines_of(entry, 600)
    request = next(line for line in made if b'"/triage/queue"' in line and b"null" in line)
    of_anna = next(line for line in made if b'"anna", "client"' in line and b"/ready" in line)
    timed = next(line for line in made if b'"database_query"' in line)
    plain = next(line for line in made if b"Processed 1/3" in line)
    for line in (request, of_anna, timed, plain):
        broken = [
            line[:place] + bytes([sign]) + line[place + 1 :]
            for place in range(len(line))
            for sign in INSTEAD
            if line[place] != sign
        ]
        for begin in range(0, len(broken), 400):
            lines = b"".join(made[:60] + [each for one in broken[begin : begin + 400] for each in (one, line)])
            assert differing(reading(lines), line_by_line(lines)) == {}, begin


@pytest.mark.parametrize("seed", range(8))
def test_lines_that_are_cut_glued_doubled_and_spoilt_are_told_as_decoding_tells_them(seed: int, line_by_line) -> None:  # type: ignore[no-untyped-def]
    rng, made = Random(seed), lines_of(entry, 2000, seed)
    for _ in range(150):
        at = rng.randrange(100, len(made))
        cut = rng.randrange(len(made[at]))
        made[at] = rng.choice(
            (
                made[at][:cut],
                made[at][:cut] + b"\n",
                made[at][:cut] + made[at - 1],
                made[at][cut:],
                made[at][:cut] + made[at - 1][cut:],
                made[at].replace(b'"path": "', b'"path": "/../'),
                made[at].replace(b": ", b":").replace(b", ", b","),
                made[at].replace(b"}\n", b', "path": "/wp-login.php"}\n'),
                made[at].replace(b'"duration_ms": ', b'"duration_ms": 0'),
                made[at].replace(b"\n", b"\r\n"),
                b"\n",
            )
        )
    lines = b"".join(made)
    assert differing(reading(lines), line_by_line(lines)) == {}


@pytest.mark.parametrize("make", [entry, text_line])
@pytest.mark.parametrize("minutes", [(0, 3), (1, 2), (2, 2.5)])
def test_periods_that_begin_or_end_in_the_middle_hold_just_their_own(make, minutes, line_by_line) -> None:  # type: ignore[no-untyped-def]
    lines = b"".join(lines_of(make, 1500))
    since, until = (f"2026-11-23T00:{int(each):02d}:{int(each % 1 * 60):02d}.000000Z" for each in minutes)
    periods = (Period("one", since, until), Period("rest", until, ALWAYS.until))
    assert differing(reading(lines, *periods), line_by_line(lines, *periods)) == {}
    assert differing(reading(lines, ALWAYS, latest=until), line_by_line(lines, ALWAYS, latest=until)) == {}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns"])
def test_text_lines_whose_bytes_are_others_are_told_as_one_by_one(seed: int, zone: str, line_by_line) -> None:  # type: ignore[no-untyped-def]
    rng, made = Random(seed), lines_of(text_line, 1500, seed)
    for _ in range(100):
        at = rng.randrange(100, len(made))
        place = rng.randrange(min(60, len(made[at])))
        made[at] = made[at][:place] + bytes([rng.choice(INSTEAD)]) + made[at][place + 1 :]
    lines = b"".join(made)
    assert differing(reading(lines, zone=zone), line_by_line(lines, zone=zone)) == {}


def test_a_file_of_both_formats_is_told_as_line_by_line(tmp_path: Path, line_by_line) -> None:  # type: ignore[no-untyped-def]
    json_lines, text = lines_of(entry, 3000), lines_of(text_line, 3000)
    rng, mixed = Random(5), []
    while json_lines or text:
        chosen = json_lines if json_lines and (not text or rng.random() < 0.5) else text
        run = rng.randrange(1, 400)
        mixed += chosen[:run]
        del chosen[:run]
    lines = b"".join(mixed)
    assert differing(reading(lines), line_by_line(lines)) == {}
    (tmp_path / "api.log").write_bytes(lines)
    by_workers = read_all(find_files([str(tmp_path / "api.log")]), Job([ALWAYS]), seconds=60, workers=2)
    assert msgspec.to_builtins(by_workers.periods) == msgspec.to_builtins(reading(lines).periods)
