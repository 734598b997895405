"""Have many files read at once: in this process where they are few, by worker processes where they are many."""

import marshal
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from runbook.integrity import worker
from runbook.integrity.worker import Told, read_files
from runbook.logfiles.frames import receive, send

# Below so many files, starting workers costs more than they save.
WORTH_WORKERS = 3_000
MOST_WORKERS = 4
# So few that neither side's pipe fills while the other writes: of two chunks that are under way, and their answers.
NAMES_OF_CHUNK = 200
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Chunk:
    """Some files of one folder: its path, device and inode, and their names.

    ``tree`` is the tree's number, ``inside`` the folder's path from its top.
    """

    tree: int
    inside: str
    folder: str
    identity: tuple[int, int]
    names: list[str]


class Died(Exception):
    """A worker process ended before it had answered."""


def read_chunks(
    chunks: Iterator[Chunk], took: Callable[[Chunk, list[Told]], None], over: Callable[[], bool], workers: int = 0
) -> None:
    """Read every file of every chunk and hand over what is told of them, chunk by chunk, in any order.

    It ends early where it is ``over``. ``workers`` is how many processes read; 0: as many as there are processors, once
    there is enough to read. Raises `Died` where one of them ended.
    """
    first: deque[Chunk] = deque()
    for chunk in chunks:
        first.append(chunk)
        if workers or over() or sum(len(one.names) for one in first) >= WORTH_WORKERS:
            break
    else:
        while first and not over():
            chunk = first.popleft()
            took(chunk, read_files(chunk.folder, chunk.identity, chunk.names))
        return
    if not over():
        _Crew(workers or min(len(os.sched_getaffinity(0)), MOST_WORKERS)).read(first, chunks, took, over)


class _Crew:
    """Some worker processes, each with a thread that feeds it."""

    def __init__(self, count: int) -> None:
        # By its path, without site-packages: it is at work before the walk has found the next folder.
        argv = [sys.executable, "-I", "-S", str(Path(worker.__file__))]
        self._processes = [subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(count)]
        self._left: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Chunk, list[Told]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._feed, args=(one,), daemon=True) for one in self._processes]

    def read(
        self,
        first: deque[Chunk],
        rest: Iterator[Chunk],
        took: Callable[[Chunk, list[Told]], None],
        over: Callable[[], bool],
    ) -> None:
        """Read all chunks; see `read_chunks`."""
        given = taken = 0
        try:
            for thread in self._threads:
                thread.start()
            for chunk in chain(first, rest):
                self._left.put(chunk)
                given += 1
                if over():
                    return
                while not self._done.empty():
                    taken += self._take(took)
            for _ in self._threads:
                self._left.put(None)
            while taken < given and not over():
                with suppress(queue.Empty):
                    taken += self._take(took)
        finally:
            self._end()

    def _take(self, took: Callable[[Chunk, list[Told]], None]) -> int:
        found = self._done.get(timeout=_LOOK_SECONDS)
        if found is None:
            raise Died
        took(*found)
        return 1

    def _feed(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin and process.stdout
        under_way: deque[Chunk] = deque()
        try:
            while (chunk := self._left.get()) is not None:
                send(process.stdin, marshal.dumps((chunk.folder, chunk.identity, chunk.names)))
                under_way.append(chunk)
                if len(under_way) > 1:
                    self._done.put((under_way.popleft(), marshal.loads(receive(process.stdout))))  # noqa: S302 - ours
            while under_way:
                self._done.put((under_way.popleft(), marshal.loads(receive(process.stdout))))  # noqa: S302 - ours
        except (OSError, EOFError, ValueError):
            self._done.put(None)

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
        for _ in self._threads:
            self._left.put(None)
        for process, thread in zip(self._processes, self._threads, strict=True):
            # One that waits for a file system that does not answer cannot be ended; it ends with that.
            with suppress(subprocess.TimeoutExpired):
                process.wait(1)
            thread.join(1)
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close() if pipe else None
