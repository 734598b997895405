"""High error rates for real: path, moment and cause are named by the notebook, on a sandbox that is broken."""

import base64
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from engine import Engine
from monitoring import Running, free_port, line, prometheus
from running import only, wait_for

from runbook.happened import around
from runbook.happened.around import COLUMNS
from runbook.happened.around import check as check_around
from runbook.model import Answer, Finding, Findings, Status, UsageError
from runbook.model.plan import Entry, Plan, Step
from runbook.plans import place as plans
from runbook.prometheus import FailingPaths, errors_by_path, errors_since, moment_of, window
from runbook.session import open_run
from runbook.session.display import explain
from runbook_sandbox import faults, monitoring, postgres_server
from runbook_sandbox.load import load
from runbook_sandbox.monitoring import parts
from runbook_sandbox.monitoring.truth import DENSE_STEP, truth
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
with_prometheus = pytest.mark.skipif(not monitoring.installed(), reason="Prometheus and Alertmanager are not installed")
CANDIDATES = "POST /candidates/generate"
# Of the sandbox of these tests: they wait for scrapes most of their time.
SCRAPE_SECONDS = 2


@pytest.fixture(scope="module", autouse=True)
def scraped_often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "SCRAPE_SECONDS", SCRAPE_SECONDS)
        yield


@contextmanager
def requests(place: Place, seconds: float, per_second: float = 20) -> Iterator[None]:
    """Send requests as users do for so long; when the block ends, they have been counted and scraped."""
    scraped_after(place, time.time())  # what came before the first scrape has no moment
    sending = threading.Thread(target=load, args=(place, seconds, per_second))
    sending.start()
    yield
    sending.join()
    scraped_after(place, time.time())


def scraped_after(place: Place, moment: float) -> None:
    """Wait until Prometheus has scraped the service after a moment."""
    port = place.read("state.json")["ports"]["prometheus"]
    query = {"query": 'max(timestamp(up{job="shrimp-api"}))'}

    def scraped() -> bool:
        told = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params=query, trust_env=False).json()
        result = told["data"]["result"]
        return bool(result) and float(result[0]["value"][1]) > moment

    wait_for(scraped)


def broken(place: Place, fault: str) -> datetime:
    """Break the sandbox, and return when that was done."""
    faults.break_sandbox(place, fault)
    return datetime.now(UTC)


# --- what must be shown


@with_prometheus
@pytest.mark.usefixtures("watched", "restarted")  # each needs 5 s until it knows its targets: both at once
def test_the_notebook_names_path_moment_and_the_revoked_key(
    watched: Place, run_json: Callable[..., Any], archive: Path
) -> None:
    with requests(watched, 9):
        time.sleep(4.5)
        truth = broken(watched, "llm-key-revoked")
    status, document = run_json("high-error-rate", "--target", "watched", "-p", "seconds=1")
    faults.heal(watched)
    record = only(document)
    assert (status, record.status) == (2, CRITICAL), record.error
    found = {(finding.check, finding.object.partition(" (")[0]): finding for finding in record.findings}
    assert found["prometheus.errors_by_path", CANDIDATES].status is CRITICAL
    since = found["prometheus.errors_since", CANDIDATES]
    assert since.status is CRITICAL
    told = datetime.strptime(since.message.split(" since ")[1][:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert abs(told - truth) <= timedelta(seconds=SCRAPE_SECONDS + 1), "within one scrape interval of the truth"
    model = found["llm.reachable", "language model"]
    assert (model.status, model.value) == (CRITICAL, "key refused")
    assert "invalid_api_key" in model.message and "stand-in of the practice stack" in model.object
    assert found["api.circuit_breakers", "ollama_api"].status is CRITICAL
    failing = ("prometheus.errors_by_path", CANDIDATES), ("prometheus.errors_since", CANDIDATES)
    for one in (*failing, ("api.circuit_breakers", "ollama_api")):
        assert found[one].explained_by == "llm.reachable" and found[one].next.startswith("first llm.reachable")
    first = next(finding for finding in Findings(record.findings).worst_first() if finding.bad)
    assert first.check == "llm.reachable", "the cause comes before what it makes fail"
    assert "prove nothing" in found["llm.told", "service"].message
    assert any("LLM request failed" in f.object for f in record.findings if f.check == "logs.compared")
    key = (watched.folder / "secrets" / "llm").read_text()
    assert not [path for path in archive.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]


@pytest.mark.slow
@with_prometheus
def test_thirty_percent_of_one_path_are_told_with_their_moment(watched: Place) -> None:
    with requests(watched, 10):
        time.sleep(4.5)
        truth = broken(watched, "errors-30")
    faults.heal(watched)
    run = open_run("tests", target="watched", needs=["prometheus"])
    given = window(hours=0.05)
    since = run.ask(errors_since, window=given)
    paths = run.ask(errors_by_path, window=given)
    run.close()
    row = since.frame.set_index("path").loc[CANDIDATES]
    assert abs(row["begins"] - truth) <= timedelta(seconds=SCRAPE_SECONDS) and abs(row["share"] - 30) < 6
    assert row["earliest"] - timedelta(seconds=1) <= truth <= row["latest"]
    assert moment_of(since.frame) == f"{row['begins']:%Y-%m-%dT%H:%M:%S}"
    assert {finding.object: finding.status for finding in paths.findings}[CANDIDATES] is CRITICAL
    assert drawn(FailingPaths(paths, since)).startswith(b"\x89PNG")


@with_prometheus
@pytest.mark.parametrize("look", [timedelta(minutes=25), timedelta(hours=2)], ids=["while it lasts", "when it is over"])
def test_the_incident_of_the_sandboxs_past_is_found(sandbox: Place, look: timedelta) -> None:
    incident = truth().incident
    run = open_run("tests", target=sandbox.name, needs=["prometheus"])
    answer = run.ask(errors_since, window=window(hours=6, until=(incident.begins + look).isoformat()))
    run.close()
    (row,) = answer.frame.to_dict("records")
    assert row["path"] == f"{incident.method} {incident.path}"
    assert abs(row["begins"] - incident.begins) <= DENSE_STEP, "the past is sampled once a minute"
    assert row["earliest"] <= incident.begins <= row["latest"]
    lasts = look < incident.ends - incident.begins
    assert pd.isna(row["ends"]) if lasts else abs(row["ends"] - incident.ends) <= DENSE_STEP
    assert answer.findings[0].status is (CRITICAL if lasts else WARNING)


def drawn(plot: FailingPaths) -> bytes:
    shown = plot._repr_mimebundle_()["image/png"]
    return shown if isinstance(shown, bytes) else base64.b64decode(shown)


def test_only_what_depends_on_a_cause_that_is_critical_is_explained_by_it() -> None:
    def bad(check: str, name: str, status: Status = CRITICAL) -> Finding:
        return Finding(object=name, status=status, message="fails", check=check, next="see")

    questions = {"prometheus.errors_by_path": errors_by_path}
    paths = bad("prometheus.errors_by_path", CANDIDATES), bad("prometheus.errors_by_path", "GET /documents")
    told = explain(Findings([*paths, bad("llm.reachable", "model")]), questions, set())
    assert [finding.explained_by for finding in told] == ["llm.reachable", "", ""]
    well = explain(Findings([*paths, bad("llm.reachable", "model", Status.OK)]), questions, set())
    assert not any(finding.explained_by for finding in well) and [one.next for one in well] == ["see"] * 3


def test_a_plot_of_nothing_is_drawn_as_well() -> None:
    nothing = Answer(errors_by_path, None, (), datetime.now(UTC), 0.0)
    assert drawn(FailingPaths(nothing, nothing)).startswith(b"\x89PNG")


# --- what else happened


@pytest.fixture
def ask() -> Iterator[Callable[..., Any]]:
    """Ask what happened around a moment; return the answer."""
    runs = []

    def asking(target: str, moment: str = "", **more: Any) -> Any:
        run = open_run("tests", target=target, needs=[])
        runs.append(run)
        return run.ask(around, moment=moment, **more)

    yield asking
    for run in runs:
        run.close()


def test_a_moment_is_read_as_the_runbook_writes_it(profile: Callable[..., str], ask: Callable[..., Any]) -> None:
    name = profile('[redis]\nurl = "redis://127.0.0.1:1/0"')
    assert ask(name, "2026-01-31 14:30 UTC").frame.attrs["moment"] == "2026-01-31T14:30:00+00:00"
    with pytest.raises(UsageError, match="'noon' is no time"):
        ask(name, "noon")


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()


def test_a_configuration_that_was_read_anew_is_the_lead(watched: Place, ask: Callable[..., Any]) -> None:
    time.sleep(max(0, 6 - (datetime.now(UTC) - started(watched)).total_seconds()))
    with postgres_server.superuser(watched) as connection:
        connection.execute("SELECT pg_reload_conf()")
    moment = datetime.now(UTC)
    wait_for(lambda: "PostgreSQL read its configuration anew" in set(ask("watched", iso(moment)).frame["what"]))
    answer = ask("watched", iso(moment))
    found = {finding.object: finding for finding in answer.findings}
    lead = found["PostgreSQL read its configuration anew"]
    assert lead.status is WARNING and "at the same moment" in lead.message and "pg_conf_load_time()" in lead.message
    assert "containers" in found["what is known"].message and "releases" in found["what is known"].message
    assert answer.frame["distance"].abs().is_monotonic_increasing


def started(place: Place) -> datetime:
    with postgres_server.superuser(place) as connection:
        (moment,) = connection.execute("SELECT pg_postmaster_start_time()").fetchone() or (None,)
    assert isinstance(moment, datetime)
    return moment


@pytest.mark.slow
@with_prometheus
def test_a_restart_of_the_service_is_known_from_its_counters(watched: Place, ask: Callable[..., Any]) -> None:
    faults.break_sandbox(watched, "api-down")
    time.sleep(6)  # what Prometheus tells is looked at each 5 s
    faults.heal(watched)
    moment = datetime.now(UTC)
    load(watched, 1, 5)

    def known() -> list[Finding]:
        answer = ask("watched", iso(moment))
        return [finding for finding in answer.findings if "shrimp-api" in finding.object]

    wait_for(lambda: {"down", "again"} <= words(known()), 25)
    assert all(finding.status is WARNING for finding in known() if "after it" not in finding.message)


EVERY = (15, 60)  # seconds between scrapes
END = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
RESTARTS = [END - timedelta(hours=2, minutes=48, seconds=7), END - timedelta(minutes=48, seconds=7)]


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Four hours of counters that began anew twice, two hours apart, from services that tell no start of their own.

    Each is scraped at another interval.
    """
    lines, jobs = ["# TYPE http_requests counter"], []
    for every in EVERY:
        value = 100.0
        for at in (END - timedelta(seconds=every * n) for n in range(4 * 3600 // every, -1, -1)):
            value = 3 if any(at - timedelta(seconds=every) < one <= at for one in RESTARTS) else value + 5
            labels = {"job": f"each-{every}", "instance": "a:8000", "method": "GET", "path": "/a", "status": "200"}
            lines.append(line("http_requests_total", labels, value, at))
            # A path that is asked for again only some scrapes after it.
            if not any(one <= at < one + timedelta(seconds=3 * every) for one in RESTARTS):
                lines.append(line("http_requests_total", labels | {"path": "/rare"}, value / 5, at))
        jobs.append(f"- job_name: each-{every}\n  scrape_interval: {every}s\n  scrape_timeout: 1s")
        jobs.append(f"  static_configs: [{{targets: ['127.0.0.1:{free_port()}']}}]")
    folder = tmp_path_factory.mktemp("restarted")
    with prometheus(folder, past="\n".join(lines), more="\n".join(jobs)) as running:
        targets = f"{running.url}/api/v1/targets"
        wait_for(lambda: len(httpx.get(targets, trust_env=False).json()["data"]["activeTargets"]) == len(EVERY))
        yield running


@pytest.mark.parametrize("every", EVERY)
def test_restarts_that_only_counters_tell_are_known_near_and_far(
    restarted: Running, profile: Callable[..., str], ask: Callable[..., Any], every: int
) -> None:
    name = profile(f'[prometheus]\nurl = "{restarted.url}"\n[prometheus.jobs]\napi = "each-{every}"')
    answer = ask(name, iso(RESTARTS[1] + timedelta(minutes=2)), hours=3.5)
    found = answer.frame[answer.frame["what"].str.contains("a:8000 began anew")].sort_values("time")
    assert len(found) == 2, "each once"
    for told, within, restart in zip(found["time"], found["within"], RESTARTS, strict=True):
        assert abs((told - restart).total_seconds()) <= within
        assert within == pytest.approx(every / 2), "between the last sample before it and the first one after it"
    leads = [finding for finding in answer.findings if finding.status is WARNING]
    assert len(leads) == 1 and "2 min before it" in leads[0].message and "began anew" in leads[0].object
    scrapes = (END - timedelta(seconds=every * n) for n in range(1000))
    after = max(at for at in scrapes if at < RESTARTS[1] + timedelta(seconds=every))
    before = after - timedelta(seconds=every)
    assert f"between {before:%Y-%m-%d %H:%M:%S} and {after:%H:%M:%S} UTC" in leads[0].message


def words(findings: list[Finding]) -> set[str]:
    told = " ".join(finding.object for finding in findings)
    return {word for word, said in (("down", "not be scraped any more"), ("again", "scraped again")) if said in told}


def test_a_plan_that_was_carried_out_is_told_with_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Callable[..., str], ask: Callable[..., Any]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    name = profile('[redis]\nurl = "redis://127.0.0.1:1/0"')
    begun = datetime.now(UTC) - timedelta(minutes=30)
    plan = carried_out("pln_carriedout", name, begun)
    carried_out("pln_ofanother", "another", begun)
    found = {f.object: f for f in ask(name, iso(begun + timedelta(minutes=4))).findings}
    (lead,) = (finding for subject, finding in found.items() if plan.id in subject)
    assert lead.status is WARNING and "4 min before it" in lead.message and "docker restart api" in lead.object
    assert "1 thing known in the 10 min" in found["what is known"].message
    far = {f.object: f for f in ask(name, iso(begun + timedelta(minutes=20))).findings}
    assert {finding.status for finding in far.values()} == {OK}
    assert "nothing known in the 10 min" in far["what is known"].message
    assert not [subject for subject in far if "ofanother" in subject]


def carried_out(plan_id: str, target: str, begun: datetime) -> Plan:
    """Keep a plan whose one step was begun at a moment."""
    step = Step(act="restart", shown="docker restart api", arguments={})
    plan = Plan(
        id=plan_id, change="docker.restart", summary="restart api", notebook="api-down", target=target, identity={},
        user="a", host="one", made=plans.stamp(begun), expires=plans.stamp(begun), arguments={}, observed={},
        expected={},
        steps=[step], blast_radius=[], inverse=[], irreversible="", restored={}, checks=[], patience=1.0,
    )  # fmt: skip
    plans.keep(plan)
    plans.note(plan, Entry(at=plans.stamp(begun), event="confirmed"))
    plans.note(plan, Entry(at=plans.stamp(begun), event="intent", step=1))
    return plan


def test_a_checkout_that_came_to_another_commit_is_a_release(
    tmp_path: Path, profile: Callable[..., str], ask: Callable[..., Any]
) -> None:
    folder = tmp_path / "checkout"

    def git(*argv: str) -> None:
        own = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", folder, *own, *argv], check=True, capture_output=True)

    folder.mkdir()
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "a release \x1b[31m")
    with (folder / ".git" / "logs" / "HEAD").open("a") as reflog:
        reflog.write(f"{'0' * 40} {'a' * 40} a <a@example.org> 999999999999 +0000\tcommit: in the year 33658\n")
    name = profile(f'[service]\ncheckout = "{folder}"')
    found = ask(name, iso(datetime.now(UTC) + timedelta(minutes=1))).findings
    (lead,) = (finding for finding in found if "checkout came to" in finding.object)
    assert lead.status is WARNING and "a release" in lead.object and "\x1b" not in lead.object
    elsewhere = ask(profile('[service]\ncheckout = "/nowhere"', name="gone"), iso(datetime.now(UTC))).findings
    assert [f.status for f in elsewhere if f.object.startswith("releases")] == [UNKNOWN]


def test_a_deployment_is_told_with_its_image(
    docker_host: Engine, profile: Callable[..., str], ask: Callable[..., Any]
) -> None:
    docker_host.image("shrimp/deployed", version=b"7")
    docker_host.run("deployed", "shrimp/deployed", "/bin/sleep", "300")
    try:
        name = profile('[containers]\napi = "deployed"')
        found = ask(name, iso(datetime.now(UTC) + timedelta(minutes=2))).findings
        told = {finding.object: finding for finding in found}
        lead = told["the container deployed (api) was made, from shrimp/deployed: a deployment"]
        assert lead.status is WARNING and "docker inspect" in lead.message and "api-down" in lead.next
    finally:
        docker_host.client.containers.get("deployed").remove(force=True)


def test_where_nothing_is_known_that_is_told_and_is_no_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Callable[..., str], ask: Callable[..., Any]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (only_one,) = ask(profile('[redis]\nurl = "redis://127.0.0.1:1/0"'), iso(datetime.now(UTC))).findings
    assert only_one.status is OK and "nothing known" in only_one.message and "looked at: plans" in only_one.message
    down = ask(profile('[prometheus]\nurl = "http://127.0.0.1:1"', name="down"), iso(datetime.now(UTC))).findings
    assert [f.status for f in down if "Prometheus" in f.object] == [UNKNOWN]


def test_of_a_crash_loop_only_the_nearest_are_told() -> None:
    moment = pd.Timestamp("2026-01-31T14:30", tz="UTC")
    times = [moment - pd.Timedelta(seconds=n) for n in range(60)]
    rows = [(time, f"api: start {n}", "docker events", 0.0, "see", -float(n)) for n, time in enumerate(times)]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    looked = {"looked_at": ["containers"], "not_there": [], "silent": {}, "since": ""}
    frame.attrs = {**looked, "moment": moment.isoformat()}
    found = check_around(frame)
    assert len(found) == 12 and "50 more are WARNING" in found[10].message and "60 things known" in found[11].message


def test_the_metadata_lead_from_the_alert_to_it() -> None:
    notebook = Path(__file__).parent.parent / "notebooks" / "3-incident-response" / "high-error-rate.ipynb"
    told = json.loads(notebook.read_text())["metadata"]["runbook"]
    assert "HighErrorRate" in told["alerts"] and told["severity"] == "P1" and told["changes"] == "none"
