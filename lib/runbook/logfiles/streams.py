"""The bytes of a whole log file, compressed or not, in blocks."""

import os
from collections.abc import Iterator

from runbook.logfiles.pieces import of_range, unpacked
from runbook.logfiles.sources import LogFile, open_file


def blocks_of(file: LogFile) -> Iterator[bytes]:
    """Yield a file's bytes as long as it was when it was found; raises `Cut` or OSError where it cannot go on."""
    fd = open_file(file.path, file.identity)
    try:
        yield from unpacked(fd) if file.compressed else of_range(fd, 0, file.size, file.size)
    finally:
        os.close(fd)
