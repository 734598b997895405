"""How long the findings of ten thousand archived runs take, printed; nothing is judged by time here.

Run: ``.venv/bin/python -m pytest -c tests/pytest.ini -s tests/benchmarks/reports.py``.
"""

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from runbook.evidence.archive import runs
from runbook.evidence.keys import trusted_keys
from runbook.evidence.ledger import ledger
from runbook.model import Finding, Status
from runbook_sandbox.archived import leave_runs

RUNS, FINDINGS, DAYS = 10_000, 12, 30
DAILY = """
SELECT make_timestamp(began * 1000000)::DATE AS day, "check", count(*) AS times, avg(value) AS value
FROM found GROUP BY ALL ORDER BY ALL
"""


def show(what: str, seconds: float, beside: float | None = None) -> None:
    """Print one row."""
    ratio = f"{seconds / beside:8.2f} x" if beside else ""
    sys.stdout.write(f"\n  {what:<68} {seconds:8.3f} s{ratio}\n")


def seconds_of(work: Callable[[], Any]) -> float:
    """Return how long some work took, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def test_the_findings_of_ten_thousand_runs(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    end = datetime.now(UTC).replace(microsecond=0)

    def found(number: int) -> list[Finding]:
        told = {"object": "/", "status": Status.OK, "message": "it is so full " * 5, "unit": "%", "source": "df " * 20}
        return [Finding(check=f"host.{one}", value=float(number + one), **told) for one in range(FINDINGS)]

    apart = timedelta(days=DAYS) / RUNS
    made_here = archive.with_name("made_here")
    leave_runs(made_here, ((end - (RUNS - number) * apart, found(number), {}) for number in range(RUNS)), noted=True)
    leave_runs(archive, ((end - (RUNS - number) * apart, found(number), {}) for number in range(RUNS)))
    keys, since = trusted_keys([]), end - timedelta(days=DAYS + 1)

    def every_record() -> None:
        for place in runs(archive):
            msgspec.json.decode((place.folder / "run.json").read_bytes())

    def asked(archive: Path = archive) -> None:
        assert len(ledger(archive, keys, since).ask(DAILY)) >= DAYS * FINDINGS

    plain = seconds_of(every_record)
    show(f"reading the record of each of {RUNS:,} runs, nothing verified", plain)
    show("the first report on runs that were sealed here", seconds_of(lambda: asked(made_here)), plain)
    show("the ledger, all new and from elsewhere: each seal and file verified", seconds_of(asked), plain)
    show("the ledger, none new, and a month by day and check (DuckDB)", seconds_of(asked), plain)
    leave_runs(archive, ((end + timedelta(seconds=one), found(one), {}) for one in range(100)), notebook="log-review")
    show("the same with 100 new runs", seconds_of(asked), plain)
