"""Count what the questions ask of the log's entries: one tally for each period, merged over files and workers."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from runbook.logfiles.durations import Durations
from runbook.logfiles.entries import FAILED, LEVELS, SERIOUS, Entry
from runbook.logfiles.masking import MESSAGE_CHARACTERS, masked, route
from runbook.logfiles.suspicious import rule_of

# Tables end here, and what is beyond is counted together: hostile input must not fill the memory.
KEYS_KEPT = 5000
LOGINS_KEPT = 10 * KEYS_KEPT
TIMELINE_ROWS = 200_000
PATHS_REMEMBERED = 20_000
OTHER = "(others)"
# The commonest path with an id: what stands before the id decides everything about it.
_ENDS_IN_ID = re.compile(r"((?:/[a-z_-]+)+/)(?:[0-9]+|(?=[a-f]*[0-9])[0-9a-f]{8,})")
EXAMPLE_CHARACTERS = 2000
WHO_CHARACTERS = 100


class Period(msgspec.Struct, frozen=True):
    """A period of time that is counted by itself: from ``since`` until just before ``until`` (canonical stamps)."""

    name: str
    since: str
    until: str


class Seen(msgspec.Struct):
    """How often something was seen, when first and last, and an example."""

    count: int = 0
    first: str = ""
    last: str = ""
    example: str = ""

    def add(self, stamp: str, example: str = "") -> None:
        """Count one more."""
        self.count += 1
        if not self.first or (stamp, example) < (self.first, self.example):
            self.first, self.example = stamp, example
        self.last = max(self.last, stamp)

    def merge(self, other: "Seen") -> None:
        """Count all that the other did."""
        self.count += other.count
        if not self.first or (other.first and (other.first, other.example) < (self.first, self.example)):
            self.first, self.example = other.first, other.example
        self.last = max(self.last, other.last)


Table = dict[tuple[str, ...], Seen]


class Tally(msgspec.Struct):
    """What one period of the log says.

    ``timeline`` counts entries by (minute, level); ``messages`` those of WARNING and worse by (level, logger, masked
    message); ``refused`` the answers of 400 and more by (status, method, path, user, client), empty where not recorded;
    ``failed_logins`` by (minute, user, client); ``suspicious`` by (rule, path as logged, status). ``durations`` are
    by path or operation, in microseconds to three significant digits. ``users_recorded`` and ``clients_recorded`` count
    refused requests that say who asked, ``without_status`` requests that do not say how they were answered.

    Tables end at `KEYS_KEPT` rows; what is beyond is counted as `OTHER`, by its level, its status or its rule.
    """

    timeline: dict[tuple[str, str], int] = {}
    messages: Table = {}
    refused: Table = {}
    failed_logins: dict[tuple[str, str, str], int] = {}
    suspicious: Table = {}
    durations: dict[str, dict[int, int]] = {}
    operations: dict[str, dict[int, int]] = {}
    requests: int = 0
    without_status: int = 0
    users_recorded: int = 0
    clients_recorded: int = 0
    text_lines: int = 0

    def merge(self, other: "Tally") -> None:
        """Add everything that another tally of the same period counted."""
        for name in ("requests", "without_status", "users_recorded", "clients_recorded", "text_lines"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for minute, count in other.timeline.items():
            self.timeline[minute] = self.timeline.get(minute, 0) + count
        for login, count in other.failed_logins.items():
            self.failed_logins[login] = self.failed_logins.get(login, 0) + count
        for table, added, kept in (
            (self.messages, other.messages, (0,)),
            (self.refused, other.refused, (0,)),
            (self.suspicious, other.suspicious, (0, 2)),
        ):
            for row, seen in added.items():
                _in(table, row, kept).merge(seen)
        for bins, others in ((self.durations, other.durations), (self.operations, other.operations)):
            for subject, counts in others.items():
                mine = bins.setdefault(subject if subject in bins or len(bins) < KEYS_KEPT else OTHER, {})
                for value, count in counts.items():
                    mine[value] = mine.get(value, 0) + count

    @property
    def entries(self) -> int:
        """Return how many entries there are."""
        return sum(self.timeline.values())

    @property
    def failures(self) -> int:
        """Return how many entries are of level ERROR or CRITICAL."""
        return sum(count for (_, level), count in self.timeline.items() if level in FAILED)


def _in(table: Table, key: tuple[str, ...], kept: tuple[int, ...] = (0,)) -> Seen:
    """Return the row of a key; of one too many that of all others, which keeps the ``kept`` places of the key."""
    seen = table.get(key)
    if seen is None:
        if len(table) >= KEYS_KEPT:
            key = tuple(OTHER if part and place not in kept else part for place, part in enumerate(key))
        seen = table.setdefault(key, Seen())
    return seen


def _status(entry: Entry) -> str:
    """Return the status of an answer; "" where there is none that HTTP knows."""
    return str(entry.status_code) if entry.status_code and 100 <= entry.status_code < 600 else ""


class FileRead(msgspec.Struct):
    """What was read of one file: bytes and lines, malformed ones, and what kept it from being read whole."""

    path: str
    bytes: int = 0
    json_lines: int = 0
    text_lines: int = 0
    other_lines: int = 0
    malformed: int = 0
    unordered: bool = False
    problem: str = ""

    def merge(self, other: "FileRead") -> None:
        """Add another part of the same file."""
        for name in ("bytes", "json_lines", "text_lines", "other_lines", "malformed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.unordered = self.unordered or other.unordered
        self.problem = self.problem or other.problem


class Reading(msgspec.Struct):
    """All that a pass over the log found: a tally for each period, the files, and the entries later than ``now``."""

    periods: dict[str, Tally] = {}
    files: dict[str, FileRead] = {}
    future: int = 0
    newest: str = ""
    oldest: str = ""
    seconds: float = 0.0

    def merge(self, other: "Reading") -> None:
        """Add what another worker read."""
        for name, tally in other.periods.items():
            self.periods.setdefault(name, Tally()).merge(tally)
        for path, read in other.files.items():
            self.files.setdefault(path, FileRead(path)).merge(read)
        self.future += other.future
        self.newest = max(self.newest, other.newest)
        self.oldest = min(filter(None, (self.oldest, other.oldest)), default="")


class Tallier:
    """Counts entries into a tally, in bulk where they are ordinary."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._paths: dict[str, Callable[[float], None]] = {}
        self._prefixes: dict[str, Callable[[float], None]] = {}
        self._durations: dict[str, Durations] = {}
        self._operations: dict[str, Durations] = {}
        self._messages: dict[str, str] = {}
        self._last = ("", "", "")
        self._timeline: Counter[tuple[str, str]] = Counter()
        self._most_rows = TIMELINE_ROWS

    def add(self, entries: Sequence[Entry]) -> None:
        """Count entries; their timestamps are canonical."""
        self._timeline.update([(entry.timestamp[:16], entry.level) for entry in entries])
        paths, requests, without_status = self._paths, 0, 0
        for entry in entries:
            path, duration = entry.path, entry.duration_ms
            if path is not None:
                requests += 1
                try:
                    append = paths[path]
                except KeyError:
                    append = self._new_path(path, entry)
                if duration is not None:
                    append(duration)
                status = entry.status_code
                if status is None:
                    without_status += 1
                elif status >= 400:
                    self._refused(entry)
            elif duration is not None:
                self._operation(entry, duration)
            if entry.level != "INFO" and entry.level in SERIOUS:
                self._message(entry)
        self.tally.requests += requests
        self.tally.without_status += without_status
        if len(self._timeline) > self._most_rows:
            self._fold_levels()
        for held in self._durations.values():
            if held.full:
                held.settle()

    def add_text_counts(self, counts: "Counter[tuple[str, str]]") -> None:
        """Count entries of the text format that need no closer look, by (UTC minute, level)."""
        self._timeline.update(counts)

    def add_text(self, entry: Entry) -> None:
        """Count the message of an entry of the text format that is serious; the timeline has it already."""
        self._message(entry)

    def done(self) -> Tally:
        """Return the tally with everything in it."""
        tally = self.tally
        for key, count in self._timeline.items():
            tally.timeline[key] = tally.timeline.get(key, 0) + count
        self._timeline.clear()
        for bins, held in ((tally.durations, self._durations), (tally.operations, self._operations)):
            for subject, durations in held.items():
                durations.settle()
                if durations.counted:
                    bins[subject] = dict(durations.counted)
        return tally

    def _fold_levels(self) -> None:
        """Count levels that are none together, so that their number ends."""
        folded: Counter[tuple[str, str]] = Counter()
        for (minute, level), count in self._timeline.items():
            folded[(minute, level if level in LEVELS else OTHER)] += count
        self._timeline = folded
        self._most_rows = max(TIMELINE_ROWS, 2 * len(folded))

    def _new_path(self, path: str, entry: Entry) -> Callable[[float], None]:
        one_of_many = _ENDS_IN_ID.fullmatch(path)
        if one_of_many is not None and one_of_many[1] in self._prefixes:
            return self._prefixes[one_of_many[1]]
        rule, shown = self._about(path)
        if rule:
            # Never remembered: each time it is seen it is counted as suspicious again.
            key = (rule, path[:MESSAGE_CHARACTERS], _status(entry))
            _in(self.tally.suspicious, key, (0, 2)).add(entry.timestamp, (entry.user or "")[:WHO_CHARACTERS])
            return self._of(self._durations, OTHER).append
        append = self._of(self._durations, shown).append
        if len(path) > MESSAGE_CHARACTERS:
            return append
        known = self._paths if one_of_many is None else self._prefixes
        if len(known) >= PATHS_REMEMBERED:
            known.clear()
        known[path if one_of_many is None else one_of_many[1]] = append
        return append

    def _about(self, path: str) -> tuple[str, str]:
        """Return the rule that a path breaks and its route; asked again for the same one, at once."""
        if path != self._last[0]:
            self._last = (path, rule_of(path), route(path))
        return self._last[1:]

    @staticmethod
    def _of(table: dict[str, Durations], subject: str) -> Durations:
        durations = table.get(subject)
        if durations is None:
            if len(table) >= KEYS_KEPT:
                subject = OTHER
            durations = table.setdefault(subject, Durations())
        return durations

    def _operation(self, entry: Entry, duration: float) -> None:
        subject = entry.operation or (f"llm {entry.provider}" if entry.provider else entry.logger) or "unnamed"
        held = self._of(self._operations, subject[:MESSAGE_CHARACTERS])
        held.append(duration)
        if held.full:
            held.settle()

    def _refused(self, entry: Entry) -> None:
        path, status = entry.path or "", _status(entry)
        if not status:
            return
        user = (entry.user or "")[:WHO_CHARACTERS]
        client = (entry.client or entry.client_ip or "")[:WHO_CHARACTERS]
        self.tally.users_recorded += user != ""
        self.tally.clients_recorded += client != ""
        # An attack's own path would be a row each time; its rule is counted elsewhere.
        rule, shown = self._about(path)
        key = (status, (entry.method or "")[:WHO_CHARACTERS], OTHER if rule else shown, user, client)
        _in(self.tally.refused, key).add(entry.timestamp)
        if entry.status_code == 401 and path.rstrip("/").endswith("/auth/login"):
            login, logins = (entry.timestamp[:16], user, client), self.tally.failed_logins
            if login not in logins and len(logins) >= LOGINS_KEPT:
                login = (login[0], OTHER if user else "", OTHER if client else "")
            logins[login] = logins.get(login, 0) + 1

    def _message(self, entry: Entry) -> None:
        message = self._messages.get(entry.message)
        if message is None:
            message = masked(entry.message)
            if len(self._messages) >= KEYS_KEPT:
                self._messages.clear()
            if len(entry.message) <= EXAMPLE_CHARACTERS:
                self._messages[entry.message] = message
        key = (entry.level, entry.logger[:WHO_CHARACTERS], message)
        example = entry.message[:EXAMPLE_CHARACTERS]
        if entry.exception:
            example = f"{example}\n{entry.exception[-EXAMPLE_CHARACTERS:]}"
        _in(self.tally.messages, key).add(entry.timestamp, example)
