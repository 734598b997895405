"""The three notebooks on logs, run headless on generated histories in both modes of the sandbox."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from runbook.model.protocol import RunRecord, RunsDocument
from runbook_sandbox import stack
from runbook_sandbox.history import Truth, events, write
from runbook_sandbox.place import Place

UNTIL = datetime(2026, 3, 11, 9, 30, tzinfo=UTC)
SINCE = UNTIL - timedelta(hours=24)
BEGIN = UNTIL - timedelta(hours=72)
FORMS: dict[str, dict[str, Any]] = {
    "json": {},
    "text": {"formats": ("text",)},
    "mixed": {"formats": ("mixed",)},
    "gz": {"gz_older": True},
}
NOTEBOOKS = ("log-review", "log-analysis", "daily-security-checks")


@pytest.fixture(scope="module")
def as_built() -> Iterator[Place]:
    place = stack.up("asbuilt", "as-built", watched=False)
    try:
        yield place
    finally:
        stack.down(place)


@dataclass
class Told:
    """What the three notebooks told of one history, and its truth."""

    runs: dict[str, RunRecord]
    truth: Truth
    documented: bool
    form: str

    def rows(self, notebook: str, check: str) -> pd.DataFrame:
        """Return the rows behind an answer, as the archive keeps them."""
        folder = Path(str(self.runs[notebook].evidence))
        (file,) = (folder / "data").glob(f"*-{check}.parquet")
        return pd.read_parquet(file)

    def finding(self, notebook: str, check: str, obj: str) -> Any:
        return next(f for f in self.runs[notebook].findings if f.check == check and f.object == obj)

    def statuses(self, notebook: str, check: str) -> set[str]:
        return {str(f.status) for f in self.runs[notebook].findings if f.check == check}


# What is compressed is read the same in either mode.
CASES = [(mode, form) for mode in ("documented", "as-built") for form in FORMS if (mode, form) != ("as-built", "gz")]


@pytest.fixture(params=CASES, ids="-".join)
def told(
    request: pytest.FixtureRequest,
    sandbox: Place,
    as_built: Place,
    profile: Callable[..., str],
    run_json: Callable[..., tuple[int, RunsDocument]],
    tmp_path: Path,
) -> Told:
    mode, form = request.param
    place, folder, truth = {"documented": sandbox, "as-built": as_built}[mode], tmp_path / "logs", Truth(SINCE, UNTIL)
    folder.mkdir()
    history = events(31, BEGIN, UNTIL, 6000, documented=mode == "documented", attacked=True)
    write(folder, history, truths=[truth], rotate_bytes=500_000, **FORMS[form])
    target = Path(str(place.read("state.json")["target"])).read_text()
    name = profile(target.replace(f"{place.folder}/logs/api_*", f"{folder}/api_*"), f"{mode}-{form}")
    status, document = run_json(*NOTEBOOKS, "--target", name, "-p", f"until={UNTIL:%Y-%m-%dT%H:%M}")
    runs = {run.notebook: run for run in document.runs}
    assert set(runs) == set(NOTEBOOKS) and status in (2, 3), [run.error for run in document.runs]
    return Told(runs, truth, mode == "documented", form)


def test_the_notebooks_tell_the_truth(told: Told) -> None:
    truth = told.truth
    timeline = told.rows("log-review", "logs.timeline")
    assert {
        (f"{row.minute:%Y-%m-%dT%H:%M}", row.level): row.count_
        for row in timeline.rename(columns={"count": "count_"}).itertuples()
    } == dict(truth.timeline)
    for notebook in ("log-review", "log-analysis"):
        errors = told.rows(notebook, "logs.errors")
        assert errors["count"].sum() == truth.errors
        found = errors.groupby("message")["count"].sum().to_dict()
        assert found == {pattern[:300]: seen.count for pattern, seen in truth.error_patterns.items()}
    message = told.finding("log-review", "logs.errors", "service").message
    assert message.startswith(f"{truth.errors:,} errors in 24 h") and "the runbook's grep" in message

    if told.form == "text":
        for check in ("authentication", "server_errors", "rate_limited", "durations"):
            assert told.statuses("log-review", f"logs.{check}") == {"UNKNOWN"}, check
        for check in ("failed_logins", "suspicious_requests"):
            assert told.statuses("daily-security-checks", f"logs.{check}") == {"UNKNOWN"}, check
        return

    attacked = {path for _, path in truth.suspicious}
    for check, expected in (("authentication", truth.auth), ("server_errors", truth.server_errors)):
        rows = told.rows("log-review", f"logs.{check}")
        found = rows[rows["path"] != "(others)"].groupby(["status", "path"])["count"].sum().to_dict()
        assert found == {key: count for key, count in expected.items() if key[1] not in attacked}
        assert rows["count"].sum() == sum(expected.values())
    suspicious = told.rows("daily-security-checks", "logs.suspicious_requests")
    assert suspicious.groupby(["rule", "path"])["count"].sum().to_dict() == dict(truth.suspicious)
    durations = told.rows("log-review", "logs.durations").set_index("subject")["count"].to_dict()
    for path, told_by in truth.durations.items():
        assert path in attacked or durations[path] == len(told_by)

    logins = "logs.failed_logins"
    if told.documented:
        limited = told.rows("log-review", "logs.rate_limited").groupby("path")["count"].sum().to_dict()
        assert limited == dict(truth.rate_limited)
        rows = told.rows("daily-security-checks", logins)
        assert rows[rows["by"] == "user"].set_index("name")["failed"].to_dict() == dict(truth.failed_logins_by_user)
        assert rows[rows["by"] == "client"].set_index("name")["failed"].to_dict() == dict(truth.failed_logins_by_client)
        if told.form != "mixed":
            found_objects = {f.object for f in told.runs["daily-security-checks"].findings if f.check == logins}
            assert {"user admin", "client 203.0.113.66", "client 203.0.113.99, users"} <= found_objects
    else:
        assert told.statuses("log-review", "logs.rate_limited") == {"UNKNOWN"}
        assert told.statuses("daily-security-checks", logins) == {"UNKNOWN"}
        assert {"by user", "by client"} <= {f.object for f in told.runs["log-review"].findings}
