"""The past of a sandbox: three days of the service's log, as if it had run until now."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from runbook_sandbox.history import as_json, events, write

HOURS = 72
ENTRIES = 9000
SEED = 23
# The oldest days in the other format and mixed, as after a change of the setting; the last two as they are now.
FORMATS = ("text", "mixed", "json", "json")
ROTATE_BYTES = 700_000


def write_past(folder: Path, *, documented: bool, until: datetime | None = None) -> None:
    """Write the log files of the last `HOURS` before now: rotated, the older days compressed, with a few broken lines.

    Nothing in it is out of the ordinary: the share of errors, refusals and slow requests is that of a quiet week.
    """
    end = until or datetime.now(UTC)
    told = events(SEED, end - timedelta(hours=HOURS), end, ENTRIES, documented=documented, errors=0.003)
    write(folder, told, formats=FORMATS, rotate_bytes=ROTATE_BYTES, gz_older=True, damage=5)


def append_attack(log: Path, *, documented: bool) -> None:
    """Append to a log file an hour of a quiet service that is attacked and then fails."""
    end = datetime.now(UTC)
    told = events(SEED, end - timedelta(hours=1), end, 100, documented=documented, attacked=True)
    with log.open("ab") as file:
        file.writelines(as_json(event) for event in told)
