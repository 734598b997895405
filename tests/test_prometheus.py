"""Prometheus and Alertmanager as they answer, and as others do in their place: told in one sentence each, bounded."""

import contextlib
import json
import math
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import trustme
from monitoring import Running, free_port, line, prometheus, require, serving
from running import wait_for

from runbook.connections import AlertmanagerConnection, PrometheusConnection
from runbook.connections import prometheus as connecting
from runbook.connections.prometheus import MOST_POINTS, MOST_SERIES, Result, Series
from runbook.connections.web import web_client
from runbook.model import CouldNotFindOut, Unreachable
from runbook.plans.silence import silence, silencing
from runbook.prometheus.frames import frame_of
from runbook.prometheus.queries import Asked, expression, read_promql, together
from runbook.prometheus.steps import MOST_POINTS as PIXELS
from runbook.prometheus.steps import as_duration, fit_step, rate_window, seconds_of
from runbook.session import open_run
from runbook.target import Target

END = datetime.now(UTC).replace(second=0, microsecond=0)
# The bcrypt hash of the password below.
PASSWORD, HASH = "words-of-the-tests", "$2b$04$h/memnSBUk75FMcgv22bne7UMZoUiv0KA/v6Hd8LSETHhTKwDAXyq"
HOSTILE = {
    "html": "<script>alert(1)</script>",
    "lines": "one\ntwo\r\n\x1b[31mred",
    "bidi": "a\u202egpj.exe",
    "quotes": '"} or vector(1) # \\',
    "long": "x" * 5000,
}
BUILD = {"status": "success", "data": {"version": "2.42.0"}}
NOTHING = {"status": "success", "data": {"resultType": "vector", "result": []}}
Answering = Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes] | None]


def target(url: str, **more: Any) -> Target:
    said = {"url": url, **more.pop("prometheus", {})}
    return Target.model_validate({"name": "tests", "prometheus": said, "deadlines": {"connect": 1.0}, **more})


def opened(url: str, **more: Any) -> PrometheusConnection:
    return PrometheusConnection.open(target(url, **more), "tests")


def past() -> str:
    """Return an hour of samples every 15 s: plain, not a number, ended, and with hostile labels; many of one moment."""
    lines = ["# TYPE figure gauge"]
    moments = [END - timedelta(seconds=15 * n) for n in range(240, -1, -1)]
    for kind, value in (("plain", 7.0), ("zero", 0.0), ("nothing", math.nan), ("endless", math.inf)):
        lines += [line("figure", {"job": "a", "kind": kind}, value, at) for at in moments]
    lines += [line("figure", {"job": "a", "kind": "ended"}, 3.0, at) for at in moments[:120]]
    for kind, text in HOSTILE.items():
        lines += [line("figure", {"job": "hostile", "kind": kind, "text": text}, 1.0, at) for at in moments[-2:]]
    lines += [line("figure", {"job": "many", "kind": f"{n:05d}"}, float(n), END) for n in range(3000)]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with prometheus(tmp_path_factory.mktemp("prometheus"), past=past()) as running:
        yield running


@pytest.fixture
def asked(server: Running) -> Iterator[PrometheusConnection]:
    connection = opened(server.url)
    yield connection
    connection.close()


def json_of(body: Any, status: int = 200) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


def then(given: tuple[int, dict[str, str], bytes] | None) -> Answering:
    """Return an answering that lets a connection open, and answers everything else with the given."""
    return lambda path, _: json_of(BUILD) if "buildinfo" in path else given


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(CouldNotFindOut) as caught:
        work()
    told = str(caught.value)
    assert "\n" not in told and len(told) < 700
    return told


# What it is and what it says


def test_it_proves_itself_by_version_address_and_clock(server: Running, asked: PrometheusConnection) -> None:
    assert asked.identity["what"] == "Prometheus" and asked.identity["where"] == server.url
    assert asked.identity["version"].startswith("2.") or asked.identity["version"].startswith("3.")
    assert asked.clock is not None and asked.clock.offset == 0.0
    assert abs((asked.now() - datetime.now(UTC)).total_seconds()) < 60


def test_a_run_shows_it(server: Running, profile: Callable[..., str]) -> None:
    name = profile(f'[prometheus]\nurl = "{server.url}"\n')
    shown = open_run("probe", target=name, needs=["prometheus", "alertmanager"])._repr_mimebundle_()["text/plain"]
    assert f"Prometheus, where {server.url}, version" in shown
    assert "has no [alertmanager]" in shown


def test_no_series_no_sample_not_a_number_and_zero_are_kept_apart(asked: PrometheusConnection) -> None:
    start = END - timedelta(minutes=20)
    frame = frame_of(asked.range('figure{job="a"}', start, END, 60))
    assert str(frame.index.tz) == "UTC" and frame.index[-1] == END and len(frame) == 21
    told = {labels["kind"]: place for place, labels in enumerate(frame.attrs["labels"])}
    assert "ended" not in told  # it had no sample in these twenty minutes
    assert (frame.iloc[:, told["zero"]] == 0).all() and frame.attrs["not_a_number"][told["zero"]] == 0
    assert frame.iloc[:, told["nothing"]].isna().all() and frame.attrs["not_a_number"][told["nothing"]] == 21
    assert np.isinf(frame.iloc[:, told["endless"]]).all()
    absent = frame_of(asked.range('figure{job="nobody"}', start, END, 60))
    assert absent.empty and list(absent.columns) == [] and str(absent.index.tz) == "UTC"
    longer = frame_of(asked.range('figure{kind="ended"}', END - timedelta(hours=1), END, 60))
    assert longer.attrs["samples"] == [len(longer)] and longer.index[-1] < END - timedelta(minutes=20)


def test_a_scalar_and_an_empty_vector_are_results_too(asked: PrometheusConnection) -> None:
    assert asked.instant("3 + 4").series[0].values == [7.0]
    assert asked.instant("nothing_of_that_name").series == ()


def test_warnings_of_the_answer_are_kept() -> None:
    body = {"status": "success", "warnings": ["remote\nread failed"], "infos": ["metric might not be a counter"],
            "data": {"resultType": "vector", "result": []}}  # fmt: skip
    with serving(then(json_of(body))) as served:
        result = opened(served.url).instant("up")
    assert result.notes == ("remote read failed", "metric might not be a counter")
    assert frame_of(result).attrs["notes"] == list(result.notes)


def test_rules_alerts_targets_and_names_are_read(asked: PrometheusConnection) -> None:
    assert asked.rules() == [] and asked.alerts() == [] and asked.targets() == [] and asked.alertmanagers() == []
    assert asked.names('{job="a"}', END - timedelta(hours=1), END) == {"figure"}
    kinds = asked.label_values("kind", 'figure{job="a"}', END - timedelta(hours=1), END)
    assert "plain" in kinds and "00001" not in kinds


def test_others_that_speak_its_language_need_tell_no_version() -> None:
    def answer(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if "buildinfo" in path:
            return 404, {"Content-Type": "text/plain"}, b"404 page not found"
        return json_of({"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}})

    with serving(answer) as served:
        assert opened(served.url).identity["version"] == "not told"


# What it refuses


def test_its_own_words_say_why_it_refuses(asked: PrometheusConnection) -> None:
    assert "refuses the query (400)" in refused(lambda: asked.instant("up{"))
    told = refused(lambda: asked.instant('figure * on(job) figure{job="a"}', END))
    assert "could not calculate it (422)" in told and "matching" in told


def test_more_points_than_it_gives_are_never_asked_for(
    asked: PrometheusConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = END - timedelta(seconds=MOST_POINTS)
    assert asked.range('figure{kind="plain"}', start + timedelta(seconds=1), END, 1).series
    assert "take a longer step" in refused(lambda: asked.range("figure", start, END, 1))
    monkeypatch.setattr(connecting, "MOST_POINTS", 10**9)
    earlier = start - timedelta(seconds=10)
    assert "11,000 points" in refused(lambda: asked.range("figure", earlier, END, 1))  # its own words


@pytest.mark.parametrize("interval", [1.0, 5.0, 15.0, 60.0, 3600.0])
def test_a_step_gives_no_more_points_than_pixels_and_is_no_finer_than_the_scrapes(interval: float) -> None:
    for seconds in np.geomspace(1, 400 * 86400, 500):
        step = fit_step(seconds, interval)
        assert step >= interval and seconds / step + 1 <= PIXELS < MOST_POINTS
        window = seconds_of(rate_window(step, interval))
        assert window >= 4 * interval and window >= step and window >= 300


def test_durations_are_read_as_prometheus_writes_them() -> None:
    assert [seconds_of(text) for text in ("15s", "1m30s", "1h", "500ms", "1d2h")] == [15, 90, 3600, 0.5, 93600]
    assert seconds_of("") == seconds_of("soon") == 15 and as_duration(90) == "90s" and as_duration(300) == "5m"


def test_of_very_many_series_the_largest_are_kept_and_that_is_said(asked: PrometheusConnection) -> None:
    result = asked.instant('figure{job="many"}', END)
    values = [series.values[-1] for series in result.series]
    assert len(values) == MOST_SERIES and values == sorted(values, reverse=True) and result.left_out > 0
    assert values[-1] > result.left_out - 2, "as many are smaller as were left out"
    assert frame_of(result).attrs["left_out"] == result.left_out


def test_an_answer_without_end_is_read_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"metric": {"user": "u" * 90}, "value": [1, "1"]}
    rows = json.dumps(row).encode()
    body = b'{"status":"success","data":{"resultType":"vector","result":[' + b",".join([rows] * 200_000)
    with serving(then((200, {"Content-Type": "application/json"}, body))) as served:
        connection = opened(served.url)
        tracemalloc.start()
        told = refused(lambda: connection.instant("figure"))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert "more than 16 MB" in told and "far too many series" in told
    assert peak < 5 * connecting.BODY_LIMIT


# Who answers in its place


def test_one_that_is_down_refuses() -> None:
    told = refused(lambda: opened(f"http://127.0.0.1:{free_port()}"))
    assert "refuses connections: nothing listens there" in told


def test_one_that_hangs_is_waited_for_once() -> None:
    stopped = threading.Event()

    def hang(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes] | None:
        if "buildinfo" in path:
            return json_of(BUILD)
        stopped.wait(10)
        return None

    with serving(hang) as served:
        connection = opened(served.url)
        connection.patience = 0.3
        assert "accepted and kept silent: no answer within 0.3 s" in refused(
            lambda: connection.instant("up", None, 0.3)
        )
        count = len(served.asked)
        assert "kept silent" in refused(lambda: connection.instant("up"))
        assert len(served.asked) == count
        stopped.set()


def test_many_queries_to_one_that_hangs_end_together() -> None:
    stopped = threading.Event()

    def hang(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes] | None:
        if "buildinfo" in path:
            return json_of(BUILD)
        stopped.wait(10)
        return None

    with serving(hang) as served:
        found = together(opened(served.url), {n: Asked(f"up + {n}", END) for n in range(40)}, 1.5)
        stopped.set()
    assert len(found) == 40 and all(isinstance(one, CouldNotFindOut) for one in found.values())
    assert len(served.asked) < 20


def test_one_that_is_busy_is_not_silent_for_the_rest_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook.prometheus.queries.AT_ONCE", 1)
    busy, calm = threading.Event(), threading.Event()

    def slow(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes] | None:
        if "buildinfo" not in path and not busy.is_set():
            calm.wait(10)
        return json_of(BUILD if "buildinfo" in path else NOTHING)

    with serving(slow) as served:
        connection = opened(served.url)
        found = together(connection, {n: Asked(f"up + {n}", END) for n in range(3)}, 1.5)
        time.sleep(0.3)  # the thread that waits still gives it up
        busy.set()
        calm.set()
        assert connection.instant("up").series == ()  # it is asked again, and answers
    assert not any(isinstance(one, Unreachable) for one in found.values())
    assert "did not answer this query within the 1.5 s" in str(found[0])


def test_what_could_not_be_answered_any_more_is_not_asked_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runbook.prometheus.queries.AT_ONCE", 1)

    def slow(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes] | None:
        if "buildinfo" not in path:
            time.sleep(0.6)
        return json_of(BUILD if "buildinfo" in path else NOTHING)

    with serving(slow) as served:
        found = together(opened(served.url), {n: Asked(f"up + {n}", END) for n in range(5)}, 1.5)
        count = len(served.asked)
    assert isinstance(found[0], Result) and count == 1 + 1, "the version, and one query"
    assert "was not asked: less than 1 s was left of the 1.5 s" in str(found[4])


def test_one_that_hangs_stays_silent_whatever_a_query_beside_it_came_to() -> None:
    stopped = threading.Event()

    def answer(path: str, _: dict[str, str]) -> tuple[int, dict[str, str], bytes] | None:
        if "buildinfo" in path:
            return json_of(BUILD)
        stopped.wait(1.0 if "breaks" in path else 10)
        return None  # it hangs up

    with serving(answer) as served:
        connection = opened(served.url)
        connection.patience = 0.5
        breaking = threading.Thread(target=lambda: refused(lambda: connection.instant("breaks", None, 5.0)))
        breaking.start()
        refused(lambda: connection.instant("hangs", None, 0.5))
        breaking.join()
        count = len(served.asked)
        assert "kept silent" in refused(lambda: connection.instant("up"))
        assert len(served.asked) == count
        stopped.set()


def test_one_that_wants_a_password_is_told_so_and_given_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD_OF_TESTS", PASSWORD)
    monkeypatch.setenv("ANOTHER_OF_TESTS", "no")
    given = {"username": "runbook", "password": "env:PASSWORD_OF_TESTS"}
    with prometheus(tmp_path / "p", web_config=f"basic_auth_users:\n  runbook: {HASH}\n") as running:
        told = refused(lambda: opened(running.url))
        assert "asks for a log-in (401)" in told and "username and password, or token" in told
        wrong = {**given, "password": "env:ANOTHER_OF_TESTS"}
        assert "(401)" in refused(lambda: opened(running.url, prometheus=wrong))
        connection = opened(running.url, prometheus=given)
        assert connection.instant("1 + 1").series[0].values == [2.0]


@pytest.mark.parametrize(("connect", "seconds"), [(5.0, 0.3), (0.3, 5.0)], ids=["to answer", "to connect"])
def test_the_shorter_of_the_two_times_ends_the_wait_for_one_that_takes_no_connection(
    connect: float, seconds: float
) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        connection = PrometheusConnection(web_client("prometheus", url, "tests", connect))
        began = time.monotonic()
        told = refused(lambda: connection.get("/", seconds))
        assert time.monotonic() - began < 1.0
    assert "could not be connected to: no answer within 0.3 s" in told


def test_an_answer_that_comes_drop_by_drop_ends_with_its_time_without_being_told() -> None:
    stopped = threading.Event()

    def drip(listening: socket.socket) -> None:
        line, _ = listening.accept()
        with line, contextlib.suppress(OSError):
            line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            while not stopped.wait(0.05):
                line.sendall(b".")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        connection = PrometheusConnection(web_client("prometheus", url, "tests", 1.0))
        began = time.monotonic()
        told = refused(lambda: connection.get("/", 0.3))
        stopped.set()
    assert "no answer within 0.3 s" in told and time.monotonic() - began < 1.0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_one_behind_tls_that_wants_a_token_gets_both(
    server: Running, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_TESTS", "token-of-the-tests-1234")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    def proxy(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if headers.get("authorization") != "Bearer token-of-the-tests-1234":
            return 403, {}, b"no"
        answer = httpx.get(f"{server.url}{path}", trust_env=False)
        return answer.status_code, {"Content-Type": answer.headers["content-type"]}, answer.content

    with serving(proxy, context) as served:
        assert "its certificate or TLS is not accepted" in refused(lambda: opened(served.url))
        trusted = {"ca_file": str(tmp_path / "ca.pem")}
        assert "does not let this log-in in (403)" in refused(lambda: opened(served.url, prometheus=trusted))
        connection = opened(served.url, prometheus={**trusted, "token": "env:TOKEN_OF_TESTS"})
        assert connection.instant('figure{kind="plain"}', END).series[0].values == [7.0]


def test_a_redirect_is_not_followed_and_no_token_goes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_TESTS", "token-of-the-tests-1234")
    with serving(lambda *_: json_of(BUILD)) as elsewhere, serving(lambda *_: None) as served:
        served.answer = lambda *_: (302, {"Location": f"{elsewhere.url}/login?from=\r\n"[:-2]}, b"")
        told = refused(lambda: opened(served.url, prometheus={"token": "env:TOKEN_OF_TESTS"}))
    assert "redirects to" in told and "log-in page" in told and elsewhere.asked == []
    assert "token-of-the-tests" not in told


def vector(sample: bytes) -> tuple[int, dict[str, str], bytes]:
    return 200, {}, b'{"status": "success", "data": {"resultType": "vector", "result": [' + sample + b"]}}"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"), "with HTML: something else answers there"),
        ((502, {"Content-Type": "text/plain"}, b"bad gateway"), "a proxy answers"),
        ((503, {"Content-Type": "text/plain"}, b"Service Unavailable"), "it is starting"),
        ((200, {}, b"{"), "is this Prometheus?"),
        ((200, {}, b"[]"), "is this Prometheus?"),
        ((200, {}, b'{"status": "success", "data": {}}'), "is this Prometheus?"),
        (vector(b'{"value": [1, 2, 3]}'), "is this Prometheus?"),
        (vector(b'{"value": [1, "x"]}'), "is this Prometheus?"),
        ((200, {}, b"[" * 100_000), "is this Prometheus?"),
        ((200, {}, b'{"status": "error", "errorType": "timeout", "error": "query timed out"}'), "gave the query up"),
        ((500, {}, b"\xff\xfe"), "answered 500"),
        ((503, {}, b'{"status": "error", "errorType": "timeout", "error": "a\\nb"}'), "(503): a b"),
    ],
    ids=["html", "proxy", "starting", "broken", "list", "empty", "pair", "word", "deep", "late", "bytes", "lines"],
)  # fmt: skip
def test_whatever_else_answers_is_told_in_one_sentence(given: tuple[int, dict[str, str], bytes], says: str) -> None:
    with serving(then(given)) as served:
        connection = opened(served.url)
        assert says in refused(lambda: connection.instant("up"))


def test_html_in_place_of_prometheus_does_not_open() -> None:
    with serving(lambda *_: (404, {"Content-Type": "text/html"}, b"<html>")) as served:
        assert "with HTML" in refused(lambda: opened(served.url))


def test_a_clock_that_is_wrong_is_followed() -> None:
    ahead = datetime.now(UTC) + timedelta(minutes=10)
    status, headers, body = json_of(BUILD)
    with serving(lambda *_: (status, {**headers, "Date": f"{ahead:%a, %d %b %Y %H:%M:%S} GMT"}, body)) as served:
        connection = opened(served.url)
    assert connection.clock is not None and 590 < connection.clock.offset < 610
    assert connection.now() > datetime.now(UTC) + timedelta(minutes=9)


# Hostile labels


def test_hostile_labels_come_whole_and_their_names_are_bounded(asked: PrometheusConnection) -> None:
    frame = frame_of(asked.instant('figure{job="hostile"}', END))
    assert {labels["text"] for labels in frame.attrs["labels"]} == set(HOSTILE.values())
    assert all(len(name) <= 210 for name in frame.columns) and frame.columns.is_unique


@pytest.mark.parametrize("text", HOSTILE.values(), ids=list(HOSTILE))
def test_a_value_in_a_query_finds_itself_and_nothing_else(
    text: str, asked: PrometheusConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runbook.prometheus.queries.read_promql", lambda _: '# Which?\nfigure{text="$text"}')
    query = expression("any", target("http://localhost"), text=text)
    assert [series.labels["text"] for series in asked.instant(query, END).series] == [text]


def test_two_names_that_are_cut_alike_stay_two() -> None:
    long = "x" * 300
    series = tuple(Series({"a": long + end}, [1.0], [1.0]) for end in "12")
    assert frame_of(Result("q", "vector", series)).shape == (1, 2)


# The queries


FOLDER = Path(connecting.__file__).parent.parent / "prometheus" / "promql"
OWN = {"quantile": "0.95", "step": "15s", "most": "10", "method": "GET", "path": "/documents", "label": "status"}


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.promql")))
def test_each_query_says_what_it_answers_and_is_understood(name: str, asked: PrometheusConnection) -> None:
    first = read_promql(name).splitlines()[0]
    assert first.startswith("# ") and "?" in first
    query = expression(name, target("http://localhost"), "5m", **OWN)
    assert "$" not in query.replace('"$', "") and asked.instant(query, END).kind in ("vector", "scalar")


def test_a_window_of_rates_is_a_length_of_time() -> None:
    with pytest.raises(ValueError, match="no window"):
        expression("request_rate", target("http://localhost"), "5m]) or vector(1")


# Alertmanager


def alerting(url: str, **more: Any) -> Target:
    said = {"url": url, **more}
    return Target.model_validate({"name": "tests", "alertmanager": said, "deadlines": {"connect": 1.0}})


def test_alertmanager_tells_its_alerts_and_silences(alertmanager: str) -> None:
    httpx.post(f"{alertmanager}/api/v2/alerts", json=[{"labels": {"alertname": "Test"}}], trust_env=False)
    connection = AlertmanagerConnection.open(alerting(alertmanager), "tests")
    assert connection.identity["version"].startswith("0.") and connection.clock is not None
    wait_for(lambda: [one["labels"]["alertname"] for one in connection.alerts()] == ["Test"])
    assert connection.silences() == []


def test_an_alertmanager_behind_tls_that_wants_a_password_is_read_and_silenced_with_it(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("prometheus-alertmanager")
    monkeypatch.setenv("PASSWORD_OF_TESTS", PASSWORD)
    monkeypatch.setenv("ANOTHER_OF_TESTS", "no")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    (tmp_path / "am.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    server = f"tls_server_config: {{cert_file: {tmp_path}/server.pem, key_file: {tmp_path}/server.pem}}\n"
    (tmp_path / "web.yml").write_text(f"{server}basic_auth_users:\n  runbook: {HASH}\n")
    url = f"https://127.0.0.1:{free_port()}"
    argv = [
        "prometheus-alertmanager", f"--config.file={tmp_path}/am.yml", f"--storage.path={tmp_path}/data",
        f"--web.listen-address={url.removeprefix('https://')}", "--cluster.listen-address=",
        f"--web.config.file={tmp_path}/web.yml",
    ]  # fmt: skip

    def told(named: dict[str, Any]) -> str:
        return refused(lambda: AlertmanagerConnection.open(alerting(url, **named), "tests"))

    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            trusted = {"ca_file": str(tmp_path / "ca.pem")}
            wait_for(lambda: "(401)" in told(trusted))
            assert "username and password, or token" in told(trusted)
            assert "certificate or TLS is not accepted" in told({})
            given = {**trusted, "username": "runbook", "password": "env:PASSWORD_OF_TESTS"}
            assert "(401)" in told({**given, "password": "env:ANOTHER_OF_TESTS"})
            named = alerting(url, **given, matchers={"service": "tests"})
            (step,) = silencing(named, "a test")
            assert "--http.config.file=http.yml" in step.shown
            assert PASSWORD not in repr(step) and "PASSWORD_OF_TESTS" not in repr(step)
            assert silence.do(Profile(named), step.arguments).startswith("silence ")
            (made,) = AlertmanagerConnection.open(named, "tests").silences()
            assert made["comment"] == "a test" and PASSWORD in named.secret_values()
            without = alerting(url, **trusted, matchers={"service": "tests"})
            assert "NOT SILENCED, alerts will fire (Alertmanager answered 401)" in silence.do(
                Profile(without), step.arguments
            )
        finally:
            process.terminate()


def test_a_password_goes_to_no_other_alertmanager_than_the_plans() -> None:
    with serving(lambda *_: None) as served:
        planned = alerting("http://127.0.0.1:9", matchers={"service": "tests"})
        (step,) = silencing(planned, "a test")
        told = silence.do(Profile(alerting(served.url, matchers={"service": "tests"})), step.arguments)
        assert "NOT SILENCED" in told and "another Alertmanager" in told and served.asked == []


@dataclass(frozen=True)
class Profile:
    """What an act gets of a run, where it needs nothing but the profile."""

    target: Target

    def connection(self, kind: type[Any]) -> Any:
        raise AssertionError(f"{kind} is not asked for")

    def clocks(self) -> dict[str, Any]:
        return {}


def test_an_alertmanager_that_is_not_there_or_another_is_told() -> None:
    assert "refuses connections" in refused(
        lambda: AlertmanagerConnection.open(alerting(f"http://127.0.0.1:{free_port()}"), "tests")
    )
    with serving(lambda *_: (200, {}, b"[1]")) as served:
        assert "is this Alertmanager?" in refused(lambda: AlertmanagerConnection.open(alerting(served.url), "tests"))
    with serving(lambda *_: (404, {}, b"404 page not found")) as served:
        assert "answered 404: 404 page" in refused(lambda: AlertmanagerConnection.open(alerting(served.url), "tests"))
    with pytest.raises(Unreachable, match=r"has no \[alertmanager\]"):
        AlertmanagerConnection.open(target("http://localhost"), "tests")
