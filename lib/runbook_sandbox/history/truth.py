"""What a reader of the log ought to find, counted from what happened and never from what was written."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime

from runbook_sandbox.history.event import Event, microseconds, moment

_MINUTE = 60_000_000
_TROUBLE = ("WARNING", "ERROR", "CRITICAL")


@dataclass(frozen=True, slots=True)
class Seen:
    """How often a pattern was logged, and when."""

    count: int
    first: datetime
    last: datetime


class Truth:
    """Counts of the entries within [since, until), each bound left out where it is None."""

    def __init__(self, since: datetime | None = None, until: datetime | None = None) -> None:
        self._since = -(2**63) if since is None else microseconds(since)
        self._until = 2**63 if until is None else microseconds(until)
        self._minutes: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
        self._patterns: dict[tuple[str, str], list[int]] = {}
        self._durations: defaultdict[str, list[float]] = defaultdict(list)
        self._operations: defaultdict[str, list[float]] = defaultdict(list)
        self.spoilt_errors = 0
        """Errors whose message holds bad bytes: in every count, but under no pattern."""
        self.auth: Counter[tuple[int, str]] = Counter()
        """Refusals by status (401, 403) and path pattern."""
        self.failed_logins_by_user: Counter[str] = Counter()
        self.failed_logins_by_client: Counter[str] = Counter()
        self.server_errors: Counter[tuple[int, str]] = Counter()
        self.rate_limited: Counter[str] = Counter()
        self.suspicious: Counter[tuple[str, str]] = Counter()
        """Suspicious requests by rule and path as logged."""

    def add(self, event: Event, recorded: bool = True, spoilt: bool = False) -> None:
        """Count an entry; `recorded` is False for a text line, `spoilt` True for one with bad bytes in its message."""
        at = event.at
        if not recorded:
            at -= at % 1_000_000
        if not self._since <= at < self._until:
            return
        level, extra = event.level, event.extra
        self._minutes[level][at // _MINUTE] += 1
        if level != "INFO" and level in _TROUBLE:
            self._add_trouble(event, at, spoilt)
        if not recorded:
            return
        if "status_code" in extra:
            self._durations[event.path_pattern].append(extra["duration_ms"])
            if event.attack:
                self.suspicious[event.attack, extra["path"]] += 1
            if extra["status_code"] >= 400:
                self._add_refused(event)
        elif "duration_ms" in extra:
            name = "llm" if "provider" in extra else extra["operation"]
            self._operations["database" if name == "database_query" else name].append(extra["duration_ms"])

    def _add_trouble(self, event: Event, at: int, spoilt: bool) -> None:
        if spoilt:
            self.spoilt_errors += event.level != "WARNING"
            return
        seen = self._patterns.setdefault((event.level, event.pattern), [0, at, at])
        seen[0] += 1
        seen[1], seen[2] = min(seen[1], at), max(seen[2], at)

    def _add_refused(self, event: Event) -> None:
        extra, path = event.extra, event.path_pattern
        status = extra["status_code"]
        if status >= 500:
            self.server_errors[status, path] += 1
        elif status == 429:
            self.rate_limited[path] += 1
        elif status in (401, 403):
            self.auth[status, path] += 1
            if status == 401 and path == "/auth/login":
                if extra["user_id"] is not None:
                    self.failed_logins_by_user[extra["user_id"]] += 1
                if "client" in extra:
                    self.failed_logins_by_client[extra["client"]] += 1

    @property
    def levels(self) -> dict[str, int]:
        """Entries by level."""
        return {level: sum(minutes.values()) for level, minutes in self._minutes.items()}

    @property
    def entries(self) -> int:
        """All entries."""
        return sum(self.levels.values())

    @property
    def errors(self) -> int:
        """Entries of the levels ERROR and CRITICAL."""
        return self.levels.get("ERROR", 0) + self.levels.get("CRITICAL", 0)

    @property
    def failed_logins(self) -> int:
        """Log-ins that were refused with 401, whoever tried."""
        return self.auth[401, "/auth/login"]

    def patterns(self, *levels: str) -> dict[str, Seen]:
        """Return the patterns of the levels; without any, of WARNING, ERROR and CRITICAL."""
        found: dict[str, Seen] = {}
        for (level, pattern), (count, first, last) in self._patterns.items():
            if not levels or level in levels:
                before = found.get(pattern)
                now = Seen(count, moment(first), moment(last))
                if before:
                    now = Seen(count + before.count, min(before.first, now.first), max(before.last, now.last))
                found[pattern] = now
        return found

    @property
    def error_patterns(self) -> dict[str, Seen]:
        """The patterns of ERROR and CRITICAL."""
        return self.patterns("ERROR", "CRITICAL")

    @property
    def timeline(self) -> dict[tuple[str, str], int]:
        """Entries by minute ("YYYY-MM-DDTHH:MM", UTC) and level."""
        return {
            (f"{moment(minute * _MINUTE):%Y-%m-%dT%H:%M}", level): count
            for level, minutes in self._minutes.items()
            for minute, count in minutes.items()
        }

    @property
    def durations(self) -> dict[str, list[float]]:
        """Milliseconds of the requests by path pattern, sorted."""
        return {path: sorted(values) for path, values in self._durations.items()}

    @property
    def operations(self) -> dict[str, list[float]]:
        """Milliseconds of candidate_generation, llm and database, sorted."""
        return {name: sorted(values) for name, values in self._operations.items()}

    def new_patterns(self, before: "Truth") -> dict[str, Seen]:
        """Return the patterns of WARNING and worse that are here and not in an earlier truth."""
        known = before.patterns()
        return {pattern: seen for pattern, seen in self.patterns().items() if pattern not in known}
