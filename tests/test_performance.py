"""The API under load: measured from when requests were due, stopped by its bounds, its time laid to what takes it."""

import math
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pandas as pd
import psutil
import pytest
from monitoring import serving
from running import by_check, decoded, only, wait_for

from runbook.connections import LoadGenerator
from runbook.connections.arrivals import Sent, on_schedule, parse, percentile
from runbook.connections.generator import Bounds, Step
from runbook.model import Finding, NotPlanned, Question, Status, UsageError
from runbook.performance import Flame, LatencyCurve, compared, load, profile, time_spent, views
from runbook.performance import profile as profile_question
from runbook.performance.driving import COLUMNS, loads, within_limits
from runbook.prometheus import endpoint_times
from runbook.session import open_run
from runbook.target import load_target
from runbook_sandbox import faults
from runbook_sandbox.frame import delay
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN, SKIPPED = (
    Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN, Status.SKIPPED,
)  # fmt: skip
WIDE = Bounds(20.0, 1.0, 1.0)  # nothing of a test stops it
profiling = sys.modules[profile_question.probe.__module__]


def by_object(findings: Any) -> dict[str, Finding]:
    return {finding.object: finding for finding in findings}


# --- from when a request was due


def test_a_stall_of_the_generator_or_the_service_counts_from_when_each_request_was_due() -> None:
    # Due each 0.1 s; the second was sent 0.05 s late, and took 0.2 s from then on.
    sent = [Sent(10.0, 200, 0.01), Sent(10.15, 200, 0.2), Sent(10.2, 200, 0.03)]
    found = on_schedule(sent, 3, 0.1, began=9.99, until=11.0, patience=5.0)
    assert [round(one.took, 3) for one in found] == [0.01, 0.25, 0.03]
    assert [round(one.late, 3) for one in found] == [0.0, 0.05, 0.0]


def test_to_be_connected_is_part_of_what_a_client_waits_for() -> None:
    found = on_schedule([Sent(10.05, 200, 0.1)], 1, 1.0, began=10.0, until=11.0, patience=5.0, connecting=0.05)
    assert round(found[0].took, 3) == 0.15


def test_a_generator_that_slept_goes_on_with_its_schedule_from_when_it_woke() -> None:
    sent = [Sent(10.0, 200, 0.01), Sent(10.5, 200, 0.01), Sent(10.5, 200, 0.01)]
    found = on_schedule(sent, 3, 0.1, began=10.0, until=11.0, patience=5.0)
    # The one that was due while it slept shows it; the next ones are not laid to the service.
    assert [round(one.took, 2) for one in found] == [0.01, 0.41, 0.01]


def test_what_was_not_answered_has_waited_and_counts_as_the_slowest() -> None:
    sent = [Sent(10.0, 200, 0.01), Sent(10.2, 200, 0.01)]
    found = on_schedule(sent, 4, 0.1, began=10.0, until=10.9, patience=0.7)
    assert [(one.answered, round(one.took, 2)) for one in found] == [
        (True, 0.01), (False, 0.7), (True, 0.01), (False, 0.6),
    ]  # fmt: skip
    assert percentile(found, 0.5) == (pytest.approx(0.01), True)
    seconds, known = percentile(found, 0.99)
    assert seconds == pytest.approx(0.7) and not known


def test_of_requests_without_any_answer_all_have_waited_and_those_without_a_connection_have_not() -> None:
    found = on_schedule([], 4, 1.0, began=10.0, until=13.0, patience=2.0, refused=1)
    assert [round(one.took, 1) for one in found] == [2.0, 1.0, 0.0]
    assert math.isnan(percentile([], 0.5)[0])


def test_a_failed_stream_and_lines_that_are_no_lines_are_taken_for_what_they_are() -> None:
    assert parse(["2000000\t-1\t5", "1000000\t200\t1500\tmore", "half"]) == [
        Sent(1.0, 200, 0.0015),
        Sent(2.0, -1, 5e-6),
    ]
    assert not on_schedule([Sent(1.0, -1, 0.1)], 1, 1.0, began=1.0, until=2.0, patience=5.0)[0].answered


@pytest.mark.parametrize("given", [(0.0, 1.0), (501.0, 1.0), (10.0, 0.0), (10.0, 61.0), (500.0, 20.0), (math.nan, 1.0)])
def test_a_load_is_bounded(given: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="a load is bounded"):
        loads(*given, 2000.0, 5.0)


def test_the_rates_go_up_to_the_highest_and_never_above_it() -> None:
    steps, _ = loads(30.0, 1.0, 2000.0, 5.0)
    assert [round(step.rate, 1) for step in steps] == [1.0, 2.0, 5.0, 10.0, 20.0, 29.4]
    with pytest.raises(UsageError, match="a load stops between"):
        loads(30.0, 1.0, 5.0, 5.0)


def test_a_load_that_the_services_own_limit_would_answer_is_not_planned() -> None:
    steps, _ = loads(50.0, 1.5, 2000.0, 5.0)
    within_limits(steps, 100.0, 6000.0)
    with pytest.raises(NotPlanned, match="run into the service's rate limit \\(100 a minute\\)"):
        within_limits(steps, 100.0, 100.0)
    with pytest.raises(NotPlanned, match=r"more than the profile allows \(load.most_rate 20\)"):
        within_limits(steps, 20.0, None)


# --- what is judged


def row(rate: float = 10, **more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {name: float("nan") for name in COLUMNS}
    plain |= {
        "rate": float(rate), "seconds": 1.5, "requests": 200, "answered": 200, "failed": 0, "refused_429": 0,
        "denied": 0, "unconnected": 0, "p50_ms": 10.0, "p95_ms": 20.0, "p99_ms": 30.0, "known": True,
        "longest_ms": 40.0, "mean_ms": 12.0, "late_ms": 1.0, "stopped": "", "interrupted": False,
        "server_requests": 200.0,
        "server_p50_ms": 8.0, "server_p99_ms": 25.0, "server_mean_ms": 10.0, "database_sessions": 0.4,
        "database_waits": "", "processor_seconds": 0.3, "processes": 1.0, "model_calls": 0.0, "model_seconds": 0.0,
        "began": datetime(2031, 1, 1, tzinfo=UTC), "ended": datetime(2031, 1, 1, tzinfo=UTC),
    }  # fmt: skip
    return plain | more


def loaded(*rows: dict[str, Any], **attrs: Any) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=COLUMNS)
    frame.attrs = {"path": "/documents", "url": "http://127.0.0.1/documents", "slow_ms": 2000.0, **attrs}
    return frame


@pytest.mark.parametrize(("p99", "status"), [(2000, OK), (2000.1, WARNING), (5000, WARNING), (5000.1, CRITICAL)])
def test_p99_at_the_lowest_rate_is_held_to_the_runbooks_own_limit(p99: float, status: Status) -> None:
    assert by_object(load.check(loaded(row(1, p99_ms=p99), row(2))))["latency"].status is status


@pytest.mark.parametrize(("kept", "status"), [(20, OK), (19, WARNING), (5, WARNING), (4, CRITICAL)])
def test_the_rate_that_is_kept_is_judged_where_it_was_found(kept: float, status: Status) -> None:
    found = by_object(load.check(loaded(row(kept), row(50, stopped="9 of 75 requests failed"))))["rate"]
    assert (found.status, found.value) == (status, kept) and "at 50/s 9 of 75 requests failed" in found.message
    assert by_object(load.check(loaded(row(kept))))["rate"].status is OK, "no end was found below what was asked"


def test_a_percentile_that_rests_on_what_was_not_answered_says_so() -> None:
    found = by_object(load.check(loaded(row(known=False, requests=20, p99_ms=6000))))["latency"]
    assert "the slowest of 20 requests 6,000 ms or more: not all were answered" in found.message


def test_refusals_of_the_rate_limit_are_no_measure_of_the_service() -> None:
    (found,) = load.check(loaded(row(refused_429=30)))
    assert (found.object, found.status) == ("rate limit", UNKNOWN) and "says nothing of the service" in found.message


def test_a_generator_that_is_late_itself_is_told() -> None:
    assert by_object(load.check(loaded(row(late_ms=251.0))))["generator"].status is WARNING
    assert "generator" not in by_object(load.check(loaded(row(late_ms=250.0))))


def test_what_clients_wait_for_and_the_service_does_not_see_is_a_warning() -> None:
    rows = views.check(loaded(row(10), row(20, p50_ms=400.0, server_p50_ms=100.0)))
    found = by_object(rows)
    assert (found["10/s"].status, found["20/s"].status) == (OK, WARNING)
    assert "300 ms of the median are no part of what the service measures" in found["20/s"].message
    assert by_object(views.check(loaded(row(server_requests=100.0))))["logged requests"].status is WARNING
    assert views.check(loaded(row(server_requests=0.0)))[0].status is UNKNOWN


PARTS = ("before the service", "database", "language model", "Python", "waiting inside the service")


def spent(*ms: float, client: float = 3000.0, **attrs: Any) -> dict[str, Finding]:
    frame = pd.DataFrame({"part": PARTS, "ms": ms, "reason": [""] * len(PARTS)})
    told = {"rate": 1.0, "client_ms": client, "busy": 5.0, "held": None, "processes": 1, "sessions": 0.5, "pool": 5}
    frame.attrs = {**told, **attrs}
    return by_object(time_spent.check(frame))


@pytest.mark.parametrize("part", range(len(PARTS)))
def test_a_slow_request_is_laid_to_the_part_that_takes_most_of_it(part: int) -> None:
    found = spent(*(2600.0 if place == part else 50.0 for place in range(len(PARTS))))
    assert {name for name, one in found.items() if one.status is not OK} == {PARTS[part]}
    assert found[PARTS[part]].status is CRITICAL, "above the runbook's own limit it is why the load found what it did"
    slow = spent(*(1400.0 if place == part else 5.0 for place in range(len(PARTS))), client=1500.0)
    assert slow[PARTS[part]].status is WARNING
    assert "this is where the time goes" in found[PARTS[part]].message and found[PARTS[part]].next
    quick = spent(*(100.0 if place == part else 5.0 for place in range(len(PARTS))), client=200.0)
    assert {one.status for one in quick.values()} == {OK}


def test_who_waits_for_a_busy_interpreter_or_for_a_connection_is_laid_to_that() -> None:
    found = spent(5, 0, 0, 900, 2000, held=97.0)
    assert (found["Python"].status, found["interpreter"].status) == (CRITICAL, WARNING)
    assert found["waiting inside the service"].status is OK
    found = spent(5, 900, 0, 10, 2000, sessions=4.6)
    assert (found["database"].status, found["connections"].status) == (CRITICAL, WARNING)


def test_a_part_that_is_not_known_stays_unknown() -> None:
    found = spent(5, 10, math.nan, 10, 5, client=30.0)
    assert (found["language model"].status, found["language model"].value) == (UNKNOWN, None)


def stacks(**samples: int) -> pd.DataFrame:
    rows = [{"stack": f"main (app.py:1);{name} (app.py:2)", "samples": count} for name, count in samples.items()]
    frame = pd.DataFrame(rows, columns=["stack", "samples"])
    frame.attrs = {"looks": 100, "service": "process 7", "loaded": True}
    return frame


@pytest.mark.parametrize(
    ("samples", "status"),
    [
        ({"work": 80}, WARNING),
        ({"work": 79}, OK),
        ({"work": 40, "other": 60}, WARNING),
        ({"a": 30, "b": 30, "c": 30}, OK),
    ],
)
def test_an_interpreter_that_one_function_holds_is_a_warning_that_names_it(
    samples: dict[str, int], status: Status
) -> None:
    (found,) = profile.check(stacks(**samples))
    assert found.status is status
    assert f"in {max(samples, key=lambda name: samples[name])} (app.py)" in found.message
    (idle,) = profile.check(stacks())
    assert idle.status is OK and "what it does is to wait" in idle.message


def test_a_stack_names_its_process_by_its_pid_alone() -> None:
    told = 'process 7:"python -m service --password=hunter2;x";main (app.py:1)'
    assert profiling._without_command(told) == "process 7;main (app.py:1)"
    assert profiling._without_command("main (app.py:1)") == "main (app.py:1)"


def test_a_flame_graph_is_a_picture_that_runs_nothing_whatever_functions_are_called() -> None:
    frame = stacks(**{"<script>alert(1)</script>&\x00": 30, "work": 50})
    question: Question = profile
    answer: Any = type("Given", (), {"frame": frame, "question": question})
    told = Flame(answer)._repr_mimebundle_()["image/svg+xml"]
    tree = ET.fromstring(told)
    assert {element.tag.rpartition("}")[2] for element in tree.iter()} == {"svg", "g", "title", "rect", "text"}
    assert "<script" not in told and "work (app.py:2): 62.5%" in told
    assert not [name for element in tree.iter() for name in element.attrib if name.startswith("on") or "href" in name]
    nothing: Any = type("Given", (), {"frame": None})
    assert "no profile" in Flame(nothing).svg()


@pytest.mark.parametrize(
    ("p50", "kept", "latency", "rate"),
    [(100.0, 50.0, OK, OK), (199.0, 26.0, OK, OK), (200.0, 25.0, WARNING, WARNING)],
)
def test_a_service_that_became_slower_or_keeps_less_is_told(
    p50: float, kept: float, latency: Status, rate: Status
) -> None:
    frame = pd.DataFrame(
        [{"rate": 1.0, "p50_ms": p50, "p99_ms": 300.0, "former_p50_ms": 100.0, "former_p99_ms": 200.0}]
    )
    frame.attrs = {"run_id": "run_x", "kept": kept, "former_kept": 50.0, "whole": True}
    found = by_object(compared.check(frame))
    assert (found["latency"].status, found["rate"].status) == (latency, rate)
    frame.attrs |= {"kept": 0.0, "former_kept": 0.0}
    assert by_object(compared.check(frame))["rate"].status is OK, "no rate was kept before, either"


def paths(**more: float) -> pd.DataFrame:
    plain = {"path": "/documents", "requests": 100.0, "p50": 40.0, "p95": 90.0, "p99": 200.0, "day_p95": 80.0}
    frame = pd.DataFrame([{**plain, "day_requests": 90.0, **more}])
    frame.attrs = {"minutes": 15.0, "source": "the query"}
    return frame


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, OK),
        ({"p95": 2000.1}, WARNING),
        ({"p95": 5000.1}, CRITICAL),
        ({"p95": 5000.1, "requests": 19.0}, OK),
        ({"p95": 281.0}, WARNING),  # 3.5 times as long as a day before
        ({"p95": 281.0, "day_p95": math.nan}, OK),
        ({"path": "/candidates/generate", "p95": 5000.1, "day_p95": 4000.0}, OK),
        ({"path": "/candidates/generate", "p95": 5000.1, "day_p95": 1000.0}, WARNING),
    ],
)
def test_a_path_is_held_to_the_runbooks_limit_and_to_a_day_before(more: dict[str, Any], status: Status) -> None:
    (found,) = endpoint_times.check(paths(**more))
    assert found.status is status and found.source == "the query"
    if status is not OK and found.object == "/documents":
        assert found.next.endswith("-p path=/documents"), "it can be pasted"


@pytest.mark.parametrize("ms", [2.0, 250.0, 2600.0])
def test_the_curve_has_numbers_at_its_axis_whatever_little_it_spans(ms: float) -> None:
    frame = loaded(row(1, **{f"p{share}_ms": ms + share / 100 for share in (50, 95, 99)}, longest_ms=ms))
    answer: Any = type("Given", (), {"frame": frame})
    (axes,) = LatencyCurve(answer).figure().axes
    low, high = axes.get_ylim()
    assert len([tick for tick in axes.get_yticks() if low <= tick <= high]) >= 2


def test_only_a_practice_stack_on_loopback_is_loaded_without_a_plan(profile: Callable[..., str]) -> None:
    for url, well in (("http://127.0.0.1:1", True), ("http://[::1]:1", True), ("http://10.1.2.3:8000", False)):
        name = profile(f'[api]\nurl = "{url}"\n[load]\nwithout_plan = true')
        if well:
            assert load_target(name).load.without_plan
        else:
            with pytest.raises(UsageError, match="a practice stack"):
                load_target(name)


# --- on a real service


def bad(document: Any) -> list[str]:
    return [f"{f.status} {f.check} {f.object}: {f.message}" for f in only(document).findings if f.bad]


@pytest.fixture(scope="module")
def service(breakable: Place) -> str:
    return f"http://127.0.0.1:{breakable.read('state.json')['ports']['api']}"


@pytest.fixture
def asked() -> Iterator[Callable[..., Any]]:
    """Ask how a target does under load, and return the answer."""
    runs = []

    def asking(target: str = "breakable", **arguments: Any) -> Any:
        run = open_run("api-performance", target=target, needs=["load generator"])
        runs.append(run)
        return run.ask(load, **arguments)

    yield asking
    for run in runs:
        run.close()


def test_p50_and_p99_agree_with_delays_that_were_injected(breakable: Place, service: str) -> None:
    median, sigma, count = 0.8, 0.4, 250
    breakable.write(
        "faults.json", {"delayed": {"method": "GET", "path": "/documents", "median_seconds": median, "sigma": sigma}}
    )
    try:
        generator = LoadGenerator.open(load_target("breakable"), "tests")
        ((taken, _, _),) = generator.load(f"{service}/documents?limit=1", [Step(20, 5.0)], WIDE, lambda: None)
    finally:
        breakable.write("faults.json", {})
    assert len(taken.arrivals) == count and {one.status for one in taken.arrivals} == {200}
    for share in (0.5, 0.99):
        injected = median * math.exp(sigma * NormalDist().inv_cdf(share))
        assert percentile(taken.arrivals, share)[0] == pytest.approx(injected, rel=0.1)


def test_a_stall_is_felt_by_all_who_come_in_it_not_by_one_for_each_client(breakable: Place, service: str) -> None:
    generator = LoadGenerator.open(load_target("breakable"), "tests")
    api = psutil.Process(breakable.read("state.json")["pids"]["api"])

    def stall() -> None:
        threading.Event().wait(0.7)
        api.suspend()
        threading.Event().wait(1.0)
        api.resume()

    stalling = threading.Thread(target=stall)
    stalling.start()
    ((taken, _, _),) = generator.load(f"{service}/health", [Step(10, 2.5)], WIDE, lambda: None)
    stalling.join()
    # A hundred requests came in that second, and who came in its first half waited for half a second and more. Ten
    # clients that each wait for an answer would have told of ten.
    slow = sum(one.took > 0.5 for one in taken.arrivals)
    assert len(taken.arrivals) == 250 and slow >= 35
    assert max(one.took for one in taken.arrivals) > 0.9


def test_the_delays_of_the_practice_service_have_the_distribution_that_they_are_said_to_have() -> None:
    told = faults.DELAYED
    drawn = sorted(delay(number, told["median_seconds"], told["sigma"]) for number in range(1, 301))
    for share in (0.01, 0.5, 0.99):
        expected = told["median_seconds"] * math.exp(told["sigma"] * NormalDist().inv_cdf(share))
        assert drawn[math.ceil(share * 300) - 1] == pytest.approx(expected, rel=0.02)


def test_the_load_goes_up_to_the_knee_and_stops_there_by_itself(breakable: Place, asked: Callable[..., Any]) -> None:
    # 40 ms of the one interpreter for each request: no more than 25 in a second.
    breakable.write("faults.json", {"computing": {"method": "GET", "path": "/documents", "seconds": 0.04}})
    try:
        answer = asked(highest=200.0, seconds=1.0, slow_ms=400.0)
    finally:
        breakable.write("faults.json", {})
    found, frame = by_object(answer.findings)["rate"], answer.frame
    assert 1 <= found.value <= 20 and "took longer than 0.4 s" in found.message
    assert list(frame["stopped"].astype(bool)) == [False] * (len(frame) - 1) + [True] and frame["rate"].max() <= 50
    assert frame["p99_ms"].iloc[-1] > 400 > frame["p99_ms"].iloc[0]


@pytest.mark.slow
def test_a_healthy_service_and_then_each_fault_by_its_cause(
    breakable: Place, run_json: Callable[..., Any], asked: Callable[..., Any], archive: Path
) -> None:
    called = ("api-performance", "--target", "breakable", "-p", "highest=2", "-p", "seconds=1")
    status, healthy = run_json(*called)
    assert status == 0, bad(healthy)
    for fault, part, leads_to in (
        ("slow-endpoint", "waiting inside the service", "a pause, a lock, another service"),
        ("database-slow", "database", "runbook run query-performance --target breakable"),
        ("gil-bound", "Python", "names the function"),
    ):
        faults.break_sandbox(breakable, fault)
        try:
            status, document = run_json(*called)
        finally:
            faults.heal(breakable)
        found = only(document).findings
        assert status == 2, fault
        (blamed,) = [one for one in found if "this is where the time goes" in one.message]
        assert (blamed.object, blamed.status) == (part, CRITICAL) and leads_to in blamed.next, fault
        told = [one for one in found if one.bad and not one.explained_by and one.check.startswith("performance.")]
        assert not [one for one in told if one.status in (CRITICAL, UNKNOWN) and one is not blamed], fault
        if fault == "slow-endpoint":  # each further one is compared with the fault before
            (slower,) = [one for one in found if one.check == "performance.compared" and one.object == "latency"]
            assert slower.status is WARNING and "it was" in slower.message
        if fault == "gil-bound":
            named = by_check(only(document))["performance.profile"]
            assert named.status is WARNING and "_hold_the_interpreter (runbook_sandbox/frame.py)" in named.message
        assert {one.status for one in asked(highest=2.0, seconds=0.5).findings} == {OK}, f"{fault} is healed"


@pytest.mark.slow
def test_another_target_is_loaded_by_its_plan_only(
    breakable: Place, run_json: Callable[..., Any], profile: Callable[..., str], archive: Path
) -> None:
    text = Path(breakable.read("state.json")["target"]).read_text()
    name = profile(text.replace("without_plan = true", "without_plan = false"), "planned")
    asked = ("api-performance", "--target", name, "-p", "highest=2", "-p", "seconds=1", "-p", "profile_seconds=1")
    _, document = run_json(*asked)
    (plan,) = only(document).plans
    assert not [told for told in bad(document) if " performance." in told]
    assert by_check(only(document))["performance.load"].status is SKIPPED
    assert plan.plan.steps[0].shown.count("h2load --h1 -n") == 2 and "3 GET requests" in plan.plan.blast_radius[0]
    _, document = run_json(*asked, "--confirm", plan.token)
    found = by_check(only(document))
    assert found["plan.performance.put_under_load"].status is OK and only(document).plans[0].state == "verified"
    assert found["performance.load"].status is OK and "it keeps up to 2/s" in found["performance.load"].message
    assert found["performance.time_spent"].status is OK


def test_a_target_that_answers_nothing_to_the_load_is_told_and_not_waited_for(
    profile: Callable[..., str], asked: Callable[..., Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        name = profile(
            f'[api]\nurl = "http://127.0.0.1:{port}"\n[load]\nwithout_plan = true\n[deadlines]\nconnect = 0.3'
        )
        answer = asked(name, highest=20.0, seconds=1.0, slow_ms=300.0)
        (found,) = [one for one in answer.findings if one.object == "answers"]
        assert found.status is CRITICAL and "none of 1 request was answered within 0.9 s" in found.message
        assert "runbook run api-down --target other" in found.next
    refused = asked(name, highest=20.0, seconds=1.0, slow_ms=300.0)
    assert "found no connection" in by_object(refused.findings)["answers"].message


@pytest.mark.parametrize(
    ("status", "obj", "says"),
    [(401, "/documents", "load is sent without a token"), (429, "rate limit", "refused by the rate limit")],
)
def test_answers_that_are_no_work_of_the_service_are_not_taken_for_its_latency(
    status: int, obj: str, says: str, profile: Callable[..., str], asked: Callable[..., Any]
) -> None:
    with serving(lambda path, headers: (status, {}, b"{}")) as served:
        name = profile(f'[api]\nurl = "{served.url}"\n[load]\nwithout_plan = true')
        found = by_object(asked(name, highest=5.0, seconds=1.0).findings)
    assert found[obj].status is UNKNOWN and says in found[obj].message and "latency" not in found


def test_a_service_that_fails_stops_the_load_at_its_bound(
    profile: Callable[..., str], asked: Callable[..., Any]
) -> None:
    with serving(lambda path, headers: (500, {}, b"{}")) as served:
        name = profile(f'[api]\nurl = "{served.url}"\n[load]\nwithout_plan = true')
        answer = asked(name, highest=20.0, seconds=1.0)
    assert len(answer.frame) == 1 and "1 of 1 requests failed" in by_object(answer.findings)["rate"].message


def test_without_the_generator_it_is_unknown_with_how_it_is_installed(
    asked: Callable[..., Any], breakable: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = asked(highest=2.0).findings
    assert found.status is UNKNOWN and "h2load is not installed" in found.message
    assert "apt-get install nghttp2-client" in found.message


@pytest.fixture
def profiled(breakable: Place) -> Iterator[Callable[..., Any]]:
    run = open_run("api-performance", target="breakable", needs=[])
    yield lambda **arguments: run.ask(profile_question, **arguments)
    run.close()


def test_without_the_right_to_read_its_memory_the_profile_says_what_to_grant(
    profiled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can act as somebody who has no right")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    shutil.copy(Path(sys.executable).parent / "py-spy", folder / "real")
    other = folder / "py-spy-of-nobody"
    other.write_text(f'#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups {folder}/real "$@"\n')
    for path in folder.iterdir():
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(profiling, "PROGRAM", other.name)
    (found,) = profiled(seconds=1).findings
    assert found.status is UNKNOWN and "no right to read the memory of the service" in found.message
    assert "cap_sys_ptrace" in found.message and "SYS_PTRACE" in found.message


def test_without_the_profiler_and_without_a_process_the_profile_is_unknown(
    profiled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, profile: Callable[..., str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(profiling, "PROGRAM", "no-such-program")
        (found,) = profiled().findings
    assert found.status is UNKNOWN and "pip install py-spy" in found.message
    run = open_run("api-performance", target=profile('[api]\nurl = "http://192.0.2.7:8000"'), needs=[])
    (found,) = run.ask(profile_question).findings
    assert found.status is UNKNOWN and "does not run on this machine" in found.message
    run.close()


# --- cut short


def generators(of: int) -> set[int]:
    """Return the load generators that a process, or one that it started, has running."""
    return {one.pid for one in psutil.Process(of).children(recursive=True) if one.name() == "h2load"}


def test_an_interrupt_ends_the_load_at_once_and_keeps_what_it_found(
    asked: Callable[..., Any], breakable: Place
) -> None:
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("only the main thread hears signals")

    def interrupt() -> None:
        wait_for(lambda: generators(os.getpid()))
        threading.Event().wait(1.0)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=interrupt)
    pressing.start()
    answer = asked(highest=1.0, seconds=40.0)
    pressing.join()
    found = by_object(answer.findings)
    assert found["load"].status is UNKNOWN and "PARTIAL: it was interrupted at 1/s" in found["load"].message
    assert 1 <= answer.frame["answered"].iloc[0] < 40 and found["latency"].status is OK
    assert not generators(os.getpid())


def test_a_generator_that_is_killed_is_no_failure_of_the_service(asked: Callable[..., Any], breakable: Place) -> None:
    def end() -> None:
        wait_for(lambda: generators(os.getpid()))
        threading.Event().wait(1.0)
        for pid in generators(os.getpid()):
            os.kill(pid, signal.SIGKILL)

    ending = threading.Thread(target=end)
    ending.start()
    found = by_object(asked(highest=5.0, seconds=20.0).findings)
    ending.join()
    assert found["load"].status is UNKNOWN and "PARTIAL: h2load ended with -9" in found["load"].message
    assert {one.status for one in found.values()} <= {OK, UNKNOWN}, found


def test_a_load_whose_time_is_over_gives_what_it_has(
    breakable: Place, asked: Callable[..., Any], profile: Callable[..., str]
) -> None:
    text = Path(breakable.read("state.json")["target"]).read_text()
    name = profile(f"{text}\n[deadlines]\nquestion = 1.5", "short")
    found = by_object(asked(name, highest=2.0, seconds=20.0).findings)
    assert "PARTIAL: its 1.5 s were over at 1/s" in found["load"].message and "latency" in found


@pytest.mark.slow
def test_ctrl_c_in_a_headless_run_keeps_the_part_of_the_load_that_was_measured(
    breakable: Place, archive: Path, run_json: Callable[..., Any]
) -> None:
    argv = [sys.executable, "-m", "runbook", "run", "api-performance", "--target", "breakable", "--json"]
    argv += ["-p", "highest=1", "-p", "seconds=40"]
    call = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    wait_for(lambda: generators(call.pid), seconds=40)
    running = generators(call.pid)
    threading.Event().wait(1.0)
    call.send_signal(signal.SIGINT)
    record = only(decoded(call.communicate(timeout=30)[0]))
    assert call.returncode == 70 and "interrupted by SIGINT" in str(record.error)
    told = by_object(one for one in record.findings if one.check == "performance.load")
    assert "PARTIAL: it was interrupted" in told["load"].message and "latency" in told
    assert running and not any(map(psutil.pid_exists, running))
    assert list((Path(record.evidence) / "data").glob("*performance.load.parquet")), "the rows behind it are kept"
