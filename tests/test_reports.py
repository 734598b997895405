"""The monthly reports: trends, steps and objectives on histories whose truth is known, and on what is missing."""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from monitoring import line, prometheus

from runbook import happened, reports
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.prometheus.rules.rule import Terms
from runbook.reports.course import FIGURES, days_of
from runbook.reports.growth import COLUMNS
from runbook.reports.month import COLUMNS as MONTH
from runbook.reports.steps import find_step
from runbook.reports.trend import trend
from runbook.session import open_run
from runbook.session.display import ShownAnswer
from runbook.target import load_target
from runbook_sandbox.archived import leave_runs
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
END = datetime(2026, 11, 29, 7, tzinfo=UTC)
NOW = datetime.now(UTC).replace(microsecond=0)
RANDOM = np.random.default_rng(7)


def judged(question: Question, frame: pd.DataFrame, **limits: float) -> dict[str, Finding]:
    return {one.object: one for one in question.check(frame, **limits)}


# --- trends


def test_a_trend_is_not_bent_by_outliers_and_says_how_sure_it_is() -> None:
    days = np.arange(30.0)
    values = 100 + 2 * days + RANDOM.normal(0, 3, 30)
    values[[4, 5, 20]] += 500
    found = trend(days, values)
    assert found.low <= 2 <= found.high and abs(found.slope - 2) < 0.4 and found.grows
    likely, earliest, latest = found.days_until(220)
    assert earliest < 31 < latest and abs(likely - 31) < 8


def test_a_week_s_course_is_no_growth() -> None:
    days = np.arange(36.0)
    found = trend(days, np.where(days % 7 < 5, 40.0, 10.0))
    assert not found.grows and found.days_until(1000)[0] > 3650


def test_growth_that_has_changed_is_as_unsure_as_the_backtest_was_wrong() -> None:
    days = np.arange(30.0)
    found = trend(days, np.where(days < 20, 100 + days, 120 + 10 * (days - 20)))
    assert abs(found.told - 1) < 0.01 and found.came > 5
    assert found.high - found.slope >= found.came - found.told - 1e-9


# --- steps


def hours(days: int = 30) -> pd.DatetimeIndex:
    return pd.date_range(end=END - timedelta(hours=1), periods=24 * days, freq="h", name="time")


def daily(values: "pd.Series[float]") -> "pd.Series[float]":
    return values.groupby(pd.DatetimeIndex(values.index).floor("D")).median()


def course(days: int = 30) -> "pd.Series[float]":
    """Milliseconds that follow the hour of the day and the weekend, with some noise."""
    at = hours(days)
    shape = 200 * (1 + 0.2 * np.sin(at.hour / 24 * 2 * np.pi)) * np.where(at.day_of_week >= 5, 0.8, 1.0)
    return pd.Series(shape * RANDOM.lognormal(0, 0.05, len(at)), index=at)


@pytest.mark.parametrize("before", [2.5, 9.3, 20.0])
def test_a_lasting_step_is_found_to_the_hour(before: float) -> None:
    moment = END - timedelta(days=before)
    values = course()
    values[values.index >= moment] *= 1.6
    found = find_step(values, daily(values), 20)
    assert found is not None and 40 < found.percent < 80
    assert found.earliest - timedelta(hours=2) <= pd.Timestamp(moment) <= found.latest + timedelta(hours=2)
    assert found.latest - found.earliest <= timedelta(hours=3)


def test_a_quiet_month_a_weekend_and_an_incident_of_hours_are_no_step() -> None:
    values = course()
    assert find_step(values, daily(values), 20) is None
    values.iloc[300:306] *= 20
    assert find_step(values, daily(values), 20) is None


def test_of_six_days_no_step_is_told() -> None:
    values = course(5)
    assert find_step(values, daily(values), 20) is None


# --- a month as Prometheus would tell it


def month(days: int = 30, *, asked: float = 30.0, **changed: Any) -> pd.DataFrame:
    at = hours(days)
    values = {"requests": 1000.0, "failed requests": 2.0, "response time (p95)": 800.0, "time scraped": 100.0,
              "database time": 3.0, "queue": 40.0} | changed  # fmt: skip
    parts = []
    for figure in FIGURES:
        told = values[figure.name]
        if isinstance(told, str):
            row = {"figure": figure.name, "object": "", "time": pd.NaT, "value": math.nan, "unit": figure.unit}
            parts.append(pd.DataFrame([{**row, "reason": told}]))
            continue
        row = {"figure": figure.name, "object": "", "time": at, "value": np.broadcast_to(told, len(at))}
        parts.append(pd.DataFrame({**row, "unit": figure.unit, "reason": ""}))
    frame = pd.concat(parts, ignore_index=True).reindex(columns=MONTH)
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    frame.attrs = {"since": at[0].isoformat(), "end": END.isoformat(), "days": asked, "p95_ms": 900.0, "p95_reason": ""}
    return frame


def test_the_error_budget_is_what_may_fail_within_the_objective() -> None:
    # 0.2% of the requests failed of the 0.5% that may.
    finding = judged(reports.objectives, month())["error budget"]
    assert (finding.status, finding.value) == (OK, 40.0)
    assert judged(reports.objectives, month(), availability=99.9)["error budget"].status is CRITICAL
    assert judged(reports.objectives, month(**{"failed requests": 4.5}))["error budget"].status is WARNING
    assert judged(reports.objectives, month(**{"failed requests": 5.1}))["error budget"].status is CRITICAL


def test_a_budget_of_few_days_is_not_told_unless_it_is_gone() -> None:
    early = judged(reports.objectives, month(3))["error budget"]
    assert early.status is UNKNOWN and "3.0 days" in early.message and "7 days are needed" in early.message
    assert judged(reports.objectives, month(3, **{"failed requests": 9.0}))["error budget"].status is CRITICAL


def test_the_objective_is_that_of_the_alerts_on_the_budget() -> None:
    assert reports.objectives.thresholds["availability"] == Terms().objective


def test_part_of_a_month_says_since_when() -> None:
    found = judged(reports.course, month(15))["history"]
    assert found.status is OK and "only 15.0 of 30 days: since 2026-11-14 07:00 UTC" in found.message
    assert judged(reports.course, month(4))["history"].status is UNKNOWN
    assert "all of the 30 days" in judged(reports.course, month())["history"].message


def test_a_figure_that_is_missing_is_unknown_and_never_zero() -> None:
    frame = month(**{"failed requests": "Prometheus has no sample of it in 30 days", "queue": "no such metric"})
    told = judged(reports.course, frame)
    assert told["error share"].status is UNKNOWN and told["queue"].status is UNKNOWN
    assert told["requests"].status is OK
    budget = judged(reports.objectives, frame)["error budget"]
    assert budget.status is UNKNOWN and "no sample" in budget.message


def test_days_that_are_cut_count_for_no_day() -> None:
    assert len(days_of(month(), "requests")) == 29  # today and the first one are parts of days


def test_nights_without_a_request_are_no_hours_of_the_response_time_that_are_missing() -> None:
    frame = month()
    night = frame["time"].dt.hour < 8
    quiet = frame[~(night & (frame["figure"] == "response time (p95)"))]
    quiet.attrs = frame.attrs
    told = judged(reports.course, quiet)["response time (p95)"]
    assert told.status is OK and told.value == 800.0
    assert len(days_of(quiet, "response time (p95)")) == 29


# --- growth


def grown(resource: str, values: Any, limit: float = math.nan, unit: str = "GiB") -> pd.DataFrame:
    days = pd.date_range("2026-11-01", periods=len(values), freq="D", tz="UTC")
    row = {"resource": resource, "object": "", "day": days, "value": values, "limit": limit, "unit": unit}
    return pd.DataFrame({**row, "source": "Prometheus", "reason": ""}, columns=COLUMNS)


@pytest.mark.parametrize(("limit", "status"), [(134.0, CRITICAL), (150.0, WARNING), (200.0, OK), (120.0, CRITICAL)])
def test_days_until_full_are_judged(limit: float, status: Status) -> None:
    finding = judged(reports.growth, grown("disk", 100.0 + np.arange(30), limit))["disk"]
    assert finding.status is status and finding.value == max(0.0, limit - 129)
    if limit > 129:
        assert f"a disk twice as large buys {limit:g} days" in finding.message and "backtest" in finding.message


def test_a_history_that_is_too_short_says_how_many_days_there_are_and_are_needed() -> None:
    finding = judged(reports.growth, grown("disk", 100.0 + np.arange(9), 110))["disk"]
    assert finding.status is UNKNOWN and "9 of the 14 days that are needed" in finding.message


def test_what_may_as_well_not_grow_is_a_warning_at_most() -> None:
    values = 100 + RANDOM.normal(0, 8, 30) + np.linspace(0, 6, 30)
    finding = judged(reports.growth, grown("memory", values, 107))["memory"]
    assert finding.status in (OK, WARNING)


def test_what_was_not_looked_at_is_told() -> None:
    frame = grown("disk", 100.0 + np.arange(30), 200)
    frame.attrs = {"left_out": {"disk": 7}}
    told = judged(reports.growth, frame)
    assert told["further disk"].status is UNKNOWN and "7 more are not looked at" in told["further disk"].message


def test_what_has_no_limit_is_told_by_what_it_grows() -> None:
    finding = judged(reports.growth, grown("database", 100.0 + 2 * np.arange(30), unit="MiB"))["database"]
    assert (finding.status, finding.value, finding.unit) == (OK, 2.0, "MiB/day")


# --- the real thing


@pytest.fixture
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RUNBOOK_SIGNING_KEY", raising=False)


class Alone:
    """A run in which nothing but the archive can be asked."""

    def __init__(self, name: str) -> None:
        self.target = load_target(name)

    def connection(self, kind: type[Any]) -> Any:
        raise Unreachable("prometheus", "refused", "nothing listens there")

    def clocks(self) -> dict[str, Any]:
        return {}


def a_month(archive: Path, sizes: Callable[[int], float], days: int = 30, target: str = "sandbox") -> list[Path]:
    def found(day: int) -> Iterator[Finding]:
        told = {"message": "so it was", "unit": "%"}
        yield Finding(check="host.disk", object="node / space", status=OK, value=sizes(day), **told)
        yield Finding(check="host.load", object="node load", status=WARNING if day > 9 else OK, value=3.0, **told)
        for table, size in (("database shop", 100.0 + day), ("table public.documents", 10.0 + 2 * day)):
            yield Finding(check="postgres.sizes", object=table, status=OK, message="so", value=size, unit="MiB")

    moments = [NOW - timedelta(days=days - day - 1) for day in range(days)]
    return leave_runs(archive, ((at, found(day), {}) for day, at in enumerate(moments)), target=target)


def asked(question: Question, asking: Any, **arguments: Any) -> tuple[pd.DataFrame, dict[str, Finding]]:
    frame = question.probe(asking, **arguments)
    return frame, judged(question, frame)


@pytest.mark.usefixtures("_own_state", "sandbox")
def test_without_prometheus_the_archived_runs_tell_what_grows(archive: Path) -> None:
    a_month(archive, lambda day: 50.0 + day)
    frame, found = asked(reports.growth, Alone("sandbox"))
    assert set(frame[frame["source"] != ""]["source"]) == {"archived runs"}
    disk = found["disk node / space"]
    assert (disk.status, disk.value) == (WARNING, 21.0) and "of 30 days (archived runs)" in disk.message
    assert (found["tables public.documents"].value, found["database database shop"].value) == (2.0, 1.0)
    silent = found["Prometheus"]
    assert silent.status is UNKNOWN and "nothing listens" in silent.message
    assert silent.message.startswith("memory, connections, queue: ")


@pytest.mark.usefixtures("_own_state", "sandbox")
def test_an_empty_archive_and_no_prometheus_is_unknown_and_not_zero(archive: Path) -> None:
    _, found = asked(reports.growth, Alone("sandbox"))
    assert {one.status for one in found.values()} == {UNKNOWN} and list(found) == ["Prometheus", "tables"]
    _, told = asked(reports.archived, Alone("sandbox"))
    assert list(told) == ["archived runs"] and "no sealed run of this target" in told["archived runs"].message


@pytest.mark.usefixtures("_own_state", "sandbox")
def test_what_is_found_again_and_again_is_told_with_its_days(archive: Path) -> None:
    first, *_ = a_month(archive, lambda day: 50.0)
    a_month(archive, lambda day: 50.0, days=3, target="another")
    frame, found = asked(reports.archived, Alone("sandbox"), days=40.0)
    again = found["host.load: node load"]
    assert again.status is WARNING and "bad in 20 of 30 runs, on 20 days since" in again.message
    assert found["archived runs"].value == 30 and len(frame) == 1
    # A run that somebody changed does not count, and is the worst that the report can find.
    record = first / "run.json"
    record.write_text(record.read_text().replace('"value": 50.0', '"value": 99.0'))
    _, found = asked(reports.archived, Alone("sandbox"), days=40.0)
    assert found[first.name].status is CRITICAL and found["archived runs"].value == 29


@pytest.mark.usefixtures("_own_state", "sandbox")
def test_without_prometheus_the_archived_runs_tell_since_which_day_it_is_slower(archive: Path) -> None:
    def found(day: int) -> list[Finding]:
        told = {"status": OK, "message": "so it was"}
        slow = 40.0 if day < 18 else 200.0
        return [
            Finding(check="api.user_request", object="/documents", value=slow + day % 5, unit="ms", **told),
            Finding(check="queue.size", object="triage queue", value=40.0 + day % 7, unit="items", **told),
        ]

    leave_runs(archive, ((NOW - timedelta(days=29 - day), found(day), {}) for day in range(30)))
    refused = Finding(check="api.user_request", object="/documents", status=CRITICAL, message="500", value=500,
                      unit="HTTP status")  # fmt: skip
    leave_runs(archive, [(NOW - timedelta(hours=2), [refused], {})], notebook="api-down")
    _, told = asked(reports.measured, Alone("sandbox"))
    slower = told["api.user_request: /documents"]
    assert slower.status is WARNING and "from 42 ms to 202 ms" in slower.message
    assert f"between {NOW - timedelta(days=12):%Y-%m-%d} and {NOW - timedelta(days=11):%Y-%m-%d}" in slower.message
    assert told["queue.size: triage queue"].status is OK
    _, few = asked(reports.measured, Alone("sandbox"), days=3.5)
    assert list(few) == ["measured"] and "4 of the 7 days" in few["measured"].message


@pytest.mark.usefixtures("_own_state")
def test_the_known_past_of_the_sandbox_is_told_as_it_was(sandbox: Place, archive: Path) -> None:
    run = open_run("performance-report", needs=["prometheus"])
    steps: ShownAnswer = run.ask(reports.regressions)
    if steps.frame is None:
        pytest.skip("Prometheus is not installed")
    assert {one.status for one in steps.findings} == {OK}, "an incident of 42 minutes is no step"
    assert reports.moment_of(steps.frame) == ""
    budget = next(one for one in run.ask(reports.objectives).findings if one.object == "error budget")
    assert budget.status is OK and isinstance(budget.value, float) and 40 < budget.value < 60
    growth = run.ask(reports.growth)
    by_object = {one.object: one for one in growth.findings}
    disk = next(one for name, one in by_object.items() if name.startswith("disk"))
    assert disk.status is OK and "buys" in disk.message
    for plot in (reports.Month(run.ask(reports.course), steps), reports.Growth(growth)):
        assert plot._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")
        labelled = [axes for axes in plot.figure().axes if axes.get_ylabel()]
        assert labelled and len(labelled) == len(plot.figure().axes), "each axis says its unit"


def stepped(moment: datetime, begins: datetime) -> str:
    """Samples each ten minutes of a service that fails more and is slower since a restart."""
    families: dict[str, list[str]] = {"http_requests_total": [], "up": [], "process_start_time_seconds": []}
    buckets = families["http_request_duration_seconds_bucket"] = []
    own = {"job": "shrimp-api", "instance": "api"}
    came = failed = quick = 0.0
    for number in range(int((NOW - begins) / timedelta(minutes=10)) + 1):
        at = begins + number * timedelta(minutes=10)
        after = at >= moment
        more = 200 * (1 + 0.5 * math.sin(at.hour / 24 * 2 * math.pi))
        came, failed, quick = (
            came + more,
            failed + more * (0.02 if after else 0.001),
            quick + more * (0.5 if after else 0.96),
        )
        for status, count in (("200", came - failed), ("500", failed)):
            labels = {**own, "status": status}
            families["http_requests_total"].append(line("http_requests_total", labels, round(count), at))
        for edge, count in (("0.1", quick), ("1.0", came), ("+Inf", came)):
            name = "http_request_duration_seconds_bucket"
            buckets.append(line(name, {**own, "le": edge}, round(count), at))
        began = (moment if after else begins - timedelta(days=9)).timestamp()
        families["up"].append(line("up", own, 1, at))
        families["process_start_time_seconds"].append(line("process_start_time_seconds", own, began, at))
    return "\n".join(row for rows in families.values() for row in rows)


@pytest.mark.usefixtures("_own_state")
def test_what_became_worse_is_told_with_its_date_and_what_was_changed_just_then(
    tmp_path: Path, profile: Callable[..., str]
) -> None:
    moment = (NOW - timedelta(days=4, hours=5)).replace(minute=44, second=0)
    with prometheus(tmp_path / "watched", past=stepped(moment, NOW - timedelta(days=12))) as watched:
        target = profile(f'[prometheus]\nurl = "{watched.url}"\n')
        run = open_run("performance-report", needs=["prometheus"], target=target)
        steps = run.ask(reports.regressions)
        told = {one.object: one for one in steps.findings}
        assert {name for name, one in told.items() if one.status is WARNING} == {"error share", "response time (p95)"}
        assert told["queue"].status is UNKNOWN and "no sample" in told["queue"].message
        assert steps.frame is not None
        found = steps.frame.set_index("figure").loc["error share"]
        hour = pd.Timedelta(hours=1)
        assert found["earliest"] - hour <= pd.Timestamp(moment) <= found["latest"] + hour
        lead = run.ask(happened.around, moment=reports.moment_of(steps.frame), hours=24, minutes=190)
        leads = [one.object for one in lead.findings if one.status is WARNING]
        assert "the process of shrimp-api api began" in leads
        course = run.ask(reports.course)
        assert any("only 12.0 of 30 days: since" in one.message for one in course.findings)
        budget = next(one for one in run.ask(reports.objectives).findings if one.object == "error budget")
        assert budget.status is CRITICAL
        plot = reports.Month(course, steps)
        assert "response time" in plot.text() and plot._repr_mimebundle_()["image/png"]


def test_a_month_of_no_days_is_refused(sandbox: Place) -> None:
    asking: Asking = Alone("sandbox")
    with pytest.raises(CouldNotFindOut, match="1 to 92 days"):
        reports.course.probe(asking, days=0.0)


@pytest.mark.usefixtures("_own_state", "sandbox")
def test_the_practice_month_verifies_tells_its_truth_and_goes_into_no_folder_that_holds_something(
    runbook: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "practice"
    made = runbook("sandbox", "archive", str(folder))
    assert made.returncode == 0 and "36 runs of a month that nobody made" in made.stdout
    again = runbook("sandbox", "archive", str(folder))
    assert again.returncode == 70 and "is not empty" in again.stderr
    monkeypatch.setenv("RUNBOOK_EVIDENCE", str(folder))
    verified = runbook("evidence", "verify")
    assert verified.returncode == 0 and "practice" in next(folder.rglob("run.json")).read_text()
    _, found = asked(reports.measured, Alone("sandbox"))
    assert found["api.user_request: /documents"].status is WARNING
    _, again_and_again = asked(reports.archived, Alone("sandbox"))
    assert again_and_again["queue.oldest_item: pending"].status is WARNING
    _, grows = asked(reports.growth, Alone("sandbox"))
    assert "full in" in grows["disk /"].message and grows["disk /"].status is WARNING
