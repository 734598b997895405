"""A convoy of locks: a session holds a table and does nothing, and behind it stand all who want it, until ended.

Run by the fault lock-convoy as a process: ``python -m runbook_sandbox.convoy FOLDER PORT COUNT``.
"""

import signal
import sys
import threading
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

WAITING = b"SELECT count(*) FROM documents"


def main() -> None:
    """Hold the lock, have sessions wait for it, and keep both until ended."""
    folder, port, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    password = (folder / "secrets" / "shrimp_user").read_text()
    where = make_conninfo(
        host="127.0.0.1", port=port, dbname="shrimp_annotation", user="shrimp_user", password=password
    )
    holder = psycopg.connect(where, application_name="forgotten-migration")
    holder.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")

    def wait() -> None:
        with psycopg.connect(where, application_name="waiting-worker") as connection:
            connection.execute(WAITING)

    for _ in range(count):
        threading.Thread(target=wait, daemon=True).start()
    signal.pause()


if __name__ == "__main__":
    main()
