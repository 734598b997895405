"""Take every connection slot of the sandbox's PostgreSQL, as a leaking application would, until ended.

Run by the fault slots-full as a process: ``python -m runbook_sandbox.holder FOLDER PORT COUNT``.
"""

import signal
import sys
from pathlib import Path

import psycopg


def main() -> None:
    """Open connections until the server refuses one more, hold them, and end when asked to."""
    folder, port, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    password = (folder / "secrets" / "shrimp_user").read_text()
    held = []
    for _ in range(count):
        try:
            held.append(
                psycopg.connect(
                    host="127.0.0.1", port=port, user="shrimp_user", password=password, dbname="shrimp_annotation",
                    application_name="leaking-worker",
                )
            )  # fmt: skip
        except psycopg.OperationalError:
            break
    signal.pause()


if __name__ == "__main__":
    main()
