"""Take every connection slot of the sandbox's PostgreSQL, as a leaking application would, until ended.

Run by the fault slots-full as a process: ``python -m runbook_sandbox.holder FOLDER PORT COUNT``.
"""

import signal
import sys
import time
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo


def main() -> None:
    """Open connections until as many as asked for are held, taking up each slot that others give back, until ended."""
    folder, port, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    password = (folder / "secrets" / "shrimp_user").read_text()
    where = make_conninfo(
        host="127.0.0.1", port=port, dbname="shrimp_annotation", user="shrimp_user", password=password
    )
    held: list[psycopg.Connection] = []
    while len(held) < count:
        try:
            held.append(psycopg.connect(where, application_name="leaking-worker"))
        except psycopg.OperationalError:
            time.sleep(0.2)
    signal.pause()


if __name__ == "__main__":
    main()
