"""The log engine on what files are in practice: growing, rotated, damaged, hostile, out of order, too many, too big."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook.logfiles import crew, pieces
from runbook.logfiles.crew import PassBroken, PassTooLong, read_all
from runbook.logfiles.entries import as_stamp
from runbook.logfiles.reader import Job
from runbook.logfiles.search import Search, search
from runbook.logfiles.sources import LogFile, find_files
from runbook.logfiles.suspicious import rule_of
from runbook.logfiles.tail import Tail
from runbook.logfiles.tally import FileRead, Period, Reading, Tally
from runbook_sandbox.history import events, write

DAY = datetime(2026, 3, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALL = (DAY - timedelta(days=3000), DAY + timedelta(days=3000))


def entry(moment: datetime | str = DAY, **fields: Any) -> bytes:
    stamp = moment if isinstance(moment, str) else as_stamp(moment)
    return json.dumps({"timestamp": stamp, "level": "INFO", "logger": "api", "message": "m", **fields}).encode() + b"\n"


def request(moment: datetime | str = DAY, **fields: Any) -> bytes:
    return entry(moment, **{"method": "GET", "path": "/items", "status_code": 200, "duration_ms": 5.0, **fields})


def job(since: datetime = ALL[0], until: datetime = ALL[1], zone: str = "UTC", latest: str = "9999") -> Job:
    return Job([Period("window", as_stamp(since), as_stamp(until))], zone, latest)


def read(files: Sequence[LogFile] | Path, told: Job | None = None, **more: Any) -> Reading:
    found = find_files([str(files)]) if isinstance(files, Path) else files
    return read_all(found, told or job(), **{"seconds": 60, **more})


def window(reading: Reading) -> Tally:
    return reading.periods["window"]


def only(reading: Reading) -> FileRead:
    (file,) = reading.files.values()
    return file


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., Path]:
    def write_(content: bytes, name: str = "api.log") -> Path:
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write_


# --- files that change while they are read


def test_a_file_that_grows_is_read_to_where_it_ended_when_it_was_found(log: Callable[..., Path]) -> None:
    path = log(entry() * 1000)
    (found,) = find_files([str(path)])
    with path.open("ab") as file:
        file.write(entry() * 500)
    reading = read([found])
    assert window(reading).entries == 1000 and not only(reading).problem


def test_a_line_that_was_being_written_when_the_file_was_found_is_an_entry_and_no_damage(
    log: Callable[..., Path],
) -> None:
    path = log(entry() * 10 + entry()[:40])
    (found,) = find_files([str(path)])
    with path.open("ab") as file:
        file.write(entry()[40:] + entry() * 5)
    reading = read([found])
    assert window(reading).entries == 11 and only(reading).malformed == 0


def test_a_file_that_somebody_writes_all_the_time_gives_whole_lines_and_ends(log: Callable[..., Path]) -> None:
    path, ended = log(entry() * 20_000), threading.Event()

    def go_on() -> None:
        with path.open("ab", buffering=0) as file:
            while not ended.is_set():
                file.write(entry()[:50])
                file.write(entry()[50:])

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        readings = [read(path) for _ in range(10)]
    finally:
        ended.set()
        writer.join()
    counts = [window(reading).entries for reading in readings]
    assert counts == sorted(counts) and counts[0] >= 20_000
    assert max(only(reading).malformed for reading in readings) <= 1, "the one that is being written"


@pytest.mark.parametrize("workers", [None, 2])
def test_a_file_rotated_between_finding_and_reading_is_followed_to_its_new_name(
    log: Callable[..., Path], workers: int | None
) -> None:
    path = log(entry(message="old") * 1000)
    found = find_files([str(path)])
    path.rename(path.with_name("api.log.1"))
    log(entry(message="new") * 3)
    reading = read(found, workers=workers)
    assert window(reading).entries == 1000 and not only(reading).problem


def test_a_file_that_was_packed_or_removed_after_it_was_found_is_told(log: Callable[..., Path]) -> None:
    path, kept = log(entry() * 1000), log(entry() * 7, "api2.log")
    found = find_files([str(path), str(kept)])
    held = path.open("rb")  # so that its inode is not given to another
    path.unlink()
    log(entry() * 3)
    reading = read(found)
    held.close()
    assert window(reading).entries == 7
    assert "replaced" in reading.files[str(path)].problem and not reading.files[str(kept)].problem


def test_a_file_cut_off_in_place_after_it_was_found_is_told(log: Callable[..., Path]) -> None:
    path = log(entry() * 1000)
    found = find_files([str(path)])
    os.truncate(path, 10 * len(entry()))
    reading = read(found)
    assert window(reading).entries == 10 and "cut off while it was read" in only(reading).problem


def test_following_reads_what_was_added_across_rotation_and_a_file_that_vanished(log: Callable[..., Path]) -> None:
    now = datetime.now(UTC)
    path = log(entry(now) * 5)
    tail = Tail("UTC")

    def counted() -> int:
        tail.refresh(find_files([f"{path}*"]), now, 15)
        return sum(tally.entries for tally in tail.minutes.values())

    assert counted() == 5
    with path.open("ab") as file:
        file.write(entry(now) * 2 + entry(now)[:30])
    assert counted() == 7 and tail.read == 2 * len(entry(now))
    path.rename(path.with_name("api.log.1"))
    with path.with_name("api.log.1").open("ab") as file:
        file.write(entry(now)[30:])
    log(entry(now) * 3)
    assert counted() == 11
    gone = find_files([f"{path}*"])
    path.unlink()
    tail.refresh(gone, now, 15)
    assert sum(tally.entries for tally in tail.minutes.values()) == 11


# --- compressed files


def history(count: int = 20_000) -> bytes:
    rng = random.Random(1)
    return b"".join(
        request(DAY + timedelta(seconds=n), duration_ms=round(rng.random() * 100, 3), message=f"{rng.random()}")
        for n in range(count)
    )


def test_of_a_cut_gz_what_could_be_read_counts_and_the_cut_is_told(log: Callable[..., Path]) -> None:
    whole = history()
    packed = gzip.compress(whole)
    reading = read(log(packed[: len(packed) // 2], "api.log.gz"))
    assert "ends early" in only(reading).problem and "what could be read counts" in only(reading).problem
    assert 0.4 * 20_000 < window(reading).entries < 0.6 * 20_000 and only(reading).malformed <= 1


def test_a_gz_cut_in_its_last_bytes_loses_no_more_than_a_few_lines(log: Callable[..., Path]) -> None:
    reading = read(log(gzip.compress(history())[:-5], "api.log.gz"))
    assert only(reading).problem and 19_850 < window(reading).entries <= 20_000


@pytest.mark.parametrize("place", [0.001, 0.25, 0.5, 0.75, 0.999])
def test_a_gz_with_a_flipped_byte_is_told_and_the_rest_counts(log: Callable[..., Path], place: float) -> None:
    packed = bytearray(gzip.compress(history()))
    packed[int(place * len(packed))] ^= 0x10
    good = log(entry() * 9, "other.log")
    reading = read([*find_files([str(log(bytes(packed), "api.log.gz"))]), *find_files([str(good)])])
    assert [file.path for file in reading.files.values() if file.problem] == [str(good.with_name("api.log.gz"))]
    assert 9 <= window(reading).entries <= 20_009


def test_a_gz_of_several_members_and_one_of_nothing_are_well(log: Callable[..., Path]) -> None:
    assert window(read(log(gzip.compress(entry() * 3) + gzip.compress(entry() * 4), "a.gz"))).entries == 7
    empty = only(read(log(gzip.compress(b""), "b.gz")))
    assert not empty.problem and not empty.bytes


def test_what_is_packed_is_told_by_its_bytes_and_not_by_its_name(log: Callable[..., Path]) -> None:
    assert window(read(log(gzip.compress(entry() * 3), "api.log"))).entries == 3
    assert window(read(log(entry() * 3, "api.log.gz"))).entries == 3


# --- what is no file


def test_folders_fifos_and_devices_named_like_a_log_are_told_and_never_waited_for(
    log: Callable[..., Path], tmp_path: Path
) -> None:
    log(entry() * 3, "api_0.log")
    (tmp_path / "api_1.log").mkdir()
    os.mkfifo(tmp_path / "api_2.log")
    (tmp_path / "api_3.log").symlink_to("/dev/zero")
    (tmp_path / "api_4.log").symlink_to("/dev/tty")
    (tmp_path / "api_5.log").symlink_to(tmp_path / "nothing")
    (tmp_path / "api_6.log").symlink_to(tmp_path / "api_7.log")
    (tmp_path / "api_7.log").symlink_to(tmp_path / "api_6.log")
    began = time.monotonic()
    reading = read(tmp_path / "api_*.log")
    assert time.monotonic() - began < 2
    assert window(reading).entries == 3
    problems = {Path(path).name: file.problem for path, file in reading.files.items()}
    assert problems["api_0.log"] == ""
    assert problems["api_1.log"] == "is no file but a folder"
    assert problems["api_2.log"] == "is no file but a FIFO"
    assert problems["api_3.log"] == problems["api_4.log"] == "is no file but a device"
    assert problems["api_5.log"] == "cannot be read: No such file or directory"
    assert problems["api_6.log"] == problems["api_7.log"] == "cannot be read: Too many levels of symbolic links"


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_docker_s_own_file_is_named_with_what_to_write_instead(
    log: Callable[..., Path], tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    lines = [entry(DAY + n * HOUR).decode() for n in range(9)]
    wrapped = [{"log": line, "stream": "stdout", "time": "2026-03-10T00:00:00Z"} for line in lines]
    told = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in wrapped)
    docker = log(pack(told.encode()), "api_docker.log")
    log(entry() + entry(log="a field of that name"), "api_own.log")
    reading = read(tmp_path / "api_*")
    assert "container:NAME" in reading.files[str(docker)].problem
    assert (window(reading).entries, sum(file.malformed for file in reading.files.values())) == (2, 0)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["FIFO", "/dev/zero"])
def test_a_file_that_a_fifo_or_device_replaces_before_it_is_read_is_not_waited_for(
    log: Callable[..., Path], make: Callable[[Path], None]
) -> None:
    path = log(entry() * 3)
    found = find_files([str(path)])
    path.unlink()
    make(path)
    began = time.monotonic()
    assert only(read(found)).problem
    assert time.monotonic() - began < 2


def test_one_file_by_many_names_is_counted_once(log: Callable[..., Path], tmp_path: Path) -> None:
    path = log(entry() * 4, "api_0.log")
    (tmp_path / "api_1.log").symlink_to(path)
    os.link(path, tmp_path / "api_2.log")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = find_files([f"{tmp_path}/*.log", f"{tmp_path}/api_*", f"{tmp_path}/*/*.log", f"{tmp_path}/*/*/*.log"])
    assert window(read(found)).entries == 4 and len(found) == 1


def test_a_file_whose_name_is_no_text_is_told_and_the_others_count(log: Callable[..., Path], tmp_path: Path) -> None:
    log(entry() * 4, "api_0.log")
    Path(os.fsdecode(bytes(tmp_path) + b"/api_\xff.log")).write_bytes(entry())
    reading = read(tmp_path / "api_*.log", workers=2)
    problems = {Path(path).name: file.problem for path, file in reading.files.items()}
    assert problems == {"api_0.log": "", "api_\\xff.log": "its name is no text"}
    assert window(reading).entries == 4


READ_AS_NOBODY = """
import os, sys
from runbook.logfiles.crew import read_all
from runbook.logfiles.sources import find_files
from runbook.logfiles.reader import Job, Period
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
r = read_all(find_files([sys.argv[1]]), Job([Period("window", "2000-01-01", "3000-01-01")]), seconds=30)
print(r.periods["window"].entries, *(f"{os.path.basename(f.path)}: {f.problem}" for f in r.files.values() if f.problem))
"""


def test_of_ten_files_one_without_permission_is_told_and_nine_count(log: Callable[..., Path], tmp_path: Path) -> None:
    for number in range(10):
        log(entry() * 5, f"api_{number}.log")
    (tmp_path / "api_4.log").chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    ended = subprocess.run(
        [sys.executable, "-c", READ_AS_NOBODY, f"{tmp_path}/*.log"], capture_output=True, text=True, timeout=30
    )
    assert ended.stdout == "45 api_4.log: cannot be read: Permission denied\n", ended.stderr


# --- lines


def test_a_line_longer_than_the_longest_is_skipped_and_told_and_those_around_it_count(
    log: Callable[..., Path],
) -> None:
    long = (
        b'{"timestamp": "2026-03-10T00:00:00.000000Z", "x": "'
        + b"x" * (pieces.LONGEST_LINE + 2 * pieces.PIECE)
        + b'"}\n'
    )
    reading = read(log(entry() * 10 + long + entry() * 10))
    assert window(reading).entries == 20 and only(reading).malformed == 1
    assert "has a line longer than 4 MiB" in only(reading).problem


@pytest.mark.parametrize("workers", [None, 2])
def test_a_line_across_many_parts_belongs_to_the_part_where_it_begins(
    log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    monkeypatch.setattr(crew, "PART", 64 << 10)
    long = request(path="/" + "x" * 1_000_000)
    reading = read(log((entry() * 50 + long) * 4 + entry()), workers=workers)
    assert window(reading).entries == 4 * 51 + 1 and only(reading).malformed == 0
    assert window(reading).requests == 4


MEASURED = """
import gc, resource, sys, msgspec
gc.disable()  # as the worker does
from runbook.logfiles.crew import read_all
from runbook.logfiles.sources import find_files
from runbook.logfiles.reader import Job, Period, read_here
from runbook.logfiles.crew import _plan
job = Job([Period("window", "2000-01-01", "3000-01-01"), Period("before", "1000-01-01", "2000-01-01")])
r = read_here(job, _plan(find_files([sys.argv[1]]), job)[0], lambda: False)
w = r.periods["window"]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(msgspec.json.encode({"peak": peak, "entries": w.entries, "requests": w.requests,
  "malformed": sum(f.malformed for f in r.files.values()), "rows": {n: len(getattr(w, n)) for n in
  ("messages", "refused", "failed_logins", "suspicious", "durations", "timeline")},
  "messages": sum(s.count for k, s in w.messages.items() if k[0] == "ERROR"),
  "401": sum(s.count for k, s in w.refused.items() if k[0] == "401"),
  "logins": sum(w.failed_logins.values()), "timed": sum(sum(c.values()) for c in w.durations.values()),
  "attacks": sum(s.count for k, s in w.suspicious.items() if k[2] == "401"),
  "others": sum("(others)" in k for t in (w.messages, w.refused, w.failed_logins, w.suspicious) for k in t)}).decode())
"""


def measured(path: Path) -> Any:
    """Read a file in a process of its own, with both periods, and return what it counted and its peak (KiB)."""
    # By way of a small process: a child's peak begins with that of the process it is forked from.
    call = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    argv = [sys.executable, "-c", call, sys.executable, "-c", MEASURED, str(path)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout)


def test_a_single_line_of_300_mb_needs_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    with path.open("wb") as file:
        file.write(b"x" * 1000)
        file.truncate(300 << 20)
    told = measured(path)
    assert told["peak"] < 120 << 10 and told["malformed"] == 1 and told["entries"] == 0


@pytest.mark.slow
def test_hundreds_of_thousands_of_different_paths_messages_and_users_need_bounded_memory_and_count_right(
    tmp_path: Path,
) -> None:
    count, path = 300_000, tmp_path / "api.log"
    head = '{"timestamp": "2026-03-10T00:00:00.000000Z", "level": "ERROR", "logger": "api", "message": "'
    letters = "".maketrans("0123456789", "ghijklmnop")  # no digits: those are masked
    with path.open("w") as file:
        for begin in range(0, count, 10_000):
            names = [str(n).translate(letters) for n in range(begin, begin + 10_000)]
            file.writelines(
                f'{head}{n}", "path": "/{n}/auth/login", "status_code": 401, "duration_ms": 5, "user_id": "{n}"}}\n'
                for n in names
            )
    told = measured(path)
    assert told["entries"] == told["requests"] == told["messages"] == told["401"] == told["logins"] == count
    assert told["timed"] == count and told["others"] == 3
    assert max(told["rows"].values()) <= 50_001 and told["rows"]["messages"] == 5001
    assert told["peak"] < 150 << 10


def test_ten_thousand_different_attacks_are_counted_by_rule_and_status(log: Callable[..., Path]) -> None:
    told = measured(log(b"".join(request(path=f"/{n}/wp-login.php", status_code=401) for n in range(10_000))))
    assert told["attacks"] == 10_000 and told["rows"]["suspicious"] == 5001


def test_long_paths_messages_and_users_are_not_kept_whole(tmp_path: Path) -> None:
    path, long = tmp_path / "api.log", "y" * 1_000_000
    with path.open("wb") as file:
        for n in range(80):
            file.write(request(path=f"/{n}{long}", message=f"{n}{long}", user_id=f"{n}{long}", level="ERROR"))
    told = measured(path)
    assert told["entries"] == told["requests"] == 80 and told["peak"] < 150 << 10


def test_a_million_different_levels_do_not_fill_the_timeline(log: Callable[..., Path]) -> None:
    told = measured(log(b"".join(entry(level=f"L{n}") for n in range(250_000))))
    assert told["entries"] == 250_000 and told["rows"]["timeline"] <= 200_001


def test_nothing_nulls_and_empty_lines_are_no_entries(log: Callable[..., Path]) -> None:
    empty = only(read(log(b"")))
    assert (empty.bytes, empty.malformed, empty.problem) == (0, 0, "")
    assert only(read(log(b"\0" * 5000))).malformed == 1
    assert only(read(log((b"\0" * 100 + b"\n") * 3))).malformed == 3
    reading = read(log(b"\n\n" + entry() + b"\n   \n\r\n" + entry() + b"\n"))
    assert window(reading).entries == 2 and only(reading).malformed == 0


TEXT = b"2026-03-10 08:00:00 [ERROR] api.db:ask:12: no answer 5\n"


def test_crlf_is_a_line_end_in_both_formats(log: Callable[..., Path]) -> None:
    text = TEXT.replace(b"\n", b"\r\n") * 3
    reading = read(log(entry(level="ERROR", message="no answer 5")[:-1] + b"\r\n" + text))
    assert window(reading).entries == 4 and window(reading).failures == 4
    assert {key[2] for key in window(reading).messages} == {"no answer #"}


def test_text_with_fractions_of_seconds_counts_as_text_without(log: Callable[..., Path]) -> None:
    for fraction in (b",123", b".123456"):
        reading = read(log(TEXT.replace(b" [", fraction + b" [") * 3 + TEXT))
        assert (window(reading).failures, only(reading).text_lines, only(reading).other_lines) == (4, 4, 0)
        assert sum(seen.count for seen in window(reading).messages.values()) == 4


def test_escapes_are_what_they_stand_for(log: Callable[..., Path]) -> None:
    line = b'{"\\u0074imestamp": "2026-03-10T00:00:0\\u0030.000000Z", "level": "\\u0045RROR", '
    line += b'"message": "\\u00e4 \\ud83d\\ude00"}\n'
    reading = read(log(line))
    assert [key[2] for key in window(reading).messages] == ["ä 😀"]


def one(log: Callable[..., Path], extra: bytes) -> Tally:
    """Read a line with something odd in it, between good ones, which count in any case."""
    line = b'{"timestamp": "2026-03-10T00:00:00.000000Z", "level": "ERROR", "path": "/odd", ' + extra + b"}\n"
    reading = read(log(request() + line + request()), workers=1)
    assert window(reading).entries == 3 and only(reading).malformed == 0 and not only(reading).problem
    return window(reading)


@pytest.mark.parametrize("value", [b"1e999", b"NaN", b"Infinity", b"-Infinity", b'"nan"', b'"soon"', b"[]", b"null"])
def test_a_duration_that_is_none_is_left_out_and_the_entry_counts(log: Callable[..., Path], value: bytes) -> None:
    tally = one(log, b'"duration_ms": ' + value)
    assert tally.requests == 3 and "/odd" not in tally.durations and sum(tally.durations["/items"].values()) == 2


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (b"401", "401"),
        (b'"401"', "401"),
        (b"401.0", "401"),
        (b'"gone"', None),
        (b"true", None),
        (b"null", None),
        (b"9" * 400, None),
        (b"-401", None),
        (b"99999", None),
    ],
)
def test_a_status_counts_however_it_is_written_and_none_is_none(
    log: Callable[..., Path], told: bytes, status: str | None
) -> None:
    tally = one(log, b'"status_code": ' + told)
    assert [key[0] for key in tally.refused] == ([] if status is None else [status])


def test_of_a_key_told_twice_the_last_counts(log: Callable[..., Path]) -> None:
    tally = one(log, b'"status_code": 200, "status_code": 503')
    assert [key[0] for key in tally.refused] == ["503"]


def test_half_a_surrogate_is_a_damaged_sign_and_not_a_damaged_line(log: Callable[..., Path]) -> None:
    tally = one(log, b'"message": "no file \\udcff", "level": "ERROR"')
    assert [key[2] for key in tally.messages] == ["no file ?"]


@pytest.mark.parametrize("workers", [None, 2])
def test_deeply_nested_json_harms_nothing(log: Callable[..., Path], workers: int | None) -> None:
    deep = b'{"timestamp": "2026-03-10T00:00:00.000000Z", "x": ' + b"[" * 100_000
    reading = read(
        log(entry() + deep + b"\n" + deep + b"]" * 100_000 + b"}\n" + b"[" * 100_000 + b"\n" + entry()), workers=workers
    )
    assert window(reading).entries == 2 and only(reading).malformed == 3


def test_a_path_of_a_megabyte_is_cut(log: Callable[..., Path]) -> None:
    reading = read(log(request(path="/" + "a" * 1_000_000, status_code=500)))
    assert max(len(text) for key in window(reading).refused for text in key) <= 300
    assert max(map(len, window(reading).durations)) <= 300


@pytest.mark.parametrize("path", ["{{" * 500_000, "' or " * 200_000, "%25" * 300_000, "union " + " " * 900_000])
def test_no_path_makes_the_search_for_attacks_slow(path: str) -> None:
    began = time.perf_counter()
    for _ in range(10):
        rule_of(path)
    assert time.perf_counter() - began < 0.5


# --- times


def test_entries_of_the_future_are_told_and_not_in_the_window(log: Callable[..., Path]) -> None:
    told = job(DAY, DAY + HOUR, latest=as_stamp(DAY + HOUR))
    text = b"2031-01-01 00:00:00 [INFO] a:b:1: late\n"
    reading = read(log(entry() * 3 + entry(DAY + timedelta(days=400)) * 2 + text), told)
    assert window(reading).entries == 3 and reading.future == 3
    assert reading.newest == "2031-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-03-10T02:30:00.5+02:00",
        "2026-03-10 02:30:00+02:00",
        "2026-03-10T00:30:00Z",
        "2026-03-10T00:30:00.000000Z",
        "20260310T003000Z",
        "2026-03-09T19:30:00.123-05:00",
        "2026-03-10T01:30:00",
        "2026-03-10T01:30:00.000000",
    ],
)
def test_timestamps_of_every_zone_count_at_their_moment(log: Callable[..., Path], stamp: str) -> None:
    # Without a zone they are local to the profile's: Vienna is an hour ahead in March.
    reading = read(log(entry(stamp) + request()), job(zone="Europe/Vienna"))
    assert {minute for minute, _ in window(reading).timeline} == {"2026-03-10T00:30", "2026-03-10T00:00"}


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-03-10T25:61:00.000000Z",
        "2026-02-30T00:00:00.000000Z",
        "2026-03-1\ufffdT00:00:00.000000Z",
        "",
        "yesterday",
        "2026-03-10T00:00:99.000000Z",
        "2026-03-10T00:00:00.00000xZ",
        "0000-00-00T00:00:00.000000Z",
        "x" * 100_000,
    ],
)
def test_what_is_no_time_is_malformed_and_its_neighbours_count(log: Callable[..., Path], stamp: str) -> None:
    reading = read(log(entry() + entry(stamp) + entry()))
    assert set(window(reading).timeline) == {("2026-03-10T00:00", "INFO")}
    assert window(reading).entries == 2 and only(reading).malformed == 1


def test_the_first_and_the_last_moment_of_all_time_break_nothing(log: Callable[..., Path]) -> None:
    lines = [b"0001-01-01 00:00:00 [ERROR] a:b:1: x\n", b"9999-12-31 23:59:59 [ERROR] a:b:1: x\n"]
    extremes = [entry("0001-01-01T00:00:00+14:00"), entry("9999-12-31T23:59:59-14:00")]
    for zone in ("Europe/Vienna", "America/New_York"):
        reading = read(log(b"".join(lines + extremes) + TEXT), job(zone=zone))
        assert window(reading).entries == 1


def vienna(*times: str) -> bytes:
    return b"".join(f"{time} [INFO] a:b:1: x\n".encode() for time in times)


def minutes(reading: Reading) -> list[str]:
    return sorted(minute for minute, _ in window(reading).timeline)


def test_text_of_the_spring_night_without_two_o_clock_is_in_utc(log: Callable[..., Path]) -> None:
    told = vienna("2026-03-29 01:59:59", "2026-03-29 03:00:00", "2026-03-29 03:30:00")
    reading = read(log(told), job(zone="Europe/Vienna"))
    assert minutes(reading) == ["2026-03-29T00:59", "2026-03-29T01:00", "2026-03-29T01:30"]


def test_text_of_the_autumn_night_with_two_o_clock_twice_is_all_there(log: Callable[..., Path]) -> None:
    told = vienna("2026-10-25 01:59:00", "2026-10-25 02:30:00", "2026-10-25 02:30:00", "2026-10-25 03:00:00")
    reading = read(log(told), job(zone="Europe/Vienna"))
    # Which of the two a line means, it does not say: both count as the first.
    assert minutes(reading) == ["2026-10-24T23:59", "2026-10-25T00:30", "2026-10-25T02:00"]
    assert window(reading).entries == 4


# --- order, and what of a big file is read


def hours(begin: datetime, count: int, per_hour: int = 600) -> bytes:
    filler = "f" * 200
    return b"".join(request(begin + n * HOUR / per_hour, filler=filler) for n in range(count * per_hour))


def counted(path: Path, begin: datetime, count: int = 1, **more: Any) -> Reading:
    return read(path, job(begin, begin + count * HOUR), **more)


def test_a_window_of_an_hour_reads_only_a_part_of_a_big_file(log: Callable[..., Path]) -> None:
    path = log(hours(DAY, 48))
    size = path.stat().st_size
    assert size > 8 << 20
    for hour in (0, 5, 24, 47):
        reading = counted(path, DAY + hour * HOUR)
        assert window(reading).entries == 600
        assert only(reading).bytes <= 4 << 20 and not only(reading).unordered


def test_a_window_in_a_middle_third_that_is_older_is_counted_exactly(log: Callable[..., Path]) -> None:
    path = log(hours(DAY, 16) + hours(DAY - 100 * HOUR, 16) + hours(DAY + 16 * HOUR, 16))
    for begin in (DAY - 100 * HOUR, DAY - 90 * HOUR, DAY - 85 * HOUR, DAY, DAY + 15 * HOUR, DAY + 16 * HOUR):
        assert window(counted(path, begin)).entries == 600, begin
    assert only(counted(path, DAY)).unordered


@pytest.mark.parametrize(("later", "earlier"), [(24, 24), (46, 2), (2, 46), (47, 1)])
def test_a_window_in_each_of_two_days_in_reverse_order_is_counted_exactly(
    log: Callable[..., Path], later: int, earlier: int
) -> None:
    path = log(hours(DAY + 100 * HOUR, later) + hours(DAY, earlier))
    assert path.stat().st_size > 8 << 20
    for begin, count in ((DAY, earlier), (DAY + 100 * HOUR, later)):
        for hour in {0, count // 2, count - 1}:
            reading = counted(path, begin + hour * HOUR)
            assert window(reading).entries == 600, hour
            assert only(reading).unordered
    assert window(counted(path, DAY, earlier)).entries == 600 * earlier


def test_what_has_no_time_for_long_does_not_hide_what_stands_around_it(log: Callable[..., Path]) -> None:
    noise = b"# nothing of a time\n" * 200_000
    path = log(hours(DAY, 12) + noise + hours(DAY + 12 * HOUR, 12) + noise + hours(DAY - 50 * HOUR, 2) + noise)
    for begin in (DAY - 50 * HOUR, DAY - 49 * HOUR, DAY, DAY + 11 * HOUR, DAY + 12 * HOUR, DAY + 23 * HOUR):
        assert window(counted(path, begin)).entries == 600, begin


def test_a_file_written_last_before_the_window_is_not_read(log: Callable[..., Path]) -> None:
    path = log(entry() * 5)
    os.utime(path, (DAY.timestamp(),) * 2)
    assert only(counted(path, DAY + 3 * HOUR)).bytes == 0
    assert only(counted(path, DAY)).bytes > 0


# --- workers


@pytest.fixture(scope="module")
def long_history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("long")
    told = events(5, DAY, DAY + timedelta(hours=40), 30_000, documented=True, attacked=True)
    write(folder, told, formats=("mixed",), damage=3, gz_older=True, rotate_bytes=2_000_000)
    yield f"{folder}/api_*.log*"


def test_two_workers_and_this_process_give_the_same_reading(long_history: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PART", 300_000)
    found = find_files([long_history])
    told = Job(
        [
            Period("window", as_stamp(DAY + 20 * HOUR), as_stamp(DAY + 40 * HOUR)),
            Period("before", as_stamp(DAY), as_stamp(DAY + 20 * HOUR)),
        ]
    )
    here, *others = (read(found, told, workers=workers) for workers in (None, 1, 2, 2))
    assert here.periods["window"].entries + here.periods["before"].entries > 30_000
    for other in others:
        here.seconds = other.seconds = 0
        assert other == here


def spied(monkeypatch: pytest.MonkeyPatch) -> "list[subprocess.Popen[bytes]]":
    """Return a list that every process started from now on comes into."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **more: Any) -> "subprocess.Popen[bytes]":
        started.append(popen(*arguments, **more))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    return started


@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_killed_in_the_middle_is_told_and_never_silently_wrong(
    log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, which: int
) -> None:
    monkeypatch.setattr(crew, "PART", 100_000)
    path = log(hours(DAY, 12))
    feed, fed = crew._feed, iter(range(2))

    def killing(worker: "subprocess.Popen[bytes]", *rest: Any) -> None:
        if next(fed) == which:
            os.kill(worker.pid, signal.SIGKILL)
        feed(worker, *rest)

    monkeypatch.setattr(crew, "_feed", killing)
    with pytest.raises(PassBroken, match="died"):
        read(path, workers=2)


def test_workers_that_are_killed_at_any_time_give_the_whole_or_nothing(
    log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "PART", 500_000)
    path, started = log(hours(DAY, 12)), spied(monkeypatch)
    for wait in (0.05, 0.15, 0.2, 0.25):
        timer = threading.Timer(wait, lambda: [worker.kill() for worker in started[-1:]])
        timer.start()
        try:
            assert window(read(path, workers=2)).entries == 7200
        except PassBroken:
            pass
        finally:
            timer.cancel()


def test_a_pass_that_takes_too_long_ends_its_workers_and_says_so(
    log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, started = log(hours(DAY, 12)), spied(monkeypatch)
    began = time.monotonic()
    with pytest.raises(PassTooLong, match=r"\d+ MiB of logs could not be read within 0.05 s"):
        read(path, workers=2, seconds=0.05)
    assert time.monotonic() - began < 3
    assert started and all(worker.returncode is not None for worker in started)


def test_a_pass_that_nobody_waits_for_ends(log: Callable[..., Path]) -> None:
    path = log(hours(DAY, 2))
    for workers in (None, 2):
        with pytest.raises(PassTooLong):
            read(path, workers=workers, stopped=lambda: True)


# --- searching


def test_a_search_meets_the_same_files(log: Callable[..., Path], tmp_path: Path) -> None:
    log(request(status_code=500, message="<script>") + b"\0\n" + b'{"x": ' + b"[" * 100_000 + b"\n" + entry(), "a_0")
    log(gzip.compress(history())[:-4000], "a_1")
    os.mkfifo(tmp_path / "a_2")
    found = search(Search(find_files([f"{tmp_path}/a_*"]), as_stamp(ALL[0]), as_stamp(ALL[1]), pattern="<script>"), 20)
    assert found.count == 1 and [line[2].count("<script>") for line in found.lines] == [1]
    assert {Path(path).name for path in found.problems} == {"a_1", "a_2"}


def test_a_stream_that_breaks_off_is_told_with_what_was_found_until_then(log: Callable[..., Path]) -> None:
    def breaking() -> Iterator[bytes]:
        yield entry() * 3
        raise ZeroDivisionError("the engine went away")

    wanted = Search([], as_stamp(ALL[0]), as_stamp(ALL[1]))
    found = search(wanted, 20, {"container:one": iter([entry() * 2]), "container:two": breaking()})
    assert found.count == 5 and {line[1] for line in found.lines} == {"container:one", "container:two"}
    assert found.problems == {"container:two": "the engine went away"}
