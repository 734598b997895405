"""The past as blocks of Prometheus's storage: made by promtool once, kept for the sandboxes of the same day and hour.

Making five weeks takes some seconds, and each `sandbox up` wants the same: what was before midnight and what was since
then until the hour is kept in the user's cache folder, and only the minutes since are made each time. The folder holds
no more than two of each kind and mode, some 20 MB.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

import platformdirs

from runbook_sandbox.monitoring.history import Past, Text

# promtool reads the whole text once for each block: with one text for each block it reads no text twice for nothing.
BLOCK_HOURS = 162  # one of the lengths that it knows: 2 h times a power of 3
KEPT = 2
_SECONDS = 120
_LEFT_SECONDS = 3600


class Blocks:
    """The blocks of a past; ``environment`` is what promtool runs in."""

    def __init__(self, promtool: str, past: Past, environment: Mapping[str, str]) -> None:
        self._promtool = promtool
        self._past = past
        self._environment = environment

    @cached_property
    def _text(self) -> Text:
        return Text(self._past)

    def put(self, folder: Path) -> None:
        """Put the blocks into a folder of Prometheus's; raises `CalledProcessError` or `OSError`."""
        day, hour = self._past.truth.day, self._past.until.replace(minute=0, second=0)
        end = self._past.until + timedelta(seconds=1)
        with _cache() as cache:
            self._put_kept(cache, "day", self._past.truth.begins, day, folder)
            if hour > day:
                self._put_kept(cache, "hour", day, hour, folder)
            with tempfile.TemporaryDirectory(dir=cache) as made:
                self._make(Path(made), hour, end)
                _copy(Path(made), folder)

    def _put_kept(self, cache: Path, kind: str, since: datetime, until: datetime, folder: Path) -> None:
        times = (since.isoformat(), until.isoformat())
        facts = (_sources(), str(self._past.machine), sorted(self._past.jobs), self._promtool, times)
        kind = f"{kind}-{'documented' if self._past.documented else 'as-built'}"
        kept = cache / f"{kind}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:20]}"
        with _locked(cache, fcntl.LOCK_SH):
            if kept.is_dir():
                os.utime(kept)
                _copy(kept, folder)
                return
        with _locked(cache, fcntl.LOCK_EX):
            if not kept.is_dir():  # another sandbox may have been quicker
                with tempfile.TemporaryDirectory(dir=cache) as made:
                    self._make(Path(made), since, until)
                    Path(made).rename(kept)
                    Path(made).mkdir()  # which is what the end of this block removes
                _forget(cache, kind)
            _copy(kept, folder)

    def _make(self, folder: Path, since: datetime, until: datetime) -> None:
        """Make the blocks of some time, each from a text of its own."""
        length = BLOCK_HOURS * 3600
        begins = range(int(since.timestamp()) // length * length, int(until.timestamp()), length)

        def make(begin: int) -> None:
            with tempfile.NamedTemporaryFile(suffix=".txt", dir=folder.parent) as file:
                text = Path(file.name)
                if self._text.write(text, max(begin, since.timestamp()), min(begin + length, until.timestamp())):
                    argv = [self._promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet"]
                    argv += [f"--max-block-duration={BLOCK_HOURS}h", str(text), str(folder)]
                    subprocess.run(
                        argv, check=True, capture_output=True, text=True, timeout=_SECONDS, env=self._environment
                    )

        _ = self._text  # before the threads ask for it
        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            list(threads.map(make, begins))


@contextmanager
def _cache() -> Iterator[Path]:
    """Hold the folder that keeps blocks; one that lasts no longer than this where the user has none to write in."""
    folder = platformdirs.user_cache_path("runbook") / "past"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
        return
    yield folder


@contextmanager
def _locked(cache: Path, kind: int) -> Iterator[None]:
    with (cache / "lock").open("a") as file:
        fcntl.flock(file, kind)
        yield


def _forget(cache: Path, kind: str) -> None:
    """Remove what was used longest ago, and what another left behind that was ended while it made some."""
    for old in sorted(cache.glob(f"{kind}-*"), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    for left in cache.glob("tmp*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _copy(blocks: Path, folder: Path) -> None:
    for block in blocks.iterdir():
        if block.is_dir():
            shutil.copytree(block, folder / block.name)


def _sources() -> list[str]:
    folder = Path(__file__).parent
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.py"))]
