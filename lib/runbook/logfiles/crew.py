"""Read many files at once: in this process where there is little, in worker processes where there is much."""

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import msgspec

from runbook.logfiles.entries import from_stamp
from runbook.logfiles.frames import receive, send
from runbook.logfiles.reader import Job, Task, read_here
from runbook.logfiles.sources import LogFile, open_file
from runbook.logfiles.tally import FileRead, Reading
from runbook.logfiles.window import parts

# Below this, starting workers costs more than they save.
WORTH_WORKERS = 24 << 20
PART = 16 << 20
MOST_WORKERS = 4
# Threads for linear algebra are not needed, and take time to start.
_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
# An hour more for files whose clock of writing is not that of their entries.
MODIFIED_SLACK = 3600.0


class PassTooLong(Exception):
    """The files could not be read in the time there was."""


class PassBroken(Exception):
    """A process that read the files died, and what it had counted is lost."""


def read_all(
    files: Sequence[LogFile],
    job: Job,
    *,
    seconds: float,
    workers: int | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Reading:
    """Return what the files say of the job's periods.

    Raises `PassTooLong` after ``seconds``, having ended every worker, and `PassBroken` where a worker died. A file that
    cannot be read is told in the reading's ``files`` with its problem; the others count.
    """
    began = time.monotonic()
    end = began + seconds

    def over() -> bool:
        return time.monotonic() > end or stopped()

    tasks, told = _plan(files, job)
    amount = sum(task.end - task.begin if not task.compressed else 5 * task.size for task in tasks)
    count = min(workers if workers is not None else min(os.cpu_count() or 1, MOST_WORKERS), len(tasks))
    if amount < WORTH_WORKERS and workers is None:
        reading = read_here(job, tasks, over)
    else:
        reading = _by_workers(job, tasks, max(1, count), end, over)
    if over():
        raise PassTooLong(f"{_mib(sum(file.size for file in files))} of logs could not be read within {seconds:g} s")
    for file in told:
        reading.files.setdefault(file.path, file).merge(FileRead(file.path, unordered=file.unordered))
    reading.seconds = time.monotonic() - began
    return reading


def _plan(files: Iterable[LogFile], job: Job) -> tuple[list[Task], list[FileRead]]:
    since = min(period.since for period in job.periods)
    until = max(period.until for period in job.periods)
    tasks, told = [], []
    for file in files:
        read = FileRead(file.path, problem=file.problem)
        told.append(read)
        if file.problem or file.size == 0 or _modified_before(file, since):
            continue
        if file.compressed:
            tasks.append(Task(file.path, 0, file.size, file.size, compressed=True, identity=file.identity))
            continue
        try:
            fd = open_file(file.path, file.identity)
        except OSError as error:
            read.problem = f"cannot be read: {error.strerror}"
            continue
        try:
            found, read.unordered = parts(fd, file.size, since, until, job.zone)
        finally:
            os.close(fd)
        for begin, end in found:
            tasks += [
                Task(file.path, at, min(end, at + PART), file.size, identity=file.identity)
                for at in range(begin, end, PART)
            ]
    return sorted(tasks, key=lambda task: not task.compressed), told  # what cannot be divided comes first


def _modified_before(file: LogFile, since: str) -> bool:
    return file.modified + MODIFIED_SLACK < from_stamp(since).timestamp()


def _by_workers(job: Job, tasks: Sequence[Task], count: int, end: float, over: Callable[[], bool]) -> Reading:
    left: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in tasks:
        left.put(task)
    readings: list[Reading] = []
    argv = [sys.executable, "-P", "-m", "runbook.logfiles.worker"]
    started = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **_ENVIRONMENT})
        for _ in range(count)
    ]
    threads = [threading.Thread(target=_feed, args=(worker, job, left, readings), daemon=True) for worker in started]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive() and not over():
                thread.join(min(0.05, max(0.0, end - time.monotonic())))
    finally:
        for worker in started:
            worker.kill()
        for worker, thread in zip(started, threads, strict=True):
            worker.wait()
            thread.join(1)
            for pipe in (worker.stdin, worker.stdout):
                with suppress(OSError):
                    pipe.close() if pipe else None
    reading = Reading()
    for part in readings:
        reading.merge(part)
    if len(readings) < count and not over():
        raise PassBroken("a process that read the logs died; run it again")
    return reading


def _feed(
    worker: "subprocess.Popen[bytes]", job: Job, left: "queue.SimpleQueue[Task]", readings: list[Reading]
) -> None:
    assert worker.stdin and worker.stdout
    with suppress(OSError, EOFError, ValueError):
        send(worker.stdin, msgspec.msgpack.encode(job))
        with suppress(queue.Empty):
            while True:
                send(worker.stdin, msgspec.msgpack.encode(left.get_nowait()))
                receive(worker.stdout)
        send(worker.stdin, b"")
        readings.append(msgspec.msgpack.decode(receive(worker.stdout), type=Reading))


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.0f} MiB"
