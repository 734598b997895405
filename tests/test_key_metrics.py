"""The key metrics of services of many kinds, each a job of one real Prometheus; what is missing is told apart."""

import json
import math
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partialmethod
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from monitoring import Running, free_port, line, prometheus, serving
from running import wait_for

from runbook import prometheus as key
from runbook import queue
from runbook.connections import PrometheusConnection
from runbook.model import Finding, Question, Status, UsageError
from runbook.prometheus.elsewhere import quantile
from runbook.prometheus.plots import Courses, _with_gaps
from runbook.prometheus.seen import seen
from runbook.session import open_run
from runbook.session.display import ShownAnswer

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
END = datetime.now(UTC).replace(second=0, microsecond=0)
STEP = 30
LENGTH = 4200  # seconds of samples before END, and before the same moments a day and a week before
EDGES = (0.1, 1.0, 2.0, 5.0)
UNTIL = END.strftime("%Y-%m-%dT%H:%M")
# One hour of an hour's samples: rates at its begin have all that they need.
HOUR = key.Window(1.0, END)
CLIENT = httpx.Client(trust_env=False)


def counter(per_minute: Sequence[float] | float, at: np.ndarray) -> np.ndarray:
    """Return a counter that grows so much in a minute, at each of the moments (seconds before END, falling)."""
    rate = np.broadcast_to(np.asarray(per_minute, dtype=float), at.shape)
    return np.cumsum(rate * STEP / 60)


class Past:
    """Samples of a past in OpenMetrics text, family by family."""

    def __init__(self) -> None:
        self.families: dict[str, list[str]] = {}

    def add(self, name: str, labels: Mapping[str, str], values: Any, *, days: int = 0, keep: Any = None) -> None:
        """Add a series that ends at END, some days before; where ``keep`` is false there is no sample."""
        at = moments()
        told = np.broadcast_to(np.asarray(values, dtype=float), at.shape)
        kept = np.ones(len(at), dtype=bool) if keep is None else keep
        end = END - timedelta(days=days)
        rows = self.families.setdefault(name, [])
        rows += [
            line(name, labels, float(value), end - timedelta(seconds=float(back)))
            for back, value, there in zip(at, told, kept, strict=True)
            if there
        ]

    def service(
        self,
        job: str,
        *,
        now: Any = 60.0,
        before: Any = 60.0,
        failing: Any = 0.0,
        seconds: Sequence[float] = (0.9, 0.1),
        keep: Any = None,
        **labels: str,
    ) -> None:
        """Add requests and their times: ``failing`` of them 5xx now; ``seconds`` are the shares in each bucket."""
        for days in (0, 1, 7):
            rate, share = (now, failing) if days == 0 else (before, 0.0)
            every = counter(rate, moments())
            bad = counter(np.asarray(rate) * share, moments())
            common = {"job": job, "instance": "a", **labels}
            for status, values in (("200", every - bad), ("500", bad)):
                more = {"method": "GET", "path": "/documents", "status": status}
                self.add("http_requests_total", {**common, **more}, values, days=days, keep=keep)
            shares = np.cumsum([*seconds, *[0.0] * (len(EDGES) - len(seconds))])
            edges = [*map(str, EDGES), "+Inf"]
            for edge, part in zip(edges, [*shares, 1.0], strict=True):
                name = "http_request_duration_seconds_bucket"
                self.add(name, {**common, "path": "/documents", "le": edge}, every * part, days=days, keep=keep)
            self.add("up", {"job": job, "instance": "a"}, 1.0, days=days, keep=keep)

    def logins(self, job: str, well: float, refused: float) -> None:
        """Add log-ins, so many in a minute."""
        for status, rate in (("200", well), ("401", refused)):
            labels = {"job": job, "method": "POST", "path": "/auth/login", "status": status}
            self.add("http_requests_total", labels, counter(rate, moments()))

    @property
    def text(self) -> str:
        return "\n".join(row for rows in self.families.values() for row in rows)


def moments() -> np.ndarray:
    return np.arange(LENGTH, -1, -STEP)


def minutes_ago(more: float, less: float) -> np.ndarray:
    return (moments() <= more * 60) & (moments() > less * 60)


def everything() -> str:
    past = Past()
    past.service("well")
    past.service("failing", failing=0.3)
    past.service("rarely", now=3.0, before=3.0, failing=1.0)
    past.service("once", now=0.6, before=0.6, failing=0.5)
    past.service("one-percent", now=6000.0, before=6000.0, failing=0.009)
    past.service("gone", now=2.0)
    past.service("crowded", now=600.0)
    past.service("slow", seconds=(0.1, 0.1, 0.1, 0.7))
    past.service("beyond", seconds=(0.5, 0.2, 0.1, 0.1))
    past.service("slower", seconds=(0.0, 0.2, 0.8))
    past.service("pods", now=594.0, before=594.0)
    for days in (0, 1, 7):
        every = counter(6.0, moments())
        labels = {"job": "pods", "instance": "b", "path": "/documents"}
        for edge in (*map(str, EDGES), "+Inf"):
            values = every if edge in ("5.0", "+Inf") else 0.0
            past.add("http_request_duration_seconds_bucket", {**labels, "le": edge}, values, days=days)
    quiet = counter(60.0, moments())
    past.service("idle", now=np.where(moments() > 1800, 60.0, 0.0))
    past.service("gaps", keep=~minutes_ago(50, 15))
    past.service("stale", keep=minutes_ago(70, 30))
    # Begun anew twenty minutes ago.
    again = np.where(moments() > 1200, quiet, quiet - quiet[moments() == 1200] + 0.5)
    past.add("http_requests_total", {"job": "restarted", "status": "200"}, again)
    past.add("up", {"job": "restarted"}, 1.0)
    # The first 5xx series of its life is born ten minutes ago, while requests go on.
    past.service("born-late", now=60.0)
    born = {"job": "born-late", "method": "GET", "path": "/new", "status": "503"}
    past.add("http_requests_total", born, counter(40.0, moments()), keep=moments() <= 600)
    # It counts by other labels than these questions ask for; all of its requests fail.
    coded = {"job": "coded", "instance": "a", "handler": "/documents", "code": "500"}
    past.add("http_requests_total", coded, counter(60.0, moments()))
    past.add("up", {"job": "coded", "instance": "a"}, 1.0)
    past.add("up", {"job": "as-built"}, 1.0)
    past.add("up", {"job": "unreachable"}, 0.0)
    for job, well, refused in (("well", 2.0, 0.1), ("failing", 1.0, 2.0), ("slow", 0.03, 0.06)):
        past.logins(job, well, refused)
    for job, items, age in (("well", 0.0, 0.0), ("failing", 6000.0, 300_000.0), ("slow", math.nan, math.nan)):
        for days in (0, 1, 7):
            past.add("triage_queue_size", {"job": job}, items, days=days)
            past.add("triage_oldest_item_age_seconds", {"job": job}, age, days=days)
    for job, factor in (("well", 1.0), ("slow", 20.0)):
        for days in (0, 1, 7):
            shares = (1.0, 1.0) if days or factor == 1.0 else (0.0, 1.0)
            for edge, share in zip(("0.5", "10.0"), shares, strict=True):
                labels = {"job": job, "le": edge}
                past.add(
                    "candidate_generation_duration_seconds_bucket", labels, counter(6.0, moments()) * share, days=days
                )
            labels = {"job": job, "le": "+Inf"}
            past.add("candidate_generation_duration_seconds_bucket", labels, counter(6.0, moments()), days=days)
            database = {"job": f"postgres-{job}", "datname": "shrimp_annotation"}
            took = counter(600.0 * (1.0 if days else factor), moments())
            past.add("pg_stat_database_active_time", database, took, days=days)
            past.add("pg_stat_database_xact_commit", database, counter(120.0, moments()), days=days)
            past.add("pg_stat_database_xact_rollback", database, counter(0.0, moments()), days=days)
    hosts(past)
    return past.text


HOSTILE = "/mnt/<img src=x onerror=alert(1)>\n\u202egnp." + "x" * 400


def hosts(past: Past) -> None:
    for job, busy, used, full in (("hosts-well", 0.2, 0.5, 0.4), ("hosts-short", 0.97, 0.93, 0.95)):
        for days in (0, 1, 7):
            common = {"job": job, "instance": "h1"}
            for mode, share in (("idle", 1 - busy), ("user", busy)):
                past.add(
                    "node_cpu_seconds_total",
                    {**common, "cpu": "0", "mode": mode},
                    counter(60 * share, moments()),
                    days=days,
                )
            past.add("node_memory_MemTotal_bytes", common, 8e9, days=days)
            past.add("node_memory_MemAvailable_bytes", common, 8e9 * (1 - used), days=days)
            for mount in ("/", HOSTILE, f"{HOSTILE}y"):
                labels = {**common, "mountpoint": mount, "fstype": "ext4", "device": mount}
                past.add("node_filesystem_size_bytes", labels, 1e11, days=days)
                past.add("node_filesystem_avail_bytes", labels, 1e11 * (1 - full), days=days)
            for way in ("receive", "transmit"):
                rate = 60e6 * (50 if days == 0 and job == "hosts-short" else 1)
                past.add(
                    f"node_network_{way}_bytes_total", {**common, "device": "eth0"}, counter(rate, moments()), days=days
                )
    for number in range(600):
        labels = {"job": "hosts-very-many", "instance": f"h{number:03d}"}
        past.add("node_memory_MemTotal_bytes", labels, 100.0, keep=moments() < 60)
        past.add("node_memory_MemAvailable_bytes", labels, 50.0, keep=moments() < 60)
    for number in range(40):
        labels = {"job": "hosts-many", "instance": f"h{number:02d}"}
        past.add("node_memory_MemTotal_bytes", labels, 100.0)
        past.add("node_memory_MemAvailable_bytes", labels, float(number))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with prometheus(tmp_path_factory.mktemp("metrics"), past=everything()) as running:
        yield running


Ask = Callable[..., ShownAnswer]


@pytest.fixture
def ask(server: Running, profile: Callable[..., str]) -> Ask:
    """Ask a question of a service of some kind; the other jobs are well unless they are named."""

    def call(question: Question, api: str = "well", *, node: str = "hosts-well", postgres: str = "postgres-well",
             more: str = "", window: key.Window = HOUR, **arguments: Any) -> ShownAnswer:  # fmt: skip
        jobs = f'[prometheus.jobs]\napi = "{api}"\nnode = "{node}"\npostgres = "{postgres}"\n'
        name = profile(f'[prometheus]\nurl = "{server.url}"\n{jobs}{more}', f"kind-{api}")
        run = open_run("probe", target=name, needs=["prometheus"])
        try:
            return run.ask(question, window=window, **arguments)
        finally:
            run.close()

    return call


def by_object(answer: ShownAnswer) -> dict[str, Finding]:
    return {finding.object: finding for finding in answer.findings}


# The service


def test_a_service_that_is_well_is_told_with_what_it_was(ask: Ask) -> None:
    (found,) = ask(key.request_rate).findings
    assert found.status is OK and found.value == pytest.approx(60, rel=0.05)
    assert "a day before 60" in found.message and "a week before 60" in found.message
    assert 'sum(rate(http_requests_total{job="well"}[5m]))' in found.source and found.source.startswith("# ")


@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [
        ("well", OK, "UTC 0%"),
        ("failing", CRITICAL, "UTC 28.6%"),
        ("rarely", CRITICAL, "UTC 100%"),  # 0.05 requests/s: the runbook's rate() > 0.1 keeps silent
        ("once", WARNING, "too few for a share"),
        ("one-percent", OK, "UTC 0.9%"),  # 0.9 failed requests/s: the runbook's rule fires
        ("born-late", CRITICAL, "UTC 40%"),
        ("idle", OK, "UTC no request"),
    ],
)
def test_the_share_of_errors_is_that_of_the_requests(kind: str, status: Status, says: str, ask: Ask) -> None:
    found = by_object(ask(key.error_share, kind))["5xx"]
    assert found.status is status and says in found.message, found.message


@pytest.mark.parametrize(
    ("kind", "status", "says"),
    [
        ("well", OK, "UTC 550 ms"),
        ("slow", WARNING, "UTC 4,786 ms"),
        ("slower", OK, "UTC 1,938 ms"),
        ("pods", OK, "UTC 636 ms"),  # one pod in a hundred is slow: the runbook's rule fires for it
        ("idle", OK, "UTC no request"),
        ("beyond", WARNING, "UTC 5,000 ms"),
    ],
)
def test_p95_is_that_of_all_requests(kind: str, status: Status, says: str, ask: Ask) -> None:
    found = by_object(ask(key.response_time, kind))["p95"]
    assert found.status is status and says in found.message, found.message


def test_a_quantile_beyond_the_last_bucket_is_said_to_be_higher(ask: Ask) -> None:
    found = by_object(ask(key.response_time, "beyond"))
    assert "10% of the requests take longer than the last bucket tells" in found["p95"].message
    assert "longer than the last bucket" in found["p99"].message and "bucket" not in found["p50"].message


def test_requests_that_are_gone_and_many_more_than_before_are_told(ask: Ask) -> None:
    (gone,) = ask(key.request_rate, "gone").findings
    assert gone.status is WARNING and "only 3.33% of the requests of before are left" in gone.message
    assert "runbook run api-down --target" in gone.next
    (crowded,) = ask(key.request_rate, "crowded").findings
    assert crowded.status is WARNING and "10 times as much as before" in crowded.message


def test_a_counter_that_begins_anew_is_no_fall(ask: Ask) -> None:
    answer = ask(key.request_rate, "restarted")
    assert answer.findings[0].value == pytest.approx(60, rel=0.05)
    assert answer.frame is not None and answer.frame["value"].min() > 50


def test_log_ins_are_judged_where_there_are_enough(ask: Ask) -> None:
    assert by_object(ask(key.login_success))["log-ins that succeed"].status is OK
    failing = by_object(ask(key.login_success, "failing"))["log-ins that succeed"]
    assert failing.status is CRITICAL and "UTC 33.3%" in failing.message
    few = by_object(ask(key.login_success, "slow"))["log-ins that succeed"]
    assert few.status is OK and "too few to judge" in few.message
    none = by_object(ask(key.login_success, "gone"))["log-ins that succeed"]
    assert none.status is UNKNOWN and "not with the labels" in none.message


def test_the_end_of_a_window_is_not_called_now(ask: Ask) -> None:
    (found,) = ask(key.request_rate).findings
    assert f"at {END:%Y-%m-%d %H:%M} UTC" in found.message and "now" not in found.message


# The hosts


def test_hosts_that_are_well_and_short_of_everything(ask: Ask) -> None:
    wanted = ((key.processors, WARNING), (key.memory, WARNING), (key.disks, CRITICAL), (key.network, WARNING))
    for question, status in wanted:
        assert {found.status for found in ask(question).findings} == {OK}
        assert status in {found.status for found in ask(question, node="hosts-short").findings}, question.name
    (found,) = ask(key.memory, node="hosts-short").findings
    assert found.object == "h1 memory" and "UTC 93%" in found.message and found.threshold == 90


def test_hostile_labels_are_shown_on_one_line_and_bounded(ask: Ask) -> None:
    answer = ask(key.disks)
    shown = answer._repr_mimebundle_()
    assert "<img" not in shown["text/html"] and "\u202e" not in shown["text/plain"]
    assert all(len(found.object) < 120 and "\n" not in found.object for found in answer.findings)
    assert len({found.object for found in answer.findings}) == len(answer.findings) == 3
    assert Courses(answer)._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")


def test_of_many_hosts_the_worst_are_told_and_the_others_counted(ask: Ask) -> None:
    findings = ask(key.memory, node="hosts-many").findings
    assert len(findings) == 11 and findings[0].object == "h00 memory" and findings[0].status is CRITICAL
    assert "30 more are" in findings[-1].message


def test_more_hosts_than_can_be_judged_are_unknown(ask: Ask) -> None:
    found = by_object(ask(key.memory, node="hosts-very-many"))["other memory"]
    assert found.status is UNKNOWN and "550 more series are neither shown nor judged" in found.message


# The work


def test_an_empty_queue_is_zero_and_not_missing(ask: Ask) -> None:
    found = by_object(ask(key.queue))
    assert found["waiting"].status is OK and "UTC 0 items" in found["waiting"].message
    full = by_object(ask(key.queue, "failing"))
    assert full["waiting"].status is CRITICAL and full["oldest"].status is CRITICAL
    strange = by_object(ask(key.queue, "slow"))["waiting"]
    assert strange.status is UNKNOWN and "no value" in strange.message


def test_the_model_and_the_database_are_compared_with_before(ask: Ask) -> None:
    assert {found.status for found in ask(key.model_time).findings} == {OK}
    slow = by_object(ask(key.model_time, "slow"))["model p95"]
    assert slow.status is WARNING and "times as much as before" in slow.message
    (well,) = ask(key.database_time).findings
    assert well.status is OK and well.value == pytest.approx(5, rel=0.05)
    (slow,) = ask(key.database_time, postgres="postgres-slow").findings
    assert slow.status is WARNING and slow.message.startswith("20 times as much as before: at ")


# What is missing


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("as-built", "the metric http_requests_total does not exist here"),
        ("unreachable", 'Prometheus cannot scrape job "unreachable"'),
        ("of-no-such-name", 'Prometheus scrapes no job "of-no-such-name"'),
        ("stale", "no sample since"),
    ],
)
def test_missing_is_unknown_with_its_reason_and_never_zero(kind: str, says: str, ask: Ask) -> None:
    answer = ask(key.request_rate, kind)
    (found,) = answer.findings
    assert found.status is UNKNOWN and says in found.message and found.value is None and found.next


def test_a_service_that_counts_by_other_labels_is_unknown_and_not_without_errors(
    server: Running, profile: Callable[..., str], ask: Ask
) -> None:
    errors = [one for one in ask(key.error_share, "coded").findings if one.status is UNKNOWN]
    assert "no series of http_requests_total carries the label status" in errors[0].message
    (logins,) = [one for one in ask(key.login_success, "coded").findings if one.status is not OK]
    assert logins.status is UNKNOWN and "carries the label path" in logins.message
    assert "label status" in ask(key.panel_error_rate, "coded").findings[0].message
    paths = ask(key.errors_by_path, "coded")
    assert paths.verdict is UNKNOWN and "carries the label status" in paths.findings[0].message
    target = profile(f'[prometheus]\nurl = "{server.url}"\n[prometheus.jobs]\napi = "coded"\n', "coded")
    run = open_run("probe", target=target, needs=["prometheus"])
    rules = by_object(run.ask(key.rule_metrics, days=1))
    run.close()
    for name in ("HighErrorRate", "ErrorBudgetBurnsFast"):
        assert rules[name].status is UNKNOWN and rules[name].message.startswith("no series carries the label status")


def test_a_metric_that_ended_before_the_window_says_when(ask: Ask) -> None:
    (found,) = ask(key.request_rate, "stale", window=key.Window(0.25, END)).findings
    newest = (END - timedelta(minutes=30)).strftime("%H:")
    assert found.status is UNKNOWN and "no sample in this window; the newest is of about" in found.message
    assert newest in found.message or (END - timedelta(minutes=40)).strftime("%H:") in found.message


def test_what_is_missing_in_one_question_is_told_once(ask: Ask) -> None:
    answer = ask(key.response_time, "as-built")
    assert [found.object for found in answer.findings] == ["p50, p95, p99"]


def test_gaps_are_told_and_break_the_lines(ask: Ask) -> None:
    found = by_object(ask(key.scraping, "gaps"))['job "gaps"']
    assert found.status is WARNING and 25 <= float(found.value or 0) <= 35 and "longest gap from" in found.message
    assert by_object(ask(key.scraping))['job "well"'].status is OK
    frame = ask(key.request_rate, "gaps").frame
    assert frame is not None
    times, values = _with_gaps(frame[frame["when"] == "now"])
    assert values.isna().sum() == 1 and len(times) == len(values)


def test_a_job_that_is_not_scraped_is_told(ask: Ask) -> None:
    found = by_object(ask(key.scraping, "of-no-such-name"))['job "of-no-such-name"']
    assert found.status is UNKNOWN and "[prometheus.jobs] api =" in found.next


def test_a_target_that_cannot_be_scraped_is_told_with_prometheus_own_words(
    tmp_path: Path, profile: Callable[..., str]
) -> None:
    def answer(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        return (
            (200, {"Content-Type": "application/json"}, b'{"counters": {}}') if path == "/metrics" else (404, {}, b"")
        )

    with serving(answer) as service:
        jobs = {"shrimp-api": [service.url.removeprefix("http://")]}
        with prometheus(tmp_path / "p", jobs=jobs) as running:
            wait_for(lambda: running.ask("up"))
            name = profile(f'[prometheus]\nurl = "{running.url}"\n')
            run = open_run("probe", target=name, needs=["prometheus"])
            found = by_object(run.ask(key.scraping))['job "shrimp-api"']
    assert found.status is CRITICAL and "/metrics: " in found.message
    assert "/metrics/prometheus" in found.next


def test_a_prometheus_that_is_down_is_critical_and_explains_the_rest(profile: Callable[..., str]) -> None:
    name = profile(f'[prometheus]\nurl = "http://127.0.0.1:{free_port()}"\n')
    run = open_run("probe", target=name, needs=["prometheus"])
    (found,) = run.ask(key.scraping).findings
    assert found.status is CRITICAL and "no alert can fire" in found.message
    (rate,) = run.ask(key.request_rate, window=HOUR).findings
    assert rate.status is UNKNOWN and "refuses connections" in rate.message
    told = run.summary()._repr_mimebundle_()["text/plain"]
    assert "first prometheus.scraping" in told


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((401, {}, b""), "username and password, or token"),
        ((302, {"Location": "/login"}, b""), "Prometheus' own address"),
        ((200, {"Content-Type": "text/html"}, b"<html>"), "Prometheus' own address"),
        ((422, {}, b"{}"), "is Prometheus' own address (/api/v1/query below it answers), and its log"),
    ],
    ids=["log-in", "redirect", "page", "refused"],
)
def test_a_prometheus_that_does_not_let_one_in_is_unknown_with_what_to_do_and_may_alert(
    answer: tuple[int, dict[str, str], bytes], says: str, profile: Callable[..., str]
) -> None:
    with counting_service() as api, serving(lambda *_: answer) as served:
        name = profile(f'[prometheus]\nurl = "{served.url}"\n[api]\nurl = "{api}"\n')
        run = open_run("probe", target=name, needs=["api", "prometheus"])
        (found,) = run.ask(key.scraping).findings
        history = by_object(run.ask(key.request_rate))["history"]
    assert found.status is UNKNOWN and says in found.next
    assert history.status is UNKNOWN and says in history.next
    assert "no alert can fire" not in f"{found.message} {found.next} {history.next}"


def test_a_clock_that_is_ahead_is_followed_and_told(server: Running, profile: Callable[..., str]) -> None:
    def skewed(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        answer = CLIENT.get(f"{server.url}{path}")
        ahead = datetime.now(UTC) + timedelta(minutes=10)
        return answer.status_code, {"Date": f"{ahead:%a, %d %b %Y %H:%M:%S} GMT"}, answer.content

    with serving(skewed) as served:
        name = profile(f'[prometheus]\nurl = "{served.url}"\n[prometheus.jobs]\napi = "well"\n')
        run = open_run("probe", target=name, needs=["prometheus"])
        found = by_object(run.ask(key.scraping))["clock"]
    assert found.status is WARNING and "600 s ahead of" in found.message.replace("601", "600").replace("599", "600")


def test_the_questions_of_a_notebook_ask_each_query_once(server: Running, profile: Callable[..., str]) -> None:
    asked: Counter[str] = Counter()
    lock = threading.Lock()

    def counting(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        with lock:
            asked[path] += 1
        answer = CLIENT.get(f"{server.url}{path}")
        return answer.status_code, {"Content-Type": "application/json"}, answer.content

    jobs = '[prometheus.jobs]\napi = "well"\nnode = "hosts-well"\npostgres = "postgres-well"\n'
    with serving(counting) as served:
        name = profile(f'[prometheus]\nurl = "{served.url}"\n{jobs}')
        run = open_run("probe", target=name, needs=["prometheus"])
        for question in key.KEY_METRICS:
            run.ask(question, window=HOUR)
        ranges = [path for path in asked if "query_range" in path]
        assert len(ranges) == len(set(ranges)) and max(asked.values()) == 1 and len(ranges) < 65
        run.ask(key.request_rate, window=key.Window(2.0, END))
        assert max(asked[path] for path in asked if "query_range" in path) == 1
        for again in (key.window(1.0), key.window(1.0)):
            before = asked.total()
            run.ask(key.request_rate, window=again)
            assert asked.total() > before, "a cell that is run again asks anew"


def test_a_query_that_fails_costs_its_own_figure_only(server: Running, profile: Callable[..., str]) -> None:
    def partly(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if "5.." in path:
            body = {
                "status": "error",
                "errorType": "execution",
                "error": "query processing would load too many samples",
            }
            return 422, {"Content-Type": "application/json"}, json.dumps(body).encode()
        answer = CLIENT.get(f"{server.url}{path}")
        return answer.status_code, {"Content-Type": "application/json"}, answer.content

    with serving(partly) as served:
        name = profile(f'[prometheus]\nurl = "{served.url}"\n[prometheus.jobs]\napi = "well"\n')
        run = open_run("probe", target=name, needs=["prometheus"])
        found = by_object(run.ask(key.error_share, window=HOUR))
    assert found["5xx"].status is UNKNOWN and "would load too many samples" in found["5xx"].message
    assert found["4xx"].status is OK


# Without Prometheus, or without the metric


EXPOSITION = """# TYPE http_requests_total counter
http_requests_total{{method="GET",path="/a",status="200"}} {well}
http_requests_total{{method="GET",path="/a",status="500"}} {failed}
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{{path="/a",le="1.0"}} {well}
http_request_duration_seconds_bucket{{path="/a",le="+Inf"}} {every}
# TYPE triage_queue_size gauge
triage_queue_size 7
"""


def test_without_prometheus_the_exposition_is_read_twice(profile: Callable[..., str]) -> None:
    count = Counter[str]()

    def service(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if path != "/metrics/prometheus":
            return 200, {"Content-Type": "application/json"}, b'{"version": "1"}'
        count[path] += 1
        well, failed = 100 * count[path], 50 * count[path]
        return (
            200,
            {"Content-Type": "text/plain"},
            EXPOSITION.format(well=well, failed=failed, every=well + failed).encode(),
        )

    with serving(service) as served:
        run = open_run("probe", target=profile(f'[api]\nurl = "{served.url}"\n'), needs=["api", "prometheus"])
        rate = by_object(run.ask(key.request_rate))
        errors = by_object(run.ask(key.error_share))
        waiting = by_object(run.ask(key.queue))
    assert rate["history"].status is UNKNOWN and "has no [prometheus]" in rate["history"].message
    assert rate["requests"].value == pytest.approx(4500, rel=0.2) and "two samples" in rate["requests"].message
    assert errors["5xx"].status is CRITICAL and "now 33.3%" in errors["5xx"].message
    assert waiting["waiting"].status is OK and "now 7 items" in waiting["waiting"].message
    assert waiting["oldest"].status is UNKNOWN
    assert count["/metrics/prometheus"] == 2  # for all the questions together


def test_a_sample_of_one_request_is_no_rate_where_the_log_has_more(tmp_path: Path, profile: Callable[..., str]) -> None:
    end = datetime.now(UTC)
    with counting_service(each=1) as api:
        only = profile(f'[api]\nurl = "{api}"\n')
        alone = by_object(open_run("probe", target=only, needs=["api", "prometheus"]).ask(key.request_rate))
        logs = f'[logs]\napi = ["{log_of(tmp_path, 10, 0, end)}"]\n'
        both = profile(f'[api]\nurl = "{api}"\n{logs}', name="logged")
        run = open_run("probe", target=both, needs=["api", "prometheus", "logs"])
        rate, waiting = by_object(run.ask(key.request_rate)), by_object(run.ask(key.queue))
    assert "2 s apart, with 2 requests between them" in alone["requests"].message
    assert rate["requests"].value == pytest.approx(100 / 15) and "of 100 requests" in rate["requests"].message
    assert "two samples" in waiting["waiting"].message


@contextmanager
def counting_service(each: int = 50) -> Iterator[str]:
    """Serve an exposition that counts on each time it is read; yields the address."""
    count = Counter[str]()

    def service(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        count[path] += 1
        n = each * count[path]
        told = EXPOSITION.format(well=2 * n if each > 1 else n, failed=n, every=3 * n)
        body = told if path == "/metrics/prometheus" else '{"version": "1"}'
        return 200, {"Content-Type": "text/plain"}, body.encode()

    with serving(service) as served:
        yield served.url


@pytest.mark.parametrize(
    ("what", "says"),
    [(signal.SIGSTOP, "accepted and kept silent"), (signal.SIGKILL, "refuses connections")],
    ids=["hangs", "dies"],
)
def test_a_prometheus_that_goes_after_the_run_was_opened_is_replaced_as_one_that_was_down(
    what: signal.Signals, says: str, tmp_path: Path, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = partialmethod(PrometheusConnection.targets, seconds=0.5)
    monkeypatch.setattr(PrometheusConnection, "targets", impatient)
    with counting_service() as api, prometheus(tmp_path / "p") as running:
        name = profile(f'[prometheus]\nurl = "{running.url}"\n[api]\nurl = "{api}"\n')
        run = open_run("probe", target=name, needs=["api", "prometheus"])
        running.process.send_signal(what)
        if what is signal.SIGKILL:
            running.process.wait()
        try:
            rate, errors = by_object(run.ask(key.request_rate)), by_object(run.ask(key.error_share))
            (scraping,) = run.ask(key.scraping).findings
        finally:
            running.process.send_signal(signal.SIGCONT)
    assert rate["requests"].value == pytest.approx(4500, rel=0.2) and "two samples" in rate["requests"].message
    assert errors["5xx"].status is CRITICAL and "now 33.3%" in errors["5xx"].message
    assert rate["history"].status is UNKNOWN and "neither history nor comparison" in rate["history"].message
    assert says in rate["history"].message
    assert scraping.status is CRITICAL and "no alert can fire" in rate["history"].next


def test_a_prometheus_that_goes_between_its_answers_is_replaced_too(
    server: Running, profile: Callable[..., str]
) -> None:
    def partly(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes] | None:
        if "query" in path:
            return None
        answer = CLIENT.get(f"{server.url}{path}")
        return answer.status_code, {"Content-Type": "application/json"}, answer.content

    with counting_service() as api, serving(partly) as served:
        name = profile(f'[prometheus]\nurl = "{served.url}"\n[api]\nurl = "{api}"\n')
        rate = by_object(open_run("probe", target=name, needs=["api", "prometheus"]).ask(key.request_rate))
    assert "two samples" in rate["requests"].message and "broke off" in rate["history"].message


def log_of(folder: Path, minutes: float, failing: int, end: datetime = END) -> Path:
    rows = []
    for number in range(100):
        at = end - timedelta(minutes=minutes) + timedelta(seconds=number)
        status = 500 if number < failing else 200
        path = "/auth/login" if number % 10 == 0 else "/documents"
        rows.append({"timestamp": at.isoformat().replace("+00:00", "Z"), "level": "INFO", "logger": "api.requests",
                     "message": "API request completed", "method": "POST" if path == "/auth/login" else "GET",
                     "path": path, "status_code": status, "duration_ms": 40.0 + number})  # fmt: skip
    (folder / "api.log").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return folder / "api.log"


def test_a_metric_that_does_not_exist_is_derived_from_the_log_and_said_so(ask: Ask, tmp_path: Path) -> None:
    logs = f'[logs]\napi = ["{log_of(tmp_path, 10, 30)}"]\n'
    found = by_object(ask(key.error_share, "as-built", more=logs))
    assert found["5xx"].status is CRITICAL and "UTC 30%" in found["5xx"].message
    assert "derived from the log, of 100 requests in the last 15 min" in found["5xx"].message
    missing = found["5xx, 4xx in Prometheus"]
    assert missing.status is UNKNOWN and "does not exist here" in missing.message and "the log tells" in missing.message
    times = by_object(ask(key.response_time, "as-built", more=logs))
    assert times["p95"].value == pytest.approx(134, abs=2) and "no history" in times["p95"].message
    both = ask(key.request_rate, "as-built", more=logs).findings
    assert [found.object for found in both] == ["requests in Prometheus", "requests"]
    logins = by_object(ask(key.login_success, "as-built", more=logs))
    assert "UTC 70%" in logins["log-ins that succeed"].message


def test_a_log_without_requests_just_now_is_told_for_the_window(ask: Ask, tmp_path: Path) -> None:
    logs = f'[logs]\napi = ["{log_of(tmp_path, 40, 0)}"]\n'
    found = by_object(ask(key.error_share, "as-built", more=logs))["5xx"]
    assert "the last 1 h (none in the last 15 min)" in found.message


def test_a_quantile_of_buckets_is_prometheus_own() -> None:
    assert quantile(0.5, [1.0, 2.0, math.inf], [0, 10, 10]) == 1.5
    assert quantile(0.95, [1.0, 2.0, math.inf], [0, 0, 10]) == 2.0
    assert math.isnan(quantile(0.5, [1.0, math.inf], [0, 0])) and math.isnan(quantile(0.5, [], []))


# Windows, frames and plots


def test_a_window_is_a_length_of_time_until_a_moment() -> None:
    assert key.window(2) != key.window(2)
    assert key.window(2, "2026-01-31T14:30") == key.Window(2, datetime(2026, 1, 31, 14, 30, tzinfo=UTC))
    for hours, moment in ((0, ""), (-1, ""), (math.nan, ""), (math.inf, ""), (10**9, ""), (1, "soon")):
        with pytest.raises(UsageError, match="no window of"):
            key.window(hours, moment)


def test_a_frame_keeps_its_times_in_utc_and_what_it_was(ask: Ask) -> None:
    frame = ask(key.request_rate).frame
    assert frame is not None and str(frame["time"].dt.tz) == "UTC"
    assert set(frame["when"]) == {"now", "a day before", "a week before"} and set(frame["state"]) == {"value"}
    (one,) = seen(frame, "requests")
    assert one.day == pytest.approx(60, rel=0.05) and one.week == pytest.approx(60, rel=0.05)


def test_plots_show_limits_and_say_what_is_far_above(ask: Ask) -> None:
    courses = Courses(ask(key.queue), ask(key.error_share, "failing"), ask(key.request_rate, "as-built"))
    figure = courses.figure()
    assert len(figure.axes) == 3 and [axes.get_ylabel() for axes in figure.axes] == ["items", "h", "%"]
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "limit 1000, far above" in texts and "limit 10 (5xx)" in texts
    assert "requests" not in courses.text() and Courses().text().startswith("plot: nothing to draw")
    assert Courses()._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")


def test_a_short_incident_near_its_limit_is_drawn_whole_and_young_data_in_all_of_the_window() -> None:
    begin = END - timedelta(hours=24)
    times = pd.date_range(END - timedelta(minutes=100), END, periods=200)
    rows = pd.DataFrame({"figure": "5xx", "object": "", "when": "now", "time": times, "value": 0.2, "unit": "%"})
    rows.loc[199, "value"] = 9.98
    rows = pd.concat([rows, rows.assign(figure="4xx", value=3.0)], ignore_index=True)
    rows.attrs["window"] = [begin.isoformat(), END.isoformat()]
    limits = [Finding(object=name, status=OK, message="", threshold=limit, unit="%")
              for name, limit in (("5xx", 10.0), ("4xx", 25.0))]  # fmt: skip
    answer = ShownAnswer(key.error_share, rows, tuple(limits), END, 0.0)
    (axes,) = Courses(answer).figure().axes
    texts = [text.get_text() for text in axes.texts]
    assert "limit 10 (5xx)" in texts and "limit 25 (4xx), far above" in texts and not any("cut" in one for one in texts)
    assert axes.get_ylim()[1] > 10
    left, right = axes.get_xlim()
    assert right - left == pytest.approx(1.0), "a day, whatever there is of it"


# The database's own


def times(*rows: tuple[int, int, float]) -> pd.DataFrame:
    columns = ["days_ago", "annotations", "median_seconds", "p95_seconds", "newest"]
    return pd.DataFrame([(ago, n, s, 2 * s, pd.Timestamp(END)) for ago, n, s in rows], columns=columns)


@pytest.mark.parametrize(
    ("frame", "status", "says"),
    [
        (times((0, 50, 12.0), (1, 50, 10.0)), OK, "10 s in the seven days before, of 50 annotations"),
        (times((0, 50, 40.0), (1, 50, 10.0)), WARNING, "4.0 times as long as before"),
        (times((0, 50, 40.0), (1, 50, 0.0)), WARNING, "longer than before: now 40 s"),
        (times((0, 5, 40.0), (1, 50, 10.0)), OK, "now 40 s"),
        (times((0, 50, 3.0), (1, 50, 0.5)), OK, "now 3 s"),
        (times((2, 50, 10.0)), OK, "none in the last 24 h"),
        (times((0, 50, 10.0)), OK, "nothing to compare with"),
        (times(), UNKNOWN, "no annotation was recorded"),
    ],
)
def test_the_time_of_an_annotation_is_compared_with_before(frame: pd.DataFrame, status: Status, says: str) -> None:
    (found,) = queue.processing_time.check(frame)
    assert found.status is status and says in found.message


def test_the_time_of_an_annotation_is_read_by_the_runbooks_own_role(sandbox: Any) -> None:
    (found,) = open_run("probe", target="sandbox", needs=["postgres"]).ask(queue.processing_time).findings
    assert found.status is OK and "18 annotations" in found.message


def test_limits_that_stand_in_two_packages_agree() -> None:
    from runbook import host

    ours, theirs = key.queue.thresholds, {**queue.size.thresholds, **queue.oldest_item.thresholds}
    assert ours == theirs
    assert key.disks.thresholds == host.disk.thresholds and key.memory.thresholds == host.memory.thresholds
