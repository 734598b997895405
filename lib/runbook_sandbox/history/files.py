"""The history as files: named, rotated, packed and damaged as on a server; or one big file to measure with."""

import gzip
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from pathlib import Path
from random import Random

from runbook_sandbox.history import damage as damages
from runbook_sandbox.history.event import Event, moment
from runbook_sandbox.history.generator import events as tell
from runbook_sandbox.history.rendering import as_json, as_text, canonical
from runbook_sandbox.history.truth import Truth

FORMATS = ("json", "text", "mixed")
_BROKEN_EVERY, _SPOILT_EVERY = 97, 61


@dataclass(slots=True)
class Written:
    """What was written."""

    paths: list[Path] = field(default_factory=list)
    """In the order of time."""
    lines: int = 0
    """All lines of all files: entries, lines of tracebacks and of messages, broken ones."""
    entries: int = 0
    spoilt: int = 0
    """Entries with bad bytes in their message."""
    broken: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Lines that are no entry, by kind ("cut", "binary", "empty", "huge") and format around them ("json", "text")."""

    @property
    def malformed(self) -> int:
        """Lines that are no entry, empty ones included."""
        return self.broken.total()


class _Scribe:
    """Turns entries into lines, damages some, and keeps the books."""

    def __init__(
        self,
        seed: int,
        styles: Sequence[str],
        tz: tzinfo,
        truths: Sequence[Truth],
        every: tuple[int, int] = (_BROKEN_EVERY, _SPOILT_EVERY),
    ) -> None:
        self.written = Written()
        self.styles, self.tz, self.truths = tuple(styles), tz, truths
        self.rng = Random(seed)  # noqa: S311
        self.damaging = bool(seed)
        self.every = every
        self.until_broken, self.until_spoilt = every[0] // 2, every[1] // 2
        self.kinds = list(damages.BROKEN)
        self.in_run, self.run_is_json = 0, False

    def _is_json(self, kind: str) -> bool:
        if kind == "mixed":
            if self.in_run == 0:
                self.in_run, self.run_is_json = self.rng.randint(150, 250), not self.run_is_json
            self.in_run -= 1
            return self.run_is_json
        return kind == "json"

    def line(self, event: Event, kind: str) -> bytes:
        """Return what is written for an entry in a file of a format: its lines, perhaps with a broken one before."""
        is_json = self._is_json(kind)
        render: Callable[[Event], bytes]
        if not is_json:
            render = self._text
        else:
            style = self.styles[event.at % len(self.styles)]
            render = canonical if style == "canonical" else lambda event: as_json(event, style)
        line, spoilt = render(event), False
        if self.damaging:
            line, spoilt = self._damaged(event, render, line, "json" if is_json else "text")
        self.written.entries += 1
        self.written.lines += line.count(b"\n")
        for truth in self.truths:
            truth.add(event, is_json, spoilt)
        return line

    def _text(self, event: Event) -> bytes:
        return as_text(event, self.tz)

    def _damaged(self, event: Event, render: Callable[[Event], bytes], line: bytes, kind: str) -> tuple[bytes, bool]:
        spoilt, whole = False, line
        self.until_spoilt -= 1
        if self.until_spoilt <= 0 and damages.can_be_spoilt(event):
            # By turns: a usual request, then an error as soon as there is one.
            wanted = "ERROR" if self.written.spoilt % 2 else "INFO"
            if event.level == wanted or self.until_spoilt < -20 * self.every[1]:
                bad = damages.BAD_BYTES[self.written.spoilt // 2 % len(damages.BAD_BYTES)]
                line, spoilt = damages.spoilt(event, render, bad), True
                self.written.spoilt += 1
                self.until_spoilt = self.every[1]
        self.until_broken -= 1
        if self.until_broken <= 0:
            self.until_broken = self.every[0]
            broken = self.kinds[self.written.malformed % len(self.kinds)]
            self.written.broken[broken, kind] += 1
            line = damages.BROKEN[broken](self.rng, whole) + line
        return line, spoilt


def _keep_time(path: Path, at: int) -> None:
    os.utime(path, ns=(at * 1000, at * 1000))


def _packed(path: Path, at: int) -> Path:
    packed = path.with_name(path.name + ".gz")
    with (
        path.open("rb") as plain,
        packed.open("wb") as raw,
        # Without a name and a time in its head, the same history gives the same bytes.
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=3, mtime=0) as target,
    ):
        shutil.copyfileobj(plain, target)
    path.unlink()
    _keep_time(packed, at)
    return packed


class _Rotating:
    """One log of one day: what was written to it so far, and the parts that were put aside."""

    def __init__(self, path: Path, rotate_bytes: int) -> None:
        self.path, self.rotate_bytes = path, rotate_bytes
        self.last = self.size = 0
        self.aside: list[tuple[Path, int]] = []
        self.file = path.open("wb")

    def write(self, line: bytes, at: int) -> None:
        if self.size and self.size + len(line) >= self.rotate_bytes:  # as logging's RotatingFileHandler decides
            self.file.close()
            part = self.path.with_name(f"{self.path.name}.part{len(self.aside)}")
            self.path.rename(part)
            self.aside.append((part, self.last))
            self.file, self.size = self.path.open("wb"), 0
        self.file.write(line)
        self.size += len(line)
        self.last = at

    def close(self) -> list[tuple[Path, int]]:
        """Give the parts their names: .1 is the one put aside last."""
        self.file.close()
        named = []
        for index, (part, last) in enumerate(self.aside):
            path = part.rename(self.path.with_name(f"{self.path.name}.{len(self.aside) - index}"))
            named.append((path, last))
        named.append((self.path, self.last))
        for path, last in named:
            _keep_time(path, last)
        return named


def write(
    folder: Path,
    events: Iterable[Event],
    *,
    stem: str = "api",
    formats: Sequence[str] = ("json",),
    rotate_bytes: int = 10_000_000,
    gz_older: bool = False,
    damage: int = 0,
    styles: Sequence[str] = ("canonical",),
    day_names: bool = True,
    tz: tzinfo = UTC,
    truths: Sequence[Truth] = (),
) -> Written:
    """Write entries into a folder as the service does: a file for each day, rotated by size.

    `formats`: what the days are written in, by turns; "mixed" changes between JSON and text every 200 entries or so.
    `gz_older`: the files of all days but the last are packed. `damage`: a seed, or 0 for none. `styles`: of JSON
    lines, mixed. `day_names`: False for one file STEM.log. `tz`: the zone of text lines and days. `truths`: each is
    told every entry.
    """
    scribe = _Scribe(damage, styles, tz, truths)
    logs: list[list[tuple[Path, int]]] = []
    log: _Rotating | None = None
    name, kind, ends = "", "", 0
    for event in events:
        if log is None or (day_names and event.at >= ends):
            local = moment(event.at).astimezone(tz)
            now = f"{stem}_{local:%Y%m%d}.log" if day_names else f"{stem}.log"
            midnight = (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            ends = int(midnight.timestamp()) * 1_000_000
            if now != name:
                if log is not None:
                    logs.append(log.close())
                kind, name = formats[len(logs) % len(formats)], now
                log = _Rotating(folder / name, rotate_bytes)
        assert log is not None
        log.write(scribe.line(event, kind), event.at)
    if log is not None:
        logs.append(log.close())
    for index, files in enumerate(logs):
        pack = gz_older and index < len(logs) - 1
        scribe.written.paths += [_packed(path, last) if pack else path for path, last in files]
    return scribe.written


BIG_UNTIL = datetime(2026, 11, 23, 16, 0, tzinfo=UTC)
BIG_SINCE = BIG_UNTIL - timedelta(hours=72)
_BIG_STYLES = ("canonical",) * 15 + ("compact",)
_BIG_DAMAGE = (5_000, 3_000)  # of so many entries one is broken, one spoilt


def fast_file(path: Path, size_bytes: int, seed: int, fmt: str) -> tuple[Truth, int]:
    """Write one big file of about a size over 72 hours, for measuring; return its truth and its malformed lines."""

    def history(count: int) -> Iterator[Event]:
        return tell(seed, BIG_SINCE, BIG_UNTIL, count, documented=True)

    sample, probe = _Scribe(0, _BIG_STYLES, UTC, ()), 10_000
    usual = sum(len(sample.line(event, fmt)) for event in history(probe)) / probe
    damaged = (damages.HUGE + 300) / len(damages.BROKEN) / _BIG_DAMAGE[0]
    truth = Truth()
    scribe = _Scribe(seed or 1, _BIG_STYLES, UTC, (truth,), _BIG_DAMAGE)
    with path.open("wb") as file:
        told = history(max(1, round(size_bytes / (usual + damaged))))
        while lines := [scribe.line(event, fmt) for event in islice(told, 2_000)]:
            file.write(b"".join(lines))
    return truth, scribe.written.malformed
