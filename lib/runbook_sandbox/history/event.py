"""One entry of the service's log, as what it is and not as how it is written down."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

REQUEST_LOGGER = "api.requests"
REQUEST_KEYS = ("method", "path", "status_code", "duration_ms", "user_id")
CLIENT_KEYS = (*REQUEST_KEYS, "client")
SQL_INJECTION, TRAVERSAL, SCANNER = "sql injection", "path traversal", "scanner"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(slots=True)
class Event:
    """One entry; `pattern`, `path_pattern` and `attack` are known from how it was made, not found out by looking."""

    at: int
    """Microseconds since 1970, UTC."""
    level: str
    logger: str
    module: str
    function: str
    line: int
    message: str
    pattern: str
    """The message with each number as `#` and each hex id or uuid as `<id>`."""
    extra: dict[str, Any]
    """The further JSON keys, in the order in which they are recorded."""
    path_pattern: str = ""
    """The path of a request with each id in it as `{id}`."""
    attack: str = ""
    """The rule by which the request is suspicious, or nothing."""
    traceback: tuple[str, ...] = ()


def microseconds(moment: datetime) -> int:
    """Return a moment with a zone as an event tells it."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(at: int) -> datetime:
    """Return when an event happened, in UTC."""
    return _EPOCH + timedelta(microseconds=at)


def request(
    at: int,
    method: str,
    path: str,
    status: int,
    duration: float,
    *,
    user: str | None = None,
    client: str | None = None,
    pattern: str = "",
    attack: str = "",
) -> Event:
    """Make the entry that the service writes for each request; `pattern` only where the path holds an id."""
    extra: dict[str, Any] = {
        "method": method,
        "path": path,
        "status_code": status,
        "duration_ms": duration,
        "user_id": user,
    }
    if client is not None:
        extra["client"] = client
    if status < 400:
        level, line, message = "INFO", 379, "API request completed"
    elif status < 500:
        level, line, message = "WARNING", 377, "API request error"
    else:
        level, line, message = "ERROR", 375, "API request failed"
    return Event(
        at,
        level,
        REQUEST_LOGGER,
        "logging_config",
        "log_api_request",
        line,
        message,
        message,
        extra,
        pattern or path,
        attack,
    )
