"""Count what the questions ask of the log's entries: one tally for each period, merged over files and workers."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from runbook.logfiles.durations import Durations
from runbook.logfiles.entries import FAILED, LEVELS, MINUTE_CHARACTERS, SERIOUS, Entry
from runbook.logfiles.masking import ENDS_IN_ID, MESSAGE_CHARACTERS, masked, route
from runbook.logfiles.suspicious import rule_of

# Tables end here, and what is beyond is counted together: hostile input must not fill the memory.
KEYS_KEPT = 5000
LOGINS_KEPT = 10 * KEYS_KEPT
TIMELINE_ROWS = 200_000
PATHS_REMEMBERED = 20_000
OTHER = "(others)"
EXAMPLE_CHARACTERS = 2000
WHO_CHARACTERS = 100
_DIGIT = re.compile(r"\d")
_ZEROED = bytes.maketrans(b"123456789", b"000000000")


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
        self.last = max(self.last, stamp)
        first = self.first
        if not first or stamp < first or (stamp == first and example < self.example):
            self.first, self.example = stamp, example

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


class _Path(msgspec.Struct, gc=False):
    """A path of requests that was looked at: what it is counted as, and where its durations go."""

    shown: str
    append: Callable[[float], None]


class _Refused(msgspec.Struct, gc=False):
    """A row of refused requests, and who asked."""

    seen: Seen
    user: str
    client: str


class Tallier:
    """Counts entries into a tally, in bulk where they are ordinary."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._paths: dict[str, _Path] = {}
        self._prefixes: dict[str, _Path] = {}
        self._durations: dict[str, Durations] = {}
        self._operations: dict[str, Durations] = {}
        self._messages: dict[bytes, str] = {}
        self._text_rows: dict[bytes, Seen] = {}
        self._refused_rows: dict[tuple[Any, ...], _Refused] = {}
        self._timeline: Counter[tuple[str, str]] = Counter()
        self._most_rows = TIMELINE_ROWS

    def add(self, entries: Sequence[Entry], low: str, high: str) -> None:
        """Count entries; their timestamps are canonical, none before ``low`` and none after ``high``."""
        self._times(entries, low, high)
        paths, requests, without_status = self._paths, 0, 0
        for entry in entries:
            path = entry.path
            if path is not None:
                requests += 1
                known = paths.get(path) or self._new_path(path, entry)
                duration = entry.duration_ms
                if duration is not None:
                    known.append(duration)
                if entry.status_code is None:
                    without_status += 1
                elif entry.status_code >= 400:
                    self._refused(entry, known.shown)
            elif entry.duration_ms is not None:
                self._operation(entry, entry.duration_ms)
            if entry.level != "INFO" and entry.level in SERIOUS:
                self._message(entry)
        self.tally.requests += requests
        self.tally.without_status += without_status
        for held in self._durations.values():
            if held.full:
                held.settle()

    def _times(self, entries: Sequence[Entry], low: str, high: str) -> None:
        minute = low[:MINUTE_CHARACTERS]
        if high.startswith(minute):
            for level, count in Counter([entry.level for entry in entries]).items():
                self._timeline[minute, level] += count
        else:
            self._timeline.update([(entry.timestamp[:MINUTE_CHARACTERS], entry.level) for entry in entries])
        if len(self._timeline) > self._most_rows:
            self._fold_levels()

    def add_text_counts(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count entries of the text format that need no closer look, by (UTC minute, level)."""
        self._timeline.update(counts)

    def add_text_again(self, stamp: str, told: bytes) -> bool:
        """Count the message of a serious line of the text format, from behind its time, where one that differs in its
        digits only was counted before and this one is not to be its example; tell whether it was.
        """
        seen = self._text_rows.get(told.translate(_ZEROED))
        if seen is None or stamp <= seen.first:
            return False
        seen.count += 1
        seen.last = max(seen.last, stamp)
        return True

    def add_text(self, entry: Entry, told: bytes) -> None:
        """Count the message of an entry of the text format that is serious; the timeline has it already."""
        seen = self._message(entry)
        if len(told) <= EXAMPLE_CHARACTERS and not _DIGIT.search(entry.logger):
            if len(self._text_rows) >= KEYS_KEPT:
                self._text_rows.clear()
            self._text_rows[told.translate(_ZEROED)] = seen

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

    def _new_path(self, path: str, entry: Entry) -> "_Path":
        one_of_many = ENDS_IN_ID.fullmatch(path)
        if one_of_many is not None and one_of_many[1] in self._prefixes:
            return self._prefixes[one_of_many[1]]
        rule = rule_of(path)
        if rule:
            # Never remembered: each time it is seen it is counted as suspicious again. Its own path would be a row of
            # the refused requests each time.
            key = (rule, path[:MESSAGE_CHARACTERS], _status(entry))
            _in(self.tally.suspicious, key, (0, 2)).add(entry.timestamp, (entry.user or "")[:WHO_CHARACTERS])
            return _Path(OTHER, self._of(self._durations, OTHER).append)
        shown = route(path)
        told = _Path(shown, self._of(self._durations, shown).append)
        if len(path) <= MESSAGE_CHARACTERS:
            known = self._paths if one_of_many is None else self._prefixes
            if len(known) >= PATHS_REMEMBERED:
                known.clear()
            known[path if one_of_many is None else one_of_many[1]] = told
        return told

    @staticmethod
    def _of(table: dict[str, Durations], subject: str) -> Durations:
        durations = table.get(subject)
        if durations is None:
            if len(table) >= KEYS_KEPT:
                subject = OTHER
            durations = table.setdefault(subject, Durations())
        return durations

    def _operation(self, entry: Entry, duration: float) -> None:
        held = self._of(self._operations, entry.subject[:MESSAGE_CHARACTERS])
        held.append(duration)
        if held.full:
            held.settle()

    def _refused(self, entry: Entry, shown: str) -> None:
        who = (entry.status_code, entry.method, shown, entry.user_id, entry.username, entry.client, entry.client_ip)
        row = self._refused_rows.get(who)
        if row is None:
            status = _status(entry)
            if not status:
                return
            user = (entry.user or "")[:WHO_CHARACTERS]
            client = (entry.client or entry.client_ip or "")[:WHO_CHARACTERS]
            key = (status, (entry.method or "")[:WHO_CHARACTERS], shown, user, client)
            if len(self._refused_rows) >= KEYS_KEPT:
                self._refused_rows.clear()
            row = self._refused_rows[who] = _Refused(_in(self.tally.refused, key), user, client)
        row.seen.add(entry.timestamp)
        self.tally.users_recorded += row.user != ""
        self.tally.clients_recorded += row.client != ""
        if entry.status_code == 401 and (entry.path or "").rstrip("/").endswith("/auth/login"):
            login, logins = (entry.timestamp[:MINUTE_CHARACTERS], row.user, row.client), self.tally.failed_logins
            if login not in logins and len(logins) >= LOGINS_KEPT:
                login = (login[0], OTHER if row.user else "", OTHER if row.client else "")
            logins[login] = logins.get(login, 0) + 1

    def _message(self, entry: Entry) -> Seen:
        # Which digits a message holds does not matter to what it is masked as.
        zeroed = entry.message.encode("utf-8", "replace").translate(_ZEROED)
        message = self._messages.get(zeroed)
        if message is None:
            message = masked(entry.message)
            if len(self._messages) >= KEYS_KEPT:
                self._messages.clear()
            if len(zeroed) <= EXAMPLE_CHARACTERS:
                self._messages[zeroed] = message
        key = (entry.level, entry.logger[:WHO_CHARACTERS], message)
        example = entry.message[:EXAMPLE_CHARACTERS]
        if entry.exception:
            example = f"{example}\n{entry.exception[-EXAMPLE_CHARACTERS:]}"
        seen = _in(self.tally.messages, key)
        seen.add(entry.timestamp, example)
        return seen
