"""The bytes of a backup, read once from its beginning to its end, with their digest."""

import hashlib
import io
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from isal import igzip

from runbook.backups.listing import store_of
from runbook.model import CouldNotFindOut
from runbook.model.text import printable

BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"


class OutOfTime(Exception):
    """The bound of the reading has passed."""


class Broken(Exception):
    """What is read is no whole backup; the reason says why."""


def opened(path: str) -> BinaryIO:
    """Return a backup's bytes, opened; raises `CouldNotFindOut`."""
    try:
        if path.startswith("s3://"):
            return store_of(path).open(path, "rb", block_size=8 * BLOCK, cache_type="readahead")  # type: ignore[no-any-return]
        return Path(path).open("rb")
    except OSError as error:
        raise CouldNotFindOut(f"it cannot be read: {error.strerror or printable(str(error))[:200]}") from error


def _next(file: BinaryIO, count: int) -> bytes:
    """Return the next bytes of a file; raises `CouldNotFindOut`, whatever a store's own client raises."""
    try:
        return file.read(count)
    except Exception as error:
        raise CouldNotFindOut(f"reading it broke off: {printable(str(error))[:200]}") from error


class Content:
    """Reads a backup block by block; ``sha256`` is of the file as it lies there, and there once all was read.

    ``packed`` says that it is gzip, once its beginning was read as text.
    """

    def __init__(self, path: str, end: float) -> None:
        self.path, self.bytes, self.packed = path, 0, False
        self._end, self._digest, self.whole = end, hashlib.sha256(), False

    @property
    def sha256(self) -> str:
        """Return the digest of all that was read."""
        return self._digest.hexdigest() if self.whole else ""

    def blocks(self) -> Iterator[bytes]:
        """Yield the file as it is; raises `OutOfTime`, or `CouldNotFindOut` where the reading breaks off."""
        with opened(self.path) as file:
            while True:
                if time.monotonic() > self._end:
                    raise OutOfTime
                block = _next(file, BLOCK)
                if not block:
                    self.whole = True
                    return
                self.bytes += len(block)
                self._digest.update(block)
                yield block

    def text(self) -> Iterator[bytes]:
        """Yield the file, unpacked where it is gzip; raises `Broken` where that is cut or damaged as well."""
        blocks = self.blocks()
        first = next(blocks, b"")
        if not first.startswith(_GZIP):
            yield first
            yield from blocks
            return
        self.packed = True
        unpacked: Any = igzip.IGzipFile(fileobj=io.BufferedReader(AsFile(blocks, first), BLOCK))  # type: ignore[no-untyped-call]
        try:
            while block := unpacked.read(BLOCK):
                yield block
        except EOFError as error:
            raise Broken("the gzip file is cut: it ends in the middle") from error
        except (OSError, zlib.error, igzip.BadGzipFile) as error:
            raise Broken(f"the gzip file is damaged: {printable(str(error))[:100]}") from error
        # What its reader did not ask for belongs to the file, and to its digest.
        for _ in blocks:
            pass


class AsFile(io.RawIOBase):
    """Blocks as a file that can be read once, for what unpacks them."""

    def __init__(self, blocks: Iterator[bytes], begins: bytes = b"") -> None:
        super().__init__()
        self._held, self._rest = begins, blocks

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Put the next bytes into a buffer and return how many; 0 is the end."""
        if not self._held:
            self._held = next(self._rest, b"")
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


def is_plain_file(path: str) -> bool:
    """Tell whether a backup is a file here that is not packed."""
    if path.startswith("s3://"):
        return False
    with opened(path) as file:
        return not _next(file, 2).startswith(_GZIP)


def digest_beside(path: str) -> str:
    """Return the SHA-256 that was written beside a backup when it was made; "" where there is none.

    It stands in FILE.sha256 or FILE.sha256sum, or in SHA256SUMS of its folder.
    """
    folder, _, name = path.rpartition("/")
    for place in (f"{path}.sha256", f"{path}.sha256sum", f"{folder}/SHA256SUMS"):
        text = ""
        with suppress(CouldNotFindOut, OSError), opened(place) as file:
            text = _next(file, BLOCK).decode("utf-8", errors="replace")
        for line in text.splitlines():
            word, _, of = line.strip().partition(" ")
            told = of.strip().lstrip("*").rpartition("/")[2]
            if len(word) == 64 and (told == name or (not told and not place.endswith("SUMS"))):
                return word.lower()
    return ""


def first_bytes(path: str, count: int = 512) -> bytes:
    """Return how a backup begins, unpacked; raises `CouldNotFindOut` or `Broken`."""
    with opened(path) as file:
        begins = _next(file, max(count, BLOCK))
    if not begins.startswith(_GZIP):
        return begins[:count]
    unpacker: Any = zlib.decompressobj(wbits=31)
    try:
        return bytes(unpacker.decompress(begins, count))
    except zlib.error as error:
        raise Broken(f"the gzip file is damaged: {printable(str(error))[:100]}") from error
