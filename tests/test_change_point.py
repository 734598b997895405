"""The moment since which requests fail: found in counts, over resets, births and gaps; by Prometheus and by the log."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from monitoring import line, prometheus, serving

from runbook.connections.prometheus import Series
from runbook.model import Finding, Status
from runbook.prometheus import FailingPaths, errors_by_path, errors_since, moment_of, window
from runbook.prometheus.change_point import episodes, failing_run, parted, segments
from runbook.prometheus.counts import by_status, counts_of
from runbook.session import open_run

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN


def drawn(shares: list[tuple[int, float]], requests: float, seed: int = 1) -> tuple[Any, Any]:
    """Return counts of intervals: so many of each share, with a Poisson number of requests."""
    random = np.random.default_rng(seed)
    share = np.concatenate([np.full(count, share) for count, share in shares])
    n = random.poisson(requests, len(share))
    return random.binomial(n, share), n


# --- counts


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("requests", "share"), [(75, 0.3), (75, 0.03), (5, 0.3), (0.5, 1.0), (1000, 0.02)])
def test_a_step_is_found_within_an_interval_or_two(requests: float, share: float, seed: int) -> None:
    failed, n = drawn([(150, 0.001), (50, share)], requests, seed)
    (found,) = episodes(segments(failed, n))
    assert found.end is None and abs(found.share - share) < 0.5 * share
    run = failing_run(failed, n, found.before, found.share)
    assert run is not None and run.earliest - 1 <= 150 <= run.latest + 1
    # What one failing interval can tell is what decides how sharply the moment is known.
    telling = requests * share
    assert abs(run.begin - 150) <= max(1, round(6 / telling))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(("requests", "share"), [(75, 0.0), (75, 0.002), (75, 0.05), (0.3, 0.001), (5, 0.004)])
def test_without_a_change_none_is_told(requests: float, share: float, seed: int) -> None:
    found = episodes(segments(*drawn([(300, share)], requests, seed)))
    assert [one for one in found if not one.from_the_start] == []
    assert bool(found) == (share == 0.05), "what always fails is told, and as from the start"


def test_what_is_over_has_an_end_and_what_came_twice_is_two() -> None:
    failed, n = drawn([(100, 0.0), (20, 0.4), (100, 0.0), (30, 0.2), (50, 0.001)], 40)
    first, second = episodes(segments(failed, n))
    assert (first.begin, first.end) == (100, 120) and abs(second.begin - 220) <= 1 and abs(second.end - 250) <= 1


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("first", "then"), [(0.4, 0.9), (0.3, 0.45), (0.15, 0.4)])
def test_a_step_of_ten_points_is_told_whatever_failed_before(first: float, then: float, seed: int) -> None:
    (found,) = episodes(segments(*drawn([(180, first), (60, then)], 60, seed)))
    assert abs(found.begin - 180) <= 2 and found.end is None
    assert abs(found.before - first) < 0.05 and abs(found.share - then) < 0.05


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(
    "shares",
    [
        [(100, 0.4), (100, 0.47)],
        [(100, 0.02), (100, 0.03)],
        [(100, 0.9), (100, 0.4)],
        [(100, 0.4), (50, 0.9), (50, 0.4)],
    ],
    ids=["a little more", "little, and a little more", "better, and bad", "worse for a while"],
)
def test_what_is_bad_all_the_time_is_told_as_older_although_it_is_not_steady(
    shares: list[tuple[int, float]], seed: int
) -> None:
    failed, n = drawn(shares, 300, seed)
    (found,) = episodes(segments(failed, n))
    assert found.from_the_start and found.end is None and found.begin == 0
    assert found.share == pytest.approx(failed.sum() / n.sum())


def test_a_worse_time_of_a_path_that_fails_a_little_is_over_when_it_is() -> None:
    (found,) = episodes(segments(*drawn([(100, 0.02), (50, 0.9), (100, 0.02)], 60)))
    assert (found.begin, found.end) == (100, 150) and not found.from_the_start


def test_two_times_close_together_are_two_although_an_interval_holds_the_end_of_a_calm() -> None:
    failed = [0, 0, 0, 18, 30, 6, 0, 3, 9, 5]
    n = [12, 12, 30, 30, 30, 6, 30, 30, 30, 18]
    first, second = episodes(segments(failed, n))
    assert (first.begin, first.end, second.end) == (3, 6, None) and second.before == 0
    run = failing_run(failed[6:], n[6:], second.before, second.share)
    assert run is not None and run.begin == 1


@pytest.mark.parametrize("seed", range(20))
def test_what_fails_steadily_is_not_parted(seed: int) -> None:
    failed, n = drawn([(30, 0.0), (300, 0.27)], 4, seed)
    (found,) = episodes(segments(failed, n))
    assert parted(found, failed, n, np.full(len(n), 60.0)) == [found]


def test_a_ramp_is_told_from_where_it_begins_to_stand_out() -> None:
    random = np.random.default_rng(3)
    share = np.concatenate([np.full(100, 0.001), np.linspace(0, 0.5, 50), np.full(50, 0.5)])
    n = random.poisson(60, len(share))
    (found,) = episodes(segments(random.binomial(n, share), n))
    assert 100 <= found.begin <= 110 and found.end is None and found.before < 0.01


def test_one_failed_request_and_a_handful_are_no_step() -> None:
    n = np.full(200, 3)
    for count in (1, 3, 5):
        failed = np.zeros(200)
        failed[-count:] = 1
        assert episodes(segments(failed, n)) == []


def test_intervals_without_requests_say_nothing() -> None:
    failed, n = drawn([(60, 0.0), (60, 0.5)], 20)
    n[50:60], failed[50:60] = 0, 0
    (found,) = episodes(segments(failed, n))
    run = failing_run(failed, n, found.before, found.share)
    assert run is not None and run.begin == 60 and run.earliest <= 60
    assert segments([], []) == [] and segments([0, 0], [0, 0]) == [] and failing_run([], [], 0, 0.5) is None


def test_long_series_are_cut_quickly() -> None:
    failed, n = drawn([(1400, 0.001), (100, 0.2)], 50)
    began = datetime.now(UTC)
    (found,) = episodes(segments(failed, n))
    assert abs(found.begin - 1400) <= 1 and (datetime.now(UTC) - began) < timedelta(seconds=2)


# --- counters


def series(status: str, values: list[float], instance: str = "a", begin: float = 0, every: float = 5) -> Series:
    return Series(
        {"status": status, "instance": instance}, [begin + every * i for i in range(len(values))], [*map(float, values)]
    )


def test_a_counter_that_begins_anew_counts_what_it_shows() -> None:
    told = counts_of([series("200", [100, 110, 3, 13]), series("500", [7, 7, 0, 2])])
    assert list(told.requests) == [10, 3, 12] and list(told.failed) == [0, 0, 2]
    assert list(told.begins) == [0, 5, 10] and list(told.ends) == [5, 10, 15]


def test_a_series_that_is_born_with_its_first_error_counts_it() -> None:
    told = counts_of([series("200", [10, 20, 30, 40]), series("503", [4, 9], begin=10)])
    assert list(told.failed) == [0, 4, 5] and by_status([series("503", [4, 9], begin=10)]) == {"503": 5.0}
    # The same counter, there from the first scrape on, is older than the window.
    assert counts_of([series("503", [4, 9])]).failed.sum() == 5


def test_a_path_that_is_asked_for_the_first_time_counts_its_first_failures_where_its_instance_was_scraped_before() -> (
    None
):
    born = [series("500", [6, 9, 12], begin=20)]
    up = [Series({"instance": "a"}, [0, 5, 10, 15, 20, 25, 30], [1.0] * 7)]
    told = counts_of(born, up)
    assert list(told.failed) == [0, 0, 0, 6, 3, 3] and list(told.ends) == [5, 10, 15, 20, 25, 30]
    assert by_status(born, up) == {"500": 12.0}
    # Of another instance's scrapes nothing follows, nor of those that failed: what shows at the next one may be older.
    for nothing in (Series({"instance": "b"}, [0, 5], [1, 1]), Series({"instance": "a"}, [10, 15, 20], [0, 0, 1])):
        assert counts_of(born, [nothing]).failed.sum() == 6


def test_a_gap_is_one_long_interval() -> None:
    gone = Series({"status": "200", "instance": "a"}, [0, 5, 10, 300, 305], [0, 1, 2, 50, 51])
    told = counts_of([gone])
    assert list(told.ends - told.begins) == [5, 5, 290, 5] and list(told.requests) == [1, 1, 48, 1]


def test_instances_are_counted_together_although_they_are_scraped_at_other_moments() -> None:
    told = counts_of([series("500", [0, 1, 2, 3, 4]), series("500", [0, 10, 20, 30], instance="b", begin=2)])
    assert told.failed.sum() == 34 and len(told.ends) == 4


def test_nothing_and_no_number_are_nothing() -> None:
    assert len(counts_of([]).ends) == 0
    told = counts_of([Series({"status": "500", "instance": "a"}, [0, 5, 10], [1, math.nan, 3])])
    assert told.failed.sum() == 2


# --- Prometheus

END = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
EVERY = 15  # seconds between scrapes
PATH = "/candidates/generate"


class Requests:
    """Counters of some paths, scraped every 15 s for three hours: how they rise is said by the test."""

    def __init__(self) -> None:
        self.lines = ["# TYPE http_requests counter"]
        self.times = [END - timedelta(seconds=EVERY * n) for n in range(720, -1, -1)]

    def path(
        self,
        path: str,
        failing: Callable[[datetime], float],
        *,
        each: int = 10,
        reset: datetime | None = None,
        gap: tuple[datetime, datetime] | None = None,
        instance: str = "a",
        status: str = "500",
    ) -> "Requests":
        """Have ``each`` requests answered between two scrapes, a share of them with 5xx by the time of each request.

        The 5xx series is born with its first error.
        """
        well = bad = due = 0.0
        for at in self.times:
            for n in range(each):
                due += failing(at - timedelta(seconds=EVERY * (1 - (n + 1) / each)))
                failed, due = (1, due - 1) if due >= 1 else (0, due)
                well, bad = well + 1 - failed, bad + failed
            if reset is not None and at - timedelta(seconds=EVERY) < reset <= at:
                well = bad = 0
            if gap is None or not gap[0] < at < gap[1]:
                labels = {"job": "shrimp-api", "instance": instance, "method": "POST", "path": path}
                self.lines.append(line("http_requests_total", labels | {"status": "200"}, well, at))
                if bad:
                    self.lines.append(line("http_requests_total", labels | {"status": status}, bad, at))
        return self


def step(at: datetime, share: float, until: datetime | None = None) -> Callable[[datetime], float]:
    return lambda moment: share if moment >= at and (until is None or moment < until) else 0.0


@pytest.fixture
def asked(tmp_path: Path, profile: Callable[..., str]) -> Iterator[Callable[..., Any]]:
    """Ask a question about a Prometheus that has these requests behind it."""
    with ExitStack() as stack:

        def ask(question: Any, requests: Requests, more: str = "", **window_: Any) -> Any:
            folder = tmp_path / f"p{len(list(tmp_path.iterdir()))}"
            running = stack.enter_context(prometheus(folder, past="\n".join(requests.lines)))
            name = profile(f'[prometheus]\nurl = "{running.url}"\n{more}', name=folder.name)
            run = open_run("tests", target=name, needs=["prometheus"])
            stack.callback(run.close)
            given = window(until=END.isoformat(), **{"hours": 2.9, **window_})
            return run.ask(question, window=given)

        yield ask


def only(answer: Any) -> Any:
    assert answer.frame is not None and len(answer.frame) == 1, answer.findings
    return answer.frame.iloc[0]


@pytest.mark.parametrize(("offset", "share"), [(47, 0.3), (63, 1.0), (13, 0.12)])
def test_the_moment_is_within_one_scrape_of_the_truth(asked: Callable[..., Any], offset: float, share: float) -> None:
    truth = END - timedelta(minutes=offset, seconds=offset / 9)
    told = asked(errors_since, Requests().path(PATH, step(truth, share)).path("/documents", step(truth, 0)))
    row = only(told)
    assert row["path"] == f"POST {PATH}" and pd.isna(row["ends"]) and abs(row["share"] - 100 * share) < 3
    # The first request that fails comes a little after the truth where only a share does.
    assert abs((row["begins"] - truth).total_seconds()) <= EVERY + 1.5 / share
    assert row["earliest"] - timedelta(seconds=1) <= truth <= row["latest"]
    (finding,) = told.findings
    assert finding.status is CRITICAL and f"{row['begins']:%Y-%m-%d %H:%M:%S} UTC" in finding.message
    assert moment_of(told.frame) == f"{row['begins']:%Y-%m-%dT%H:%M:%S}"


def test_a_restart_and_a_gap_are_no_step_and_do_not_hide_one(asked: Callable[..., Any]) -> None:
    truth = END - timedelta(minutes=40, seconds=4)
    requests = Requests().path(PATH, step(truth, 0.4), reset=truth - timedelta(minutes=20))
    gone = (END - timedelta(minutes=75), END - timedelta(minutes=60))
    requests.path("/documents", step(END - timedelta(minutes=130), 0.004), gap=gone, reset=END - timedelta(minutes=90))
    row = only(asked(errors_since, requests))
    assert row["path"] == f"POST {PATH}" and abs((row["begins"] - truth).total_seconds()) <= EVERY + 4


def test_a_step_within_a_gap_is_told_with_the_gap_as_its_doubt(asked: Callable[..., Any]) -> None:
    truth = END - timedelta(minutes=50)
    gone = (END - timedelta(minutes=54), END - timedelta(minutes=46))
    row = only(asked(errors_since, Requests().path(PATH, step(truth, 0.5), gap=gone)))
    assert row["earliest"] - timedelta(seconds=EVERY) <= truth <= row["latest"]
    assert timedelta(minutes=7) < row["latest"] - row["earliest"] < timedelta(minutes=9)


def test_a_path_that_fails_from_its_first_request_on_is_told_from_that_one_on(asked: Callable[..., Any]) -> None:
    truth = END - timedelta(minutes=20, seconds=5)
    requests = Requests()
    every = list(requests.times)
    requests.lines += ["# TYPE up gauge"]
    requests.lines += [line("up", {"job": "shrimp-api", "instance": "a"}, 1, at) for at in every]
    requests.lines.append("# TYPE http_requests counter")
    requests.times = [at for at in every if at >= truth]
    requests.path("/new", step(truth - timedelta(minutes=1), 1.0))
    paths = asked(errors_by_path, requests)
    (finding,) = [one for one in paths.findings if one.object == "POST /new"]
    born = 10 * len(requests.times)
    assert f"{born} × 500" in finding.message and paths.frame["failed"].sum() == born
    assert only(asked(errors_since, requests))["failed"] == born


def test_a_path_that_is_only_found_again_after_a_gap_did_not_fail_anew(asked: Callable[..., Any]) -> None:
    requests = Requests()
    before, after = END - timedelta(minutes=100), END - timedelta(minutes=60)
    failed = step(END - timedelta(minutes=170), 1.0, END - timedelta(minutes=150))
    requests.path("/again", failed, gap=(before, after)).path("/documents", step(END, 0), gap=(before, after))
    requests.lines += ["# TYPE up gauge"]
    labels = {"job": "shrimp-api", "instance": "a"}
    requests.lines += [line("up", labels, 1, at) for at in requests.times if not before < at < after]
    paths = asked(errors_by_path, requests, hours=1.4)  # it begins within the gap
    assert paths.frame is not None and paths.frame.empty and paths.frame.attrs["failed"] == 0


def test_of_few_requests_the_moment_is_as_sure_as_they_tell(asked: Callable[..., Any]) -> None:
    truth = END - timedelta(minutes=61)
    sparse = Requests()
    calls = itertools.count()
    # One request in a minute: each fourth interval has one.
    well = bad = 0
    for at in sparse.times:
        if next(calls) % 4 == 0:
            well, bad = (well, bad + 1) if at >= truth else (well + 1, bad)
        labels = {"job": "shrimp-api", "instance": "a", "method": "GET", "path": "/rare"}
        sparse.lines.append(line("http_requests_total", labels | {"status": "200"}, well, at))
        sparse.lines.append(line("http_requests_total", labels | {"status": "500"}, bad, at))
    row = only(asked(errors_since, sparse))
    assert abs((row["begins"] - truth).total_seconds()) <= 75 and row["earliest"] <= row["begins"] <= row["latest"]


def test_what_is_over_tells_when_it_ended_and_is_a_warning(asked: Callable[..., Any]) -> None:
    begins, ends = END - timedelta(minutes=100, seconds=3), END - timedelta(minutes=70, seconds=7)
    told = asked(errors_since, Requests().path(PATH, step(begins, 0.5, ends), status="503"))
    row = only(told)
    assert abs((row["begins"] - begins).total_seconds()) <= EVERY + 3
    assert abs((row["ends"] - ends).total_seconds()) <= EVERY + 3
    assert told.findings[0].status is WARNING and "it ended at" in told.findings[0].message


def test_a_burst_between_two_points_of_the_first_look_is_found_as_well(asked: Callable[..., Any]) -> None:
    begins = END - timedelta(minutes=100, seconds=21)
    row = only(asked(errors_since, Requests().path(PATH, step(begins, 1.0, begins + timedelta(seconds=40)), each=30)))
    assert abs((row["begins"] - begins).total_seconds()) <= EVERY + 2
    assert abs((row["ends"] - begins).total_seconds() - 40) <= EVERY + 2


@pytest.mark.parametrize("each", [2, 20])
def test_what_fails_anew_after_a_recovery_is_told_from_its_own_beginning(asked: Callable[..., Any], each: int) -> None:
    first, healed, second = (END - timedelta(seconds=n) for n in (1200, 240, 45))
    course = Requests().path(PATH, lambda at: 0.5 if first <= at < healed or at >= second else 0.0, each=each)
    told = asked(errors_since, course, hours=2.9)
    row = only(told)
    assert abs((row["begins"] - second).total_seconds()) <= EVERY + 4 / each * EVERY and pd.isna(row["ends"])
    assert row["earlier"] == 1 and abs((row["previous"] - first).total_seconds()) <= 90
    (finding,) = told.findings
    assert finding.status is CRITICAL and "1 such time before it" in finding.message
    assert f"{row['previous']:%H:%M} UTC on" in finding.message


def test_what_no_request_has_come_to_since_is_no_present_failure(asked: Callable[..., Any]) -> None:
    requests = Requests()
    begins, last = END - timedelta(minutes=20), END - timedelta(minutes=11)
    requests.path("/documents", step(END, 0))
    labels = {"job": "shrimp-api", "instance": "a", "method": "POST", "path": PATH}
    well = bad = 0
    for at in requests.times:
        well, bad = (well + 3, bad) if at < begins else (well, bad + 3) if at <= last else (well, bad)
        requests.lines.append(line("http_requests_total", labels | {"status": "200"}, well, at))
        requests.lines.append(line("http_requests_total", labels | {"status": "500"}, bad, at))
    told = asked(errors_since, requests)
    row = only(told)
    assert abs((row["last_request"] - last).total_seconds()) <= EVERY
    (finding,) = told.findings
    assert finding.status is WARNING and "failed from" in finding.message
    assert f"by {row['last_request']:%Y-%m-%d %H:%M:%S} UTC and none came since (11 min)" in finding.message


def test_the_bounds_hold_a_moment_after_the_last_request_of_a_scrape(asked: Callable[..., Any]) -> None:
    # The last request before it came early between two scrapes, and it began just before the second one.
    requests, scrape = Requests(), END - timedelta(minutes=30)
    truth = scrape - timedelta(seconds=0.3)
    told = asked(errors_since, requests.path(PATH, step(truth + timedelta(seconds=0.4), 1.0)))
    row = only(told)
    assert row["earliest"] <= truth <= row["latest"]
    assert f"between {row['earliest']:%H:%M:%S} and" in told.findings[0].message


def test_what_failed_all_the_time_is_told_as_older_than_the_window(asked: Callable[..., Any]) -> None:
    told = asked(errors_since, Requests().path(PATH, step(END - timedelta(days=1), 0.2)))
    assert only(told)["from_the_start"] and "all of the" in told.findings[0].message
    assert "hours=12" in told.findings[0].next and moment_of(told.frame) == ""


def test_what_was_bad_all_the_time_and_became_worse_is_critical(asked: Callable[..., Any]) -> None:
    truth = END - timedelta(minutes=40)
    told = asked(errors_since, Requests().path(PATH, lambda moment: 0.9 if moment >= truth else 0.4))
    row = only(told)
    assert abs((row["begins"] - truth).total_seconds()) <= EVERY + 4 and abs(row["before"] - 40) < 2
    assert told.findings[0].status is CRITICAL and "90% of its requests fail since" in told.findings[0].message
    better = asked(errors_since, Requests().path(PATH, lambda moment: 0.4 if moment >= truth else 0.9))
    assert better.findings[0].status is CRITICAL and "all of the" in better.findings[0].message


def test_where_nothing_changed_none_is_told(asked: Callable[..., Any]) -> None:
    requests = Requests().path(PATH, step(END - timedelta(days=1), 0.002), reset=END - timedelta(minutes=33))
    told = asked(errors_since, requests.path("/documents", step(END, 0)))
    (finding,) = told.findings
    assert finding.status is OK and "no path's share of failed requests stepped up" in finding.message
    assert moment_of(told.frame) == "" == moment_of(None)


def test_the_paths_are_told_with_their_shares_and_statuses(asked: Callable[..., Any]) -> None:
    begins = END - timedelta(minutes=20)
    requests = Requests().path(PATH, step(begins, 0.3)).path("/export/gold", step(begins, 1.0))
    requests.path('/a"<b>\\n', step(begins, 0.04)).path("/documents", step(begins, 0.0))
    found = {finding.object: finding for finding in asked(errors_by_path, requests).findings}
    assert found[f"POST {PATH}"].status is CRITICAL and "30% of its requests" in found[f"POST {PATH}"].message
    assert "240 × 500" in found[f"POST {PATH}"].message and "language model" in found[f"POST {PATH}"].next
    assert found["POST /export/gold"].status is WARNING and "nothing to do" in found["POST /export/gold"].message
    assert found['POST /a"<b>\\n'].status is WARNING
    assert found["all paths"].message.startswith("3 paths of those that failed do so now")


@pytest.mark.parametrize("minutes", [2, 10, 30])
def test_where_nothing_was_scraped_lately_what_fails_now_is_unknown(asked: Callable[..., Any], minutes: int) -> None:
    requests = Requests()
    requests.times = [at for at in requests.times if at <= END - timedelta(minutes=minutes)]
    requests.path(PATH, step(END - timedelta(minutes=100), 0.5, END - timedelta(minutes=60)))
    last = asked(errors_by_path, requests).findings[-1]
    assert last.status is UNKNOWN and last.message.startswith(f"no sample since {requests.times[-1]:%H:%M} UTC")
    assert "key-metrics" in last.next and "api-down" in last.next
    calm = Requests()
    calm.times = requests.times
    (finding,) = asked(errors_since, calm.path(PATH, step(END, 0))).findings
    assert finding.status is UNKNOWN and "no sample since" in finding.message


def test_one_missed_scrape_is_nothing(asked: Callable[..., Any]) -> None:
    requests = Requests()
    requests.times = requests.times[:-3]
    (finding,) = asked(errors_by_path, requests.path(PATH, step(END, 0))).findings
    assert finding.status is OK and "no path fails now" in finding.message


def test_of_a_great_many_failing_paths_the_worst_are_told_and_that_there_are_more(asked: Callable[..., Any]) -> None:
    requests = Requests()
    requests.times = requests.times[-100:]
    for n in range(30):
        requests.path(f"/p/{n:02d}", step(END - timedelta(minutes=10), 0.5 + n / 100))
    answer = asked(errors_since, requests, hours=0.4)
    assert len(answer.frame) == 10 and answer.frame.iloc[0]["path"] == "POST /p/29"
    assert answer.frame.attrs["left_out"] == 1, "how many more is not counted: their counting could take for ever"
    # Half and more of a hundred requests in each of 10 min, of 30 paths.
    assert answer.frame.attrs["failed"] == pytest.approx(30 * 400 * 0.645, rel=0.05), "of all paths, not of the ten"


# --- a young Prometheus


def young(samples: int, share: float = 0.3, each: int = 30) -> Requests:
    """Return requests of which Prometheus has so many samples only."""
    requests = Requests()
    requests.times = requests.times[-samples:]
    return requests.path(PATH, step(END - timedelta(days=1), share), each=each)


@pytest.mark.parametrize("samples", [2, 4, 7])
def test_of_a_young_prometheus_the_samples_there_are_tell_what_fails(asked: Callable[..., Any], samples: int) -> None:
    told = asked(errors_by_path, young(samples), hours=6)
    found = {finding.object: finding for finding in told.findings}
    assert (
        found[f"POST {PATH}"].status is CRITICAL
        and "of its requests failed in the last" in found[f"POST {PATH}"].message
    )
    assert f"in the {15 * (samples - 1)} s that are recorded" in found["all paths"].message
    assert told.frame.attrs["failed"] == pytest.approx(0.3 * 30 * (samples - 1), abs=1)
    FailingPaths(told).figure()  # one row of a path is drawn as well


def test_a_few_failures_of_a_young_prometheus_are_no_all_clear(asked: Callable[..., Any]) -> None:
    (finding,) = asked(errors_by_path, young(3, each=5), hours=6).findings
    assert finding.status is UNKNOWN and "only 30 s of samples: 3 of" in finding.message
    (finding,) = asked(errors_by_path, young(1), hours=6).findings
    assert finding.status is UNKNOWN and "Prometheus has only 0 s of samples" in finding.message


def test_a_status_that_is_born_in_a_young_prometheus_counts_from_its_first_error(asked: Callable[..., Any]) -> None:
    requests = Requests()
    requests.times = requests.times[-6:]
    requests.lines += ["# TYPE up gauge"]
    requests.lines += [line("up", {"job": "shrimp-api", "instance": "a"}, 1, at) for at in requests.times]
    requests.lines.append("# TYPE http_requests counter")
    requests.path(PATH, step(END - timedelta(seconds=EVERY - 0.5), 1.0))  # one sample, of ten failures
    found = {one.object: one.message for one in asked(errors_by_path, requests, hours=6).findings}
    assert "20% of its requests failed in the last 75 s (10 of 50)" in found[f"POST {PATH}"]


def test_what_failed_since_the_first_sample_is_not_told_as_older_than_the_window(asked: Callable[..., Any]) -> None:
    requests = young(30)
    told = asked(errors_since, requests, hours=6)
    assert only(told)["from_the_start"] and told.findings[0].status is CRITICAL
    assert f"the first sample in this time, at {requests.times[0]:%Y-%m-%d %H:%M:%S} UTC" in told.findings[0].message
    assert "that are recorded" in told.findings[0].message and "6 h" not in told.findings[0].message


# --- without Prometheus


def log_of(folder: Path, truth: datetime, share: float, ends: datetime) -> Path:
    """Write a log with a request each two seconds for two hours, as the service does, and return its path."""
    due, at, lines = 0.0, ends - timedelta(hours=2), []
    while at < ends:
        due += share if at >= truth else 0.0
        status, due = (500, due - 1) if due >= 1 else (200, due)
        stamp = f"{at:%Y-%m-%dT%H:%M:%S.%f}Z"
        lines.append(
            f'{{"timestamp": "{stamp}", "level": "INFO", "logger": "api.requests", "message": "POST {PATH}", '
            f'"method": "POST", "path": "{PATH}", "status_code": {status}, "duration_ms": 12.5, "user_id": null}}'
        )
        at += timedelta(seconds=2)
    path = folder / "api_20260101.log"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_cell_that_is_run_again_an_hour_later_asks_for_the_hours_before_that(
    tmp_path: Path, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests().path(PATH, step(END - timedelta(minutes=40), 0.3))
    with prometheus(tmp_path / "p", past="\n".join(requests.lines)) as running:
        run = open_run("tests", target=profile(f'[prometheus]\nurl = "{running.url}"'), needs=["prometheus"])
        last = window(hours=2)  # of the first cell, which is not run again
        first, at_once = (run.ask(errors_by_path, window=last).frame.attrs["until"] for _ in range(2))
        monkeypatch.setattr("runbook.connections.prometheus.now", lambda: datetime.now(UTC) + timedelta(hours=1))
        monkeypatch.setattr("runbook.prometheus.failing.FRESH_SECONDS", 0.0)
        later = run.ask(errors_by_path, window=last).frame.attrs["until"]
        run.close()
    assert first == at_once, "what follows at once is about the same failures"
    assert timedelta(minutes=59) < datetime.fromisoformat(later) - datetime.fromisoformat(first) < timedelta(minutes=62)


def test_where_prometheus_has_no_such_metric_the_log_tells_it(asked: Callable[..., Any], tmp_path: Path) -> None:
    truth = END - timedelta(minutes=37, seconds=11)
    folder = tmp_path / "logs"
    folder.mkdir()
    path = log_of(folder, truth, 0.3, END)
    nothing = Requests()
    nothing.lines = ["# TYPE up gauge", line("up", {"job": "shrimp-api"}, 1, END)]
    told = asked(errors_since, nothing, more=f'[logs]\napi = ["{path}"]', hours=1.9)
    row = only(told)
    assert row["path"] == PATH and abs((row["begins"] - truth).total_seconds()) <= 12 and abs(row["share"] - 30) < 2
    statuses = {finding.object: finding.status for finding in told.findings}
    assert statuses == {PATH: CRITICAL, "Prometheus": UNKNOWN}
    paths = asked(errors_by_path, nothing, more=f'[logs]\napi = ["{path}"]', hours=1.9)
    assert {one.object: one.status for one in paths.findings}[PATH] is CRITICAL


def test_where_neither_tells_it_both_reasons_are_told(profile: Callable[..., str]) -> None:
    with serving(lambda path, headers: (200, {}, b"<html>")) as served:
        run = open_run("tests", target=profile(f'[prometheus]\nurl = "{served.url}"'), needs=["prometheus"])
        found: Finding
        (found,) = run.ask(errors_since).findings
        run.close()
    assert found.status is UNKNOWN and "HTML" in found.message and "names no logs" in found.message
