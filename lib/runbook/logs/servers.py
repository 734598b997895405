"""What do PostgreSQL and Redis complain of in their own logs?"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.masking import masked
from runbook.logfiles.pieces import Cut, of_stream
from runbook.logs.window import DEADLINE, PASS_SECONDS, Window
from runbook.logs.window import window as last_hours
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most
from runbook.model.units import counted

_POSTGRES = re.compile(
    rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.\d+)? ([A-Z]{2,5}|[+-]\d\d(?::?\d\d)?)\b"
    rb".*?\b(PANIC|FATAL|ERROR|WARNING|LOG):  (.*)"
)
# Whatever its level, such a line is an emergency, or close to one.
GRAVE = re.compile(
    r"remaining connection slots|too many clients|no space left|invalid page|could not read block|out of memory"
    r"|terminated by signal|crash of another server process|wraparound|invalid memory alloc",
    re.IGNORECASE,
)
# What to do about what is grave, by its words.
_AFTERWARDS = (
    ("connection slots", "see who holds the connections: connection-exhaustion"),
    ("too many clients", "see who holds the connections: connection-exhaustion"),
    ("no space left", "make room on the disk first; a slot that nobody uses may hold it"),
    ("invalid page", "preserve the files before anything else: pages are damaged"),
    ("could not read block", "preserve the files before anything else: pages are damaged"),
    ("out of memory", "see which statements take it, and what else the machine runs"),
    ("wraparound", "see what keeps vacuum back: database-maintenance"),
    ("terminated by signal", "who killed it: the machine for want of memory, or somebody"),
)
_REDIS = re.compile(rb"\d+:[XCSM] (\d\d \w{3} \d{4} \d\d:\d\d:\d\d)\.\d{3} ([.*#-]) (.*)")
# Redis has no word for it: # is a warning, * a notice, - and . are talk.
_REDIS_LEVELS = {b"#": "WARNING", b"*": "NOTICE", b"-": "VERBOSE", b".": "DEBUG"}
# What Redis writes with the mark of a warning at each start and end; true, and never what is looked for.
_ORDINARY = re.compile(r"oO0Oo|Redis version=|Configuration loaded|User requested shutdown|bye bye|Received SIG")
COLUMNS = ["level", "message", "count", "first", "last", "example"]

Parse = Callable[[bytes, ZoneInfo], tuple[datetime, str, str] | None]


def parse_postgres(line: bytes, zone: ZoneInfo) -> tuple[datetime, str, str] | None:
    """Return time, level and message of a line of WARNING and worse or that is grave (text or jsonlog), or None."""
    if line[:1] == b"{" and b'"error_severity"' in line:
        try:
            told = msgspec.json.decode(line)
            level, moment = told["error_severity"], told["timestamp"]
        except (msgspec.MsgspecError, KeyError, TypeError):
            return None
        found = _moment(str(moment)[:19], "%Y-%m-%d %H:%M:%S", zone)
        wanted = level in ("PANIC", "FATAL", "ERROR", "WARNING") and found is not None
        return (found, level, str(told.get("message", ""))) if wanted and found else None
    parts = _POSTGRES.match(line)
    if parts is None:
        return None
    # The server writes the zone beside the time; UTC and GMT are meant as they stand.
    local = ZoneInfo("UTC") if parts[2] in (b"UTC", b"GMT") else zone
    message = parts[4].decode("utf-8", "replace")
    if parts[3] == b"LOG" and not GRAVE.search(message):
        return None
    moment = _moment(parts[1].decode(), "%Y-%m-%d %H:%M:%S", local)
    return (moment, parts[3].decode(), message) if moment else None


def parse_redis(line: bytes, zone: ZoneInfo) -> tuple[datetime, str, str] | None:
    """Return time, level by Redis' own marks, and message of a line, or None."""
    parts = _REDIS.match(line)
    moment = _moment(parts[1].decode("utf-8", "replace"), "%d %b %Y %H:%M:%S", zone) if parts else None
    if parts is None or moment is None:
        return None
    return moment, _REDIS_LEVELS[parts[2]], parts[3].decode("utf-8", "replace")


def _moment(text: str, form: str, zone: ZoneInfo) -> datetime | None:
    try:
        return datetime.strptime(text, form).replace(tzinfo=zone).astimezone(UTC)
    except ValueError:
        return None


def _probe(asking: Asking, part: str, parse: Parse, asked: Window | None) -> pd.DataFrame:
    logs = asking.connection(LogsConnection)
    about = asked or last_hours(until=logs.opened_at.isoformat())
    zone = ZoneInfo(logs.logs.timezone)
    found: dict[tuple[str, str], list[object]] = {}
    problems, lines, end = [], 0, time.monotonic() + PASS_SECONDS
    for name, blocks in logs.blocks(part, about.since, about.until):
        if isinstance(blocks, str):
            problems.append(f"{name}: {blocks}")
            continue
        try:
            for line in _lines(blocks):
                lines += 1
                if lines % 4096 == 0 and (time.monotonic() > end or logs.stopped):
                    raise CouldNotFindOut(f"the log of {part} could not be read within {PASS_SECONDS:g} s")
                told = parse(line, zone)
                if told is None or not about.since <= told[0] < about.until:
                    continue
                _count(found, told)
        except (Cut, OSError) as error:
            problems.append(f"{name}: could not be read to its end ({error})")
    if not lines and problems:
        raise CouldNotFindOut("; ".join(problems))
    if not lines:
        places = ", ".join(getattr(logs.logs, part))
        raise CouldNotFindOut(f"nothing is logged since the window began, or no file is named {places}")
    rows = [(level, message, *counted) for (level, message), counted in found.items()]
    frame = pd.DataFrame(rows, columns=COLUMNS).sort_values("count", ascending=False, ignore_index=True)
    frame.attrs = {"lines": lines, "problems": problems, "until": f"{about.until:%Y-%m-%d %H:%M:%S}"}
    return frame


def _count(found: dict[tuple[str, str], list[object]], told: tuple[datetime, str, str]) -> None:
    moment, level, message = told
    stamp = moment.strftime("%Y-%m-%d %H:%M:%S")
    key = (level, masked(message))
    if key not in found and len(found) >= 2000:
        key = (level, "(others)")
    row = found.setdefault(key, [0, stamp, stamp, message[:500]])
    row[0] = int(str(row[0])) + 1
    row[1], row[2] = min(str(row[1]), stamp), max(str(row[2]), stamp)


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    for piece in of_stream(blocks):
        if piece is not None:
            yield from piece.split(b"\n")


def probe_postgres(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each message of WARNING and worse: level, message, count, first, last (UTC), example."""
    return _probe(asking, "postgres", parse_postgres, window)


def probe_redis(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each message: level (by Redis' marks), message (masked), count, first, last (UTC), example."""
    return _probe(asking, "redis", parse_redis, window)


def check_postgres(
    frame: pd.DataFrame, *, warning: float = 20, critical: float = 200, minutes: float = 10
) -> list[Finding]:
    """Judge any PANIC as CRITICAL, and what is grave while it lasts: until ``minutes`` before the window's end; what is
    over by then is a WARNING. FATAL are judged by their number; ERROR is told.

    A PANIC ends every connection. FATAL ends one: a wrong password, an unknown database, an administrator; some are
    there every day. An ERROR is mostly a statement that the application itself got wrong.
    """
    counted = frame.groupby("level")["count"].sum().to_dict()
    told = ", ".join(f"{counted.get(level, 0):,} {level}" for level in ("PANIC", "FATAL", "ERROR", "WARNING"))
    findings = _problems(frame)
    panics = frame[(frame["level"] == "PANIC") | frame["message"].str.contains(GRAVE)]
    for row in panics.to_dict("records"):
        lasts = row["level"] == "PANIC" or _minutes_between(row["last"], frame.attrs["until"]) <= minutes
        message = f"{row['count']:,} × {row['level']}, last {row['last']} UTC" + ("" if lasts else "; not since then")
        status = Status.CRITICAL if lasts else Status.WARNING
        after = next((then for words, then in _AFTERWARDS if words in row["message"].lower()), "")
        findings.append(Finding(object=row["message"][:150], status=status, message=message, next=after))
    # Who was told to end by an administrator, or by a plan, is no failure.
    fatal = frame[(frame["level"] == "FATAL") & ~frame["message"].str.contains("due to administrator command")]
    # The frame is in order of number: where nothing is fatal, the most frequent of all is told.
    often = fatal if len(fatal) else frame
    most = f"; most often: {often.iloc[0]['message'][:120]}" if len(often) else ""
    message = f"{told}{most}"
    findings.append(at_most("FATAL", float(fatal["count"].sum()), warning, critical, unit="entries", message=message))
    return findings


def _minutes_between(first: str, last: str) -> float:
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds() / 60


def check_redis(frame: pd.DataFrame, *, warning: float = 20, critical: float = 200) -> list[Finding]:
    """Judge the warnings (Redis' mark #).

    Redis writes a few at each start (memory overcommit, its backlog); what repeats is a failing save or replication.
    """
    warned = frame[frame["level"] == "WARNING"]
    count = int(warned["count"].sum())
    telling = warned[~warned["message"].str.contains(_ORDINARY)]
    most = f"; most often: {telling.iloc[0]['message'][:120]}" if len(telling) else ""
    message = (
        f"{counted(count, 'warning')} among {counted(frame.attrs['lines'], 'line')}{most}. Redis has no level ERROR"
    )
    return [*_problems(frame), at_most("warnings", float(count), warning, critical, unit="entries", message=message)]


def _problems(frame: pd.DataFrame) -> list[Finding]:
    return [
        Finding(object=problem.split(": ", 1)[0], status=Status.UNKNOWN, message=problem)
        for problem in frame.attrs["problems"]
    ]


postgres_log = Question(
    name="logs.postgres_log",
    title="What does PostgreSQL complain of in its own log?",
    probe=probe_postgres,
    check=check_postgres,
    source="PostgreSQL's log, the lines PANIC, FATAL, ERROR and WARNING of the window",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="'password authentication failed': who tries? 'remaining connection slots': connection slots are short",
)

redis_log = Question(
    name="logs.redis_log",
    title="What does Redis complain of in its own log?",
    probe=probe_redis,
    check=check_redis,
    source="Redis' log, the lines with the mark # of the window",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="a failing save: see the disk; 'overcommit' at the start: set vm.overcommit_memory",
)
