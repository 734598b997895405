"""The log questions asked of what containers wrote to their output, on a real Docker engine."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from engine import Engine

from runbook.model.protocol import RunsDocument
from runbook_sandbox.history import Truth, events, write
from runbook_sandbox.place import Place

# The engine keeps what a container wrote by when it wrote it, which is now: the window asked for goes on beyond it.
UNTIL = datetime.now(UTC).replace(second=0, microsecond=0)
SINCE = UNTIL - timedelta(hours=6)


@pytest.fixture(scope="module")
def told(engine_of_all: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Truth]]:
    """Return an engine whose container `shrimp-api` wrote a history, and its truth."""
    folder, truth = tmp_path_factory.mktemp("history"), Truth(SINCE, UNTIL + timedelta(minutes=30))
    history = events(5, SINCE, UNTIL, 20_000, documented=True, attacked=True)
    written = write(folder, history, formats=("mixed",), day_names=False, truths=[truth], rotate_bytes=1 << 30)
    (log,) = written.paths
    engine_of_all.image("api", log=log.read_bytes())
    engine_of_all.run("shrimp-api", "api", "/bin/cat", "/log")
    engine_of_all.client.containers.get("shrimp-api").wait(timeout=30)
    yield engine_of_all, truth
    engine_of_all.client.containers.get("shrimp-api").remove()


@pytest.fixture
def ask(
    sandbox: Place, profile: Callable[..., str], run_json: Callable[..., tuple[int, RunsDocument]]
) -> Callable[..., Any]:
    """Run a notebook with the service's log in a container, by an engine; return its run."""

    def run(notebook: str, host: str, container: str = "shrimp-api") -> Any:
        target = Path(str(sandbox.read("state.json")["target"])).read_text()
        lines = [
            f'api = ["container:{container}"]' if line.startswith("api = [") and "logs" in line else line
            for line in target.splitlines()
        ]
        assert any("container:" in line for line in lines), target
        _, document = run_json(
            notebook,
            "--target",
            profile("\n".join(lines), "contained"),
            "-p",
            f"until={UNTIL + timedelta(minutes=30):%Y-%m-%dT%H:%M}",
            "-p",
            "hours=7",
            DOCKER_HOST=host,
        )
        return document.runs[0]

    return run


def test_what_a_container_wrote_is_counted_as_a_file_is(told: tuple[Engine, Truth], ask: Callable[..., Any]) -> None:
    running, truth = told
    run = ask("log-review", running.host)
    folder = Path(str(run.evidence)) / "data"
    (errors,) = folder.glob("*-logs.errors.parquet")
    (timeline,) = folder.glob("*-logs.timeline.parquet")
    assert pd.read_parquet(errors)["count"].sum() == truth.errors > 0
    assert pd.read_parquet(timeline)["count"].sum() == truth.entries


def test_the_lines_of_a_container_are_searched_as_those_of_a_file_are(
    told: tuple[Engine, Truth], ask: Callable[..., Any]
) -> None:
    running, truth = told
    run = ask("log-analysis", running.host)
    folder = Path(str(run.evidence)) / "data"
    (matching,) = folder.glob("*-logs.matching.parquet")
    found = pd.read_parquet(matching)
    assert set(found["file"]) == {"container:shrimp-api"}
    (lines,) = [f for f in run.findings if f.check == "logs.matching"]
    assert lines.value == truth.errors


def test_a_container_that_is_not_there_is_told_by_its_name(told: tuple[Engine, Truth], ask: Callable[..., Any]) -> None:
    running, _ = told
    run = ask("daily-security-checks", running.host, "shrimp-apj")
    unknown = [f.message for f in run.findings if str(f.status) == "UNKNOWN"]
    assert any("there is no container shrimp-apj" in message for message in unknown), unknown


def test_an_engine_that_is_off_is_told(ask: Callable[..., Any], tmp_path: Path) -> None:
    run = ask("daily-security-checks", f"unix://{tmp_path}/off.sock")
    unknown = [f.message for f in run.findings if str(f.status) == "UNKNOWN"]
    assert any("Docker engine does not answer" in message for message in unknown), unknown
    assert not [f for f in run.findings if f.check == "logs.suspicious_requests" and str(f.status) == "OK"]
