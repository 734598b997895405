"""What one line of the service's log says, in either of its formats."""

import json
import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

# 2026-11-23T15:46:55.573144Z: what the service writes; lines of this form compare as text.
STAMP_CHARACTERS, MINUTE_CHARACTERS = 27, 16
SECONDS = frozenset(f":{second:02d}" for second in range(60))
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
SERIOUS = frozenset({"WARNING", "ERROR", "CRITICAL"})
FAILED = frozenset({"ERROR", "CRITICAL"})

HEADER = re.compile(
    rb"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:[.,]\d+)? \[([A-Z]+)\] ([^\s:]*):([^:]*):(\d+): (.*)", re.DOTALL
)


class Entry(msgspec.Struct, gc=False):
    """One entry of the log; what its line does not record is None."""

    timestamp: str
    level: str = "INFO"
    logger: str = ""
    message: str = ""
    method: str | None = None
    path: str | None = None
    status_code: int | None = None
    duration_ms: float | None = None
    user_id: str | int | None = None
    username: str | None = None
    client: str | None = None
    client_ip: str | None = None
    operation: str | None = None
    provider: str | None = None
    exception: str | None = None

    @property
    def user(self) -> str | None:
        """Return who asked, where the line records it."""
        name = self.user_id if self.user_id is not None else self.username
        return None if name is None else str(name)

    @property
    def subject(self) -> str:
        """Return what took the time that an entry without a path tells."""
        return self.operation or (f"llm {self.provider}" if self.provider else self.logger) or "unnamed"


_entries = msgspec.json.Decoder(Entry, strict=False)


def decode_lines(lines: bytes) -> list[Entry]:
    """Return the entries of whole JSON lines at once; raises `msgspec.MsgspecError` where one is not well."""
    return _entries.decode_lines(lines)


def decode_line(line: bytes) -> Entry | None:
    """Return the entry of one JSON line, or None where it is malformed.

    Bytes that are no UTF-8 and control signs inside a text, which JSON forbids, are replaced: the line still says what
    it says. A field of another type than expected is left out.
    """
    try:
        return _entries.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        told = mended(line)
    try:
        return _entries.decode(told)
    except (msgspec.MsgspecError, RecursionError):
        return _of_odd_types(told)


def mended(line: bytes) -> str:
    """Return a JSON line as a text in which signs that JSON forbids are replaced."""
    signs = line.strip().decode("utf-8", "replace")
    return "".join(sign if sign >= " " or sign == "\t" else "�" for sign in signs).replace("\t", " ")


def _of_odd_types(line: str) -> Entry | None:
    # Python's own writer of JSON knows NaN, Infinity and halves of surrogates, and its reader too.
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("timestamp"), str):
        return None
    kept: dict[str, Any] = {"timestamp": told["timestamp"]}
    for name in Entry.__struct_fields__[1:]:
        value = told.get(name)
        if isinstance(value, str):
            value = value.encode("utf-8", "replace").decode()
        if value is None or (isinstance(value, float) and not math.isfinite(value)):
            continue
        try:
            kept[name] = getattr(msgspec.convert({**kept, name: value}, Entry, strict=False), name)
        except (msgspec.ValidationError, OverflowError):
            continue
    return Entry(**kept)


@lru_cache(maxsize=4096)
def utc_minute(minute: str, zone: str) -> str:
    """Return the UTC minute (YYYY-MM-DDTHH:MM) of a local one of the same form or with a space."""
    local = datetime.fromisoformat(minute).replace(tzinfo=ZoneInfo(zone))
    return local.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="minutes")


def canonical(stamp: str, zone: str) -> str | None:
    """Return a timestamp of any ISO form as the service writes it, in UTC; without a zone it is local to ``zone``.

    Returns None where it is no time.
    """
    try:
        moment = datetime.fromisoformat(stamp)
        moment = moment.replace(tzinfo=ZoneInfo(zone)) if moment.tzinfo is None else moment
        return as_stamp(moment)
    except (ValueError, OverflowError):
        return None


def as_stamp(moment: datetime) -> str:
    """Return a moment in the form that the service writes."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def from_stamp(stamp: str) -> datetime:
    """Return the moment of a timestamp in the form that the service writes."""
    return datetime.fromisoformat(stamp)


def text_entry(header: "re.Match[bytes]", stamp: str, exception: str | None = None) -> Entry:
    """Return the entry of a text line's header, which is of the moment ``stamp``, and of the lines after it."""
    return Entry(
        timestamp=stamp,
        level=header[3].decode(),
        logger=header[4].decode("utf-8", "replace"),
        message=header[7].rstrip(b"\r\n").decode("utf-8", "replace"),
        exception=exception,
    )


def later(stamp: str, seconds: float) -> str:
    """Return a timestamp some seconds later; at the end of all time, that end."""
    try:
        return as_stamp(from_stamp(stamp) + timedelta(seconds=seconds))
    except OverflowError:
        return stamp
