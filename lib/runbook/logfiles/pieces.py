"""Read a part of a file as pieces of whole lines, in bounded memory, however long its lines are."""

import os
from collections.abc import Iterator

PIECE = 128 << 10
# A line longer than this is no entry of a log; it is skipped and counted.
LONGEST_LINE = 4 << 20
# As much is lost where a compressed file is damaged, before the damage.
_UNPACKED = 16 << 10


class Cut(Exception):
    """A file ends too early, or is damaged."""


def of_range(fd: int, begin: int, end: int, size: int) -> Iterator[bytes]:
    """Yield blocks that hold just the lines which begin in [begin, end), of a file that was ``size`` bytes long.

    The last line is read to its end where the file has grown since. Raises `Cut` where it has become shorter.
    """
    grown = max(size, os.fstat(fd).st_size)
    position = _next_line(fd, begin - 1, grown) if begin > 0 else 0
    stop = _next_line(fd, end - 1, grown) if end > 0 else 0
    while position < stop:
        block = os.pread(fd, min(PIECE, stop - position), position)
        if not block:
            raise Cut("the file was cut off while it was read")
        position += len(block)
        yield block


def of_stream(blocks: Iterator[bytes]) -> Iterator[bytes | None]:
    """Yield pieces of whole lines of a stream of blocks; None stands for a line that is too long."""
    rest, skipping = b"", False
    for got in blocks:
        block = got
        cut = block.rfind(b"\n") + 1
        if skipping:
            found = block.find(b"\n") + 1
            if not found:
                continue
            block, skipping = block[found:], False
            cut = block.rfind(b"\n") + 1
        if cut:
            yield rest + block[:cut]
            rest = block[cut:]
            continue
        rest += block
        if len(rest) > LONGEST_LINE:
            yield None
            rest, skipping = b"", True
    if rest:
        yield rest


def halves(lines: bytes) -> tuple[bytes, bytes]:
    """Return some lines, of which there are more than one, in two parts."""
    cut = lines.rfind(b"\n", 0, len(lines) // 2) + 1 or lines.find(b"\n") + 1
    return lines[:cut], lines[cut:]


def unpacked(fd: int) -> Iterator[bytes]:
    """Yield blocks of a gzip file; raises `Cut`, after all that could be read, where it is damaged or ends early."""
    from isal import igzip
    from isal.igzip_lib import IsalError

    with os.fdopen(os.dup(fd), "rb") as raw, igzip.open(raw, "rb") as file:  # type: ignore[no-untyped-call]
        while True:
            blocks: list[bytes] = []
            try:
                while len(blocks) < PIECE // _UNPACKED and (not blocks or blocks[-1]):
                    blocks.append(file.read(_UNPACKED))
            except (EOFError, OSError, IsalError) as error:  # type: ignore[misc]
                yield b"".join(blocks)
                raise Cut(f"the compressed file is damaged or ends early ({error})") from error
            if not blocks[0]:
                return
            yield b"".join(blocks)


def unpacked_blocks(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what blocks of a gzip file hold, in pieces; raises `Cut`, after all that could be read, where it ends early
    or is damaged.
    """
    from isal import isal_zlib

    packed, fresh = isal_zlib.decompressobj(wbits=31), True
    for got in blocks:
        block = got
        while block or not fresh:
            try:
                piece = packed.decompress(block, PIECE)
            except isal_zlib.error as error:  # type: ignore[misc]
                raise Cut(f"the compressed file is damaged ({error})") from error
            fresh = False
            if piece:
                yield piece
            if packed.eof:
                # A file may hold several, one after another.
                block, packed, fresh = packed.unused_data, isal_zlib.decompressobj(wbits=31), True
            else:
                block = packed.unconsumed_tail
                if not block and len(piece) < PIECE:
                    break
    if not fresh:
        raise Cut("the compressed file ends early")


def _next_line(fd: int, position: int, size: int) -> int:
    """Return where the first line begins after a position: behind the next line end, or at the file's end."""
    while position < size:
        block = os.pread(fd, PIECE, position)
        if not block:
            return size
        found = block.find(b"\n")
        if found >= 0:
            return position + found + 1
        position += len(block)
    return size
