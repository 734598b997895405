"""The service's own log: one line of JSON for each request, in ``logs/api_YYYYMMDD.log``."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_REQUEST_LINES = (  # from this status on: level, message, the line of the service's source that writes it
    (500, "ERROR", "API request failed", 375),
    (400, "WARNING", "API request error", 377),
    (0, "INFO", "API request completed", 379),
)


class RequestLog:
    """The log of one process: its file is named after the day on which the process started, and never changes."""

    def __init__(self, folder: Path) -> None:
        self._began = time.monotonic()
        path = folder / f"api_{datetime.now(UTC):%Y%m%d}.log"
        self._file = path.open("ab", buffering=0)
        for line, message in (
            (323, "Logging configured successfully"),
            (324, "Log level: INFO"),
            (325, "JSON format: True"),
            (328, f"File logging: logs/{path.name}"),
        ):
            self.say("INFO", "utils.logging_config", message, ("setup_logging", line))

    def say(self, level: str, logger: str, message: str, where: tuple[str, int], **extra: Any) -> None:
        """Write one line, in one write; ``where`` is the function and the line of the service's source."""
        now = datetime.now(UTC).replace(tzinfo=None)
        record = {
            "timestamp": f"{now.isoformat(timespec='microseconds')}Z",
            "level": level,
            "logger": logger,
            "message": message,
            "module": "logging_config" if logger == "api.requests" else logger.rpartition(".")[2],
            "function": where[0],
            "line": where[1],
            **extra,
            "uptime": round(time.monotonic() - self._began, 6),
        }
        # Half a surrogate pair, which a user name may hold, stays an escape.
        self._file.write(f"{json.dumps(record, ensure_ascii=False)}\n".encode("utf-8", "backslashreplace"))

    def request(self, method: str, path: str, status: int, seconds: float, user_id: str | None, **more: Any) -> None:
        """Write the line of a request that was answered."""
        _, level, message, line = next(told for told in _REQUEST_LINES if status >= told[0])
        self.say(
            level,
            "api.requests",
            message,
            ("log_api_request", line),
            method=method,
            path=path,
            status_code=status,
            duration_ms=round(seconds * 1000, 2),
            user_id=user_id,
            **more,
        )
