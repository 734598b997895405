"""The sandbox's Prometheus: it scrapes what is there, remembers a known past, and goes with the sandbox."""

import os
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from runbook.model import Status
from runbook.target import load_target
from runbook_sandbox import faults, monitoring, postgres_server, processes, stack
from runbook_sandbox.load import load
from runbook_sandbox.monitoring.blocks import Blocks
from runbook_sandbox.monitoring.history import Past, Text, machine
from runbook_sandbox.monitoring.truth import Truth, truth
from runbook_sandbox.place import PARTS, Place, SandboxError

pytestmark = pytest.mark.skipif(
    len(monitoring.installed()) < len(monitoring.COMPONENTS) or shutil.which("promtool") is None,
    reason="Prometheus, Alertmanager and the exporters are not all installed",
)
_JOBS = {"shrimp-api", "postgres", "node", "prometheus", "alertmanager"}
_5XX = 'sum(increase(http_requests_total{job="shrimp-api",status=~"5.."}[%s]))'
_ALL = 'sum(increase(http_requests_total{job="shrimp-api"}[%s]))'


def url(place: Place, part: str = "prometheus") -> str:
    return f"http://127.0.0.1:{place.read('state.json')['ports'][part]}"


def ask(place: Place, query: str, at: datetime | None = None) -> dict[str, float]:
    """Return the value of each series by the value of its labels."""
    given = {"query": query, **({"time": str(at.timestamp())} if at else {})}
    answer = httpx.get(f"{url(place)}/api/v1/query", params=given, timeout=20, trust_env=False).json()
    assert answer["status"] == "success", answer
    return {",".join(series["metric"].values()): float(series["value"][1]) for series in answer["data"]["result"]}


def number(place: Place, query: str, at: datetime | None = None) -> float:
    (value,) = ask(place, query, at).values()
    return value


def series(place: Place, query: str, since: datetime, until: datetime, step: timedelta) -> dict[datetime, float]:
    given = {"query": query, "start": since.timestamp(), "end": until.timestamp(), "step": step.total_seconds()}
    answer = httpx.get(f"{url(place)}/api/v1/query_range", params=given, timeout=20, trust_env=False).json()
    assert answer["status"] == "success", answer
    (found,) = answer["data"]["result"]
    return {datetime.fromtimestamp(at, UTC): float(value) for at, value in found["values"]}


def until(works: Callable[[], Any], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not works():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.2)


@pytest.fixture
def past() -> Truth:
    return truth()


@pytest.fixture(scope="module")
def practice(watched: Place) -> None:
    """A rule of one's own, that fires at once, loaded into the sandbox that is watched."""
    rule = {"alert": "Practice", "expr": 'up{job="node"} == 1', "labels": {"severity": "warning"}}
    rules = watched.folder / "prometheus" / "rules"
    (rules / "practice.yml").write_text(str({"groups": [{"name": "practice", "interval": "1s", "rules": [rule]}]}))
    assert httpx.post(f"{url(watched)}/-/reload", trust_env=False, timeout=10).status_code == 200


@pytest.fixture(scope="module")
def as_built() -> Iterator[Place]:
    place = stack.up("built", "as-built")
    yield place
    if place.exists:
        stack.down(place)


@pytest.fixture(scope="module", autouse=True)
def early(practice: None, as_built: Place) -> None:
    """Bring up all that the tests look at before the first one: 5 s and a scrape pass until Prometheus, started or
    loaded anew, knows its targets; what it remembers is there at once, and is looked at meanwhile.
    """


# --- what it remembers


def test_five_weeks_are_remembered_and_the_last_days_minute_by_minute(sandbox: Place, past: Truth) -> None:
    up = series(sandbox, 'sum(up{job="node"})', past.begins, past.day, timedelta(hours=6))
    assert min(up) - past.begins < timedelta(hours=12) and len(up) > 5 * 7 * 3.9
    minutes = series(
        sandbox, 'count_over_time(up{job="node"}[10m])', past.day - timedelta(days=1), past.day, timedelta(hours=1)
    )
    assert set(minutes.values()) <= {10, 11}


def test_the_known_incident_is_found_at_its_minutes_with_its_share(sandbox: Place, past: Truth) -> None:
    incident = past.incident
    lasts = f"{round((incident.ends - incident.begins).total_seconds() / 60)}m"
    share = number(sandbox, f"{_5XX % lasts} / {_ALL % lasts}", incident.ends)
    assert share == pytest.approx(incident.share, abs=0.01)
    ratio = series(
        sandbox,
        f"{_5XX % '2m'} / {_ALL % '2m'}",
        incident.begins - timedelta(hours=2),
        incident.ends + timedelta(hours=2),
        timedelta(minutes=1),
    )
    high = sorted(at for at, value in ratio.items() if value > 0.1)
    assert abs(high[0] - incident.begins) <= timedelta(minutes=2)
    assert abs(high[-1] - incident.ends) <= timedelta(minutes=2)
    worst = ask(sandbox, 'topk(1, sum by (path) (increase(http_requests_total{status="500"}[42m])))', incident.ends)
    assert list(worst) == [incident.path]
    slow = "histogram_quantile(0.95, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))"
    assert number(sandbox, slow, incident.ends) > 2 > number(sandbox, slow, incident.begins)
    assert (
        number(sandbox, "triage_queue_size", incident.ends)
        > number(sandbox, "triage_queue_size", incident.begins) + 100
    )


def test_the_last_three_days_are_quiet(sandbox: Place, past: Truth) -> None:
    quiet = series(
        sandbox, f"{_5XX % '30m'} / {_ALL % '30m'}", past.day - timedelta(days=3), past.day, timedelta(minutes=15)
    )
    assert max(quiet.values()) < 0.02
    refused = 'sum(increase(http_requests_total{path="/auth/login",status="401"}[1d]))'
    tried = 'sum(increase(http_requests_total{path="/auth/login"}[1d]))'
    assert 0.03 < number(sandbox, f"{refused} / {tried}", past.day) < 0.1


def test_a_deployment_resets_the_counters_and_no_rate_falls_below_0(sandbox: Place, past: Truth) -> None:
    resets = "sum(resets(http_requests_total{status='200'}[1h]))"
    assert number(sandbox, resets, past.deployment + timedelta(minutes=30)) >= 5
    assert number(sandbox, "sum(resets(http_requests_total[20h]))", past.day) == 0
    assert number(sandbox, "sum(increase(http_requests_total[1h]))", past.deployment + timedelta(minutes=30)) > 100


def test_nothing_was_sampled_during_the_gap(sandbox: Place, past: Truth) -> None:
    middle = past.gap_begins + (past.gap_ends - past.gap_begins) / 2
    assert ask(sandbox, "up", middle) == {}
    assert set(ask(sandbox, "sum by (job) (up)", past.gap_begins - timedelta(minutes=1))) == _JOBS


@pytest.mark.slow
def test_the_same_day_gives_the_same_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    now = datetime(2026, 3, 4, 11, 38, tzinfo=UTC)
    texts, here = [], machine()  # what is free on its disk may be rounded otherwise a moment later
    for moment in (now, now.replace(hour=23)):
        path = tmp_path / "text"
        known = truth(moment)
        last_two_days = (known.day - timedelta(days=2)).timestamp(), known.day.timestamp()
        Text(Past(known, moment, machine=here)).write(path, *last_two_days)
        texts.append(path.read_bytes())
    assert texts[0] == texts[1] and len(texts[0]) > 1_000_000
    kept: list[Counter[str]] = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        Blocks(shutil.which("promtool") or "", Past(truth(now), now), os.environ).put(tmp_path / name)
        kept.append(Counter(str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).glob("*/meta.json")))
    assert sum((kept[0] & kept[1]).values()) >= 6, "the blocks of the day and of the hour are made once"
    left = sorted(path.name.split("-")[0] for path in (tmp_path / "cache" / "runbook" / "past").iterdir())
    assert left == ["day", "hour", "lock"]


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    Blocks(shutil.which("promtool") or "", Past(truth()), os.environ).put(tmp_path / "data")
    assert list((tmp_path / "data").glob("*/meta.json"))


def test_past_and_present_are_one_series(sandbox: Place) -> None:
    until(lambda: set(ask(sandbox, "count by (job) (scrape_duration_seconds)")) == _JOBS)
    documents = 'http_requests_total{path="/documents",status="200"}'
    for query in ("triage_queue_size", "node_filesystem_avail_bytes", "node_load1", "pg_up", documents):
        assert len(ask(sandbox, f"count_over_time({query}[2d])")) == 1, query


# --- what is there


def test_every_job_is_scraped_and_up(sandbox: Place) -> None:
    until(lambda: set(ask(sandbox, "count by (job) (scrape_duration_seconds)")) == _JOBS)
    assert ask(sandbox, "max by (job) (up)") == dict.fromkeys(_JOBS, 1.0)
    assert number(sandbox, "pg_up") == 1


def test_the_profile_names_both_and_the_fixed_jobs(sandbox: Place) -> None:
    target = load_target(sandbox.name)
    assert target.prometheus is not None and target.prometheus.url == url(sandbox)
    assert target.alertmanager is not None and target.alertmanager.url == url(sandbox, "alertmanager")
    assert target.alertmanager.matchers == {}


@pytest.mark.usefixtures("practice")
def test_alerts_go_to_the_sandboxs_alertmanager_and_rules_can_be_reloaded(watched: Place) -> None:
    alerts = f"{url(watched, 'alertmanager')}/api/v2/alerts"
    until(lambda: "Practice" in httpx.get(alerts, trust_env=False).text)


def test_the_queue_is_right_whenever_it_is_scraped_and_absent_while_nobody_knows(watched: Place) -> None:
    def told() -> dict[str, float]:
        text = httpx.get(f"{url(watched, 'api')}/metrics/prometheus", timeout=10, trust_env=False).text
        return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("triage_")}

    assert told()["triage_queue_size"] == 42
    faults.break_sandbox(watched, "queue-stuck")
    assert told()["triage_oldest_item_age_seconds"] > 5 * 86400
    faults.heal(watched)
    with postgres_server.superuser(watched) as connection:
        connection.execute("UPDATE triage_items SET status = 'skipped' WHERE status IN ('pending', 'in_review')")
    assert told() == {"triage_queue_size": 0, "triage_oldest_item_age_seconds": 0}
    faults.break_sandbox(watched, "postgres-down")
    assert told() == {}
    faults.heal(watched)


def test_every_path_begins_with_its_errors_at_0(sandbox: Place) -> None:
    text = httpx.get(f"{url(sandbox, 'api')}/metrics/prometheus", timeout=10, trust_env=False).text
    for path in ("/documents", "/candidates/generate", "/auth/login", "/triage/queue"):
        assert f'path="{path}",status="500"}}' in text
    assert 'path="/metrics/prometheus"' not in text, "that it is scraped is no request of a user"


# --- where it is not, and when it goes


@pytest.fixture
def bare_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH on which Prometheus and what belongs to it are not found."""
    hidden = {*monitoring.COMPONENTS.values(), "promtool", "amtool"}
    bare = tmp_path / "bin"
    bare.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*") if Path(folder).is_dir() else ():
            if program.name not in hidden and not os.path.lexists(bare / program.name):
                (bare / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(bare))


@pytest.mark.slow
@pytest.mark.usefixtures("bare_path")
def test_without_the_programs_the_rest_works_and_no_prometheus_is_named(run_json: Callable[..., Any]) -> None:
    place = stack.up("unwatched")
    try:
        target = load_target("unwatched")
        assert target.prometheus is None and target.alertmanager is None
        told = stack.status(place)
        assert set(told["parts"]) == {*PARTS, stack.LLM, stack.TLS}
        assert told["unwatched"] == "prometheus and prometheus-alertmanager are not installed"
        assert not (place.folder / "prometheus").exists()
        with pytest.raises(SandboxError, match="this sandbox has no prometheus: prometheus was not installed"):
            faults.break_sandbox(place, "prometheus-down")
        assert faults.heal(place) == []
        # What has no other source is skipped with the reason, the rest is told without its history.
        ended, document = run_json("key-metrics", "high-error-rate", "alert-rules", "--target", "unwatched")
        told = {run.notebook: run for run in document.runs}
        verdicts = {name: run.status for name, run in told.items()}
        assert verdicts == {"key-metrics": "OK", "high-error-rate": "OK", "alert-rules": "UNKNOWN"}, ended
        skipped = [finding for finding in told["alert-rules"].findings if finding.status is Status.SKIPPED]
        assert skipped == list(told["alert-rules"].findings) and "are not installed" in skipped[0].message
        rates = {f.object: f for f in told["key-metrics"].findings if f.check == "prometheus.request_rate"}
        assert rates["requests"].status is Status.OK and rates["history"].acknowledged is not None
    finally:
        stack.down(place)


def test_as_built_it_is_scraped_too_and_has_none_of_the_documented_metrics_now(as_built: Place) -> None:
    until(lambda: set(ask(as_built, "count by (job) (scrape_duration_seconds)")) == _JOBS)
    assert number(as_built, 'up{job="shrimp-api"}') == 1
    assert ask(as_built, "system_cpu_usage")
    for missing in ("http_requests_total", "triage_queue_size", "user_login_total"):
        assert ask(as_built, missing) == {} == ask(as_built, f"last_over_time({missing}[40d])"), missing


def test_no_password_is_in_an_argument_or_a_file_that_others_may_read(as_built: Place) -> None:
    secrets = {path.read_text() for path in (as_built.folder / "secrets").iterdir()}
    for process in processes.find(as_built):
        assert not [secret for secret in secrets if secret in " ".join(process.cmdline())]
    started = [process for part in monitoring.COMPONENTS for process in processes.of_part(as_built, part)]
    assert len(started) == len(monitoring.COMPONENTS)
    assert not [p for p in started for value in p.environ().values() if value in secrets]
    for folder in ("prometheus", "alertmanager"):
        assert (as_built.folder / folder).stat().st_mode & 0o077 == 0
        for path in (as_built.folder / folder).glob("*.yml"):
            assert path.stat().st_mode & 0o077 == 0 and not [s for s in secrets if s in path.read_text()]


def test_what_was_killed_is_healed_and_down_leaves_no_process(as_built: Place) -> None:
    for process in processes.of_part(as_built, "alertmanager"):
        process.kill()
        process.wait(10)
    assert stack.status(as_built)["parts"]["alertmanager"]["runs"] is False
    assert faults.heal(as_built) == ["alertmanager did not run"]
    started = [process for part in monitoring.COMPONENTS for process in processes.of_part(as_built, part)]
    stack.down(as_built)
    assert not as_built.exists and not [process for process in started if process.is_running()]


def test_it_can_be_left_out(runbook: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    try:
        told = runbook("sandbox", "up", "--name", "lean", "--without-monitoring").stdout
        assert "no Prometheus: it was not wanted" in told and load_target("lean").prometheus is None
    finally:
        stack.down(Place("lean"))


# --- for real


def test_thirty_percent_of_errors_are_seen_as_more_than_ten_of_all_requests(watched: Place) -> None:
    faults.break_sandbox(watched, "errors-30")
    ends: Counter[str] = Counter()
    bringing = threading.Thread(target=lambda: ends.update(load(watched, 5, 22)))
    bringing.start()
    until(lambda: number(watched, f"({_5XX % '1m'} / {_ALL % '1m'} > bool 0.1) or vector(0)") == 1)
    bringing.join()
    faults.heal(watched)
    assert set(ends) == {"200", "500"} and ends["500"] / ends.total() == pytest.approx(0.15, abs=0.02)
    assert load(watched, 1, 10) == {"200": 10}


@pytest.mark.parametrize(("seconds", "rate"), [(0, 1), (1, 0), (1e9, 1), (1, 1e9), (float("nan"), 1)])
def test_a_load_is_bounded(sandbox: Place, seconds: float, rate: float) -> None:
    with pytest.raises(SandboxError, match="a load is bounded"):
        load(sandbox, seconds, rate)
