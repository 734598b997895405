"""Programs that are called where this process is not: over ssh, or in a container. By argv, bounded, only to look."""

import os
import select
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from runbook.model import CouldNotFindOut

# More than any answer that is taken whole; files are streamed.
MOST_BYTES = 4 << 20
CALL_SECONDS = 4.0
_BLOCK = 128 << 10
_NOT_FOUND = (126, 127)


@dataclass(frozen=True)
class Ended:
    """How a program ended: its exit status, and what it said on either stream."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Return what it said, as text."""
        return self.out.decode("utf-8", "replace")

    @property
    def lacks_program(self) -> bool:
        """Tell whether there is no such program there."""
        return self.status in _NOT_FOUND


class Elsewhere(Protocol):
    """A place where programs can be called; ``label`` says whose they are."""

    @property
    def label(self) -> str:
        """Whose disk, memory and clock it is."""

    def call(self, argv: Sequence[str], seconds: float = CALL_SECONDS) -> Ended:
        """Return how a program ended, with all that it said; raises `CouldNotFindOut` where it cannot be called, takes
        longer, or says more than `MOST_BYTES`: a part of an answer is none.
        """

    def stream(self, argv: Sequence[str], seconds: float) -> Iterator[bytes]:
        """Yield what a program prints, in blocks; raises `CouldNotFindOut` where it cannot be read to its end."""

    def shown(self, argv: Sequence[str]) -> str:
        """Return the command that does the same by hand."""


class ThisMachine:
    """This machine, as a place like the others: programs are called here."""

    def __init__(self, label: str) -> None:
        self.label = label

    def call(self, argv: Sequence[str], seconds: float = CALL_SECONDS) -> Ended:
        """Return how a program ended; 127 where there is none of that name, 126 where it is none."""
        try:
            process = self._started(argv, subprocess.PIPE)
        except FileNotFoundError:
            return Ended(127, b"", f"{argv[0]}: not found")
        except PermissionError:
            return Ended(126, b"", f"{argv[0]}: permission denied")
        return read_whole(process, self.label, argv[0], seconds)

    def stream(self, argv: Sequence[str], seconds: float) -> Iterator[bytes]:
        """Yield what a program prints."""
        ended = self.call(argv, seconds)
        if ended.status != 0:
            raise CouldNotFindOut(f"{self.label}: {told(ended)}")
        yield ended.out

    def shown(self, argv: Sequence[str]) -> str:
        """Return the command that does the same by hand."""
        return shlex.join(argv)

    def _started(self, argv: Sequence[str], complaint: int) -> "subprocess.Popen[bytes]":
        environment = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin", "LC_ALL": "C"}
        return subprocess.Popen(
            list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaint, env=environment
        )


def read_files(place: Elsewhere, *paths: str, seconds: float = CALL_SECONDS) -> str:
    """Return the text of files, one after another; raises `CouldNotFindOut` where one cannot be read."""
    ended = place.call(("cat", *paths), seconds)
    if ended.lacks_program:
        raise CouldNotFindOut(f"{place.label} has no program cat: nothing of it can be read from inside")
    if ended.status != 0:
        raise CouldNotFindOut(f"{place.label}: {told(ended)}")
    return ended.text


def told(ended: Ended) -> str:
    """Return what a program that failed complained of, in one line."""
    lines = [line.strip() for line in ended.err.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"it ended with {ended.status}, and said nothing"


def read_process(process: "subprocess.Popen[bytes]", seconds: float, most: int = MOST_BYTES) -> tuple[bytes, bytes]:
    """Return what a process prints on either stream until it ends, or has printed ``most`` bytes; it is ended then.

    Raises `TimeoutError` where it is not done within ``seconds``; it is ended then as well.
    """
    assert process.stdout and process.stderr
    end = time.monotonic() + seconds
    held: dict[int, list[bytes]] = {process.stdout.fileno(): [], process.stderr.fileno(): []}
    left, count = set(held), 0
    try:
        while left and count <= most:
            ready, _, _ = select.select(list(left), [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise TimeoutError
            for stream in ready:
                block = os.read(stream, _BLOCK)
                held[stream].append(block)
                count += len(block)
                if not block:
                    left.discard(stream)
        if not left:
            process.wait(max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    finally:
        end_process(process)
    out, err = (b"".join(blocks) for blocks in held.values())
    return out, err


def read_whole(process: "subprocess.Popen[bytes]", label: str, program: str, seconds: float) -> Ended:
    """Return how a process ended, with all that it said, as `Elsewhere.call` does."""
    try:
        out, err = read_process(process, seconds)
    except TimeoutError as error:
        raise CouldNotFindOut(f"{label}: {program} did not end within {seconds:g} s") from error
    if len(out) + len(err) > MOST_BYTES:
        raise too_much(label, program)
    return Ended(process.returncode, out, err.decode("utf-8", "replace"))


def too_much(label: str, program: str) -> CouldNotFindOut:
    """Return the error of a program that says more than is taken."""
    return CouldNotFindOut(f"{label}: {program} says more than {MOST_BYTES >> 20} MiB, and a part of it is no answer")


def end_process(process: "subprocess.Popen[bytes]") -> None:
    """End a process that this one started, and give its pipes back."""
    if process.poll() is None:
        process.kill()
        with suppress(subprocess.TimeoutExpired):
            process.wait(1)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
