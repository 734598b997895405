"""A dump as PostgreSQL's programs can read it: where it is packed or elsewhere, a copy of it."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runbook.backups.content import Broken, Content, OutOfTime
from runbook.backups.reading import Reading
from runbook.model import ChangeFailed
from runbook.target import Backups


@contextmanager
def at_hand(reading: Reading, named: Backups, seconds: float) -> Iterator[str]:
    """Yield the path of a dump that programs can read, which is gone afterwards where it was made for that; raises
    `ChangeFailed` where it cannot be made.
    """
    path = reading.of.path
    if reading.of.is_folder or (not path.startswith("s3://") and not reading.packed):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="runbook-dump-", dir=named.scratch) as folder:
        copy = Path(folder) / "dump"
        try:
            with copy.open("wb") as file:
                for block in Content(path, time.monotonic() + seconds).text():
                    file.write(block)
        except OutOfTime as late:
            raise ChangeFailed(f"{reading.of.name} was not unpacked within {seconds:.0f} s") from late
        except Broken as why:
            raise ChangeFailed(f"{reading.of.name} cannot be unpacked any more: {why}") from why
        except OSError as error:
            raise ChangeFailed(f"{reading.of.name} cannot be unpacked to {folder}: {error.strerror}") from error
        yield str(copy)
