"""An entry as a line of the log: JSON as the service writes it and as others might, or text."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from json.encoder import encode_basestring as quoted  # what json.dumps itself uses when ASCII is not asked for
from random import Random
from typing import Any

from runbook_sandbox.history.event import CLIENT_KEYS, REQUEST_KEYS, Event

_DAY = 86_400_000_000


_SECONDS = tuple(f":{second:02d}" for second in range(60))


@lru_cache(maxsize=256)
def _minute(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M")


@lru_cache(maxsize=256)
def _local_minute(minute: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(minute * 60, zone).strftime("%Y-%m-%d %H:%M")


def _value(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return quoted(value)
    if kind is float or kind is int:
        return repr(value)
    return "null" if value is None else json.dumps(value, ensure_ascii=False)


def canonical(event: Event) -> bytes:
    """Return the line just as the service's formatter writes it."""
    at, extra = event.at, event.extra
    minute, micros = divmod(at, 60_000_000)
    second, fraction = divmod(micros, 1_000_000)
    keys = tuple(extra)
    if keys in (REQUEST_KEYS, CLIENT_KEYS):
        user = extra["user_id"]
        more = (
            f'"method": "{extra["method"]}", "path": {quoted(extra["path"])}, "status_code": {extra["status_code"]}, '
            f'"duration_ms": {extra["duration_ms"]!r}, "user_id": {"null" if user is None else quoted(user)}, '
        )
        if len(keys) == 6:
            more = f'{more}"client": "{extra["client"]}", '
    else:
        more = "".join([f'"{key}": {_value(value)}, ' for key, value in extra.items()])
    if event.traceback:
        more = f'"exception": {quoted(chr(10).join(event.traceback))}, {more}'
    past = f".{fraction:06d}" if fraction else ""  # isoformat() leaves out what is zero
    timestamp = f"{_minute(minute)}{_SECONDS[second]}{past}Z"
    return (
        f'{{"timestamp": "{timestamp}", "level": "{event.level}", "logger": "{event.logger}", '
        f'"message": {quoted(event.message)}, "module": "{event.module}", "function": "{event.function}", '
        f'"line": {event.line}, {more}"uptime": {at % _DAY / 1e6!r}}}\n'
    ).encode()


def _compact(record: dict[str, Any], _: int) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def _spaced(record: dict[str, Any], at: int) -> str:
    comma, colon, before = ((" ,  ", "\t:  ", " "), (",\t", " :", ""), ("  ,", ":\t", "\t"))[at % 3]
    text = json.dumps(record, ensure_ascii=False, separators=(comma, colon))
    return f"{before}{{ {text[1:-1]}\t}}{before}"


def _escaped(record: dict[str, Any], at: int) -> str:
    text = json.dumps(record)
    level, status = f'"level": "{record["level"]}"', '"status_code"'
    first = f"\\u{ord(record['level'][0]):04x}{record['level'][1:]}"
    changed = (f'"\\u006cevel": "{record["level"]}"', f'"level": "{first}"', f'"le\\u0076el": "{first}"')[at % 3]
    # The first place is the key itself: what comes before it, the time, holds no text of others.
    return text.replace(level, changed, 1).replace(status, '"status\\u005Fcode"', at % 2)


def _shuffled(record: dict[str, Any], at: int) -> str:
    keys = list(record)
    Random(at).shuffle(keys)  # noqa: S311
    return json.dumps({key: record[key] for key in keys}, ensure_ascii=False)


_STYLES: dict[str, Callable[[dict[str, Any], int], str]] = {
    "compact": _compact,
    "spaced": _spaced,
    "escaped": _escaped,
    "shuffled": _shuffled,
}
STYLES = ("canonical", "crlf", *_STYLES)


def as_json(event: Event, style: str = "canonical") -> bytes:
    """Return the entry as one line of JSON, with its newline, in one of `STYLES`."""
    line = canonical(event)
    if style == "canonical":
        return line
    if style == "crlf":
        return line[:-1] + b"\r\n"
    return f"{_STYLES[style](json.loads(line), event.at)}\n".encode()


def as_text(event: Event, tz: tzinfo = UTC) -> bytes:
    """Return the entry as text in a zone's local time: its line, and the lines of its traceback."""
    traceback = "".join([f"{line}\n" for line in event.traceback]) if event.traceback else ""
    minute, second = divmod(event.at // 1_000_000, 60)
    return (
        f"{_local_minute(minute, tz)}{_SECONDS[second]} [{event.level}] "
        f"{event.logger}:{event.function}:{event.line}: {event.message}\n{traceback}"
    ).encode()
