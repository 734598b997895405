"""`serve`: Alertmanager's webhook starts read-only runs, once and bounded; the same token opens the archive."""

import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import nbformat
import psutil
import pytest
from monitoring import alertmanager
from running import METADATA, OPEN, text_of, wait_for

from runbook.evidence.incidents import all_incidents, close_incident, open_incident
from runbook.evidence.records import Kept, all_kept
from runbook.model import RunFailed, UsageError
from runbook.model.collection import all_notebooks, find_notebook
from runbook.prometheus.rules import SHIPPED
from runbook.redaction import Redactor
from runbook.serving import app as application_of
from runbook.serving import desk as desks
from runbook.serving import server as servers
from runbook.serving.app import BODY_MOST, application
from runbook.serving.desk import NEWS, Answer, Desk
from runbook.serving.leads import Leads
from runbook.serving.ledger import held
from runbook.serving.notification import read_notification
from runbook.serving.server import Listening, listen, tls_of
from runbook.serving.story import Storyteller
from runbook.target import load_target
from runbook_sandbox.authority import Authority

Write = Callable[..., str]
Call = Callable[..., subprocess.CompletedProcess[str]]
# The same in each process of the suite, which are to collect the same tests.
TOKEN = "serve-test-" + hashlib.sha256(b"a token of the tests").hexdigest()[:32]
JSON = {"content-type": "application/json"}
BEARER = {"authorization": f"Bearer {TOKEN}"}
BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=3)
HOST = 'host.where = "here"\n'


# --- what Alertmanager sends


def an_alert(
    name: str = "ApiTrouble", *, status: str = "firing", began: datetime = BEGAN, **labels: str
) -> dict[str, Any]:
    """An alert as Alertmanager tells of it; ``summary`` and ``runbook_url`` are its annotations, all else labels."""
    annotations = {key: labels.pop(key) for key in ("summary", "runbook_url") if key in labels}
    ended = (
        "0001-01-01T00:00:00Z" if status == "firing" else f"{BEGAN + timedelta(minutes=2):%Y-%m-%dT%H:%M:%S.123456789Z}"
    )
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "critical", **labels},
        "annotations": annotations,
        "startsAt": f"{began:%Y-%m-%dT%H:%M:%S}.828Z",
        "endsAt": ended,
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": "1a30ba71cca2921f",
    }


def a_notification(*alerts: dict[str, Any], group: str = "", **other: Any) -> dict[str, Any]:
    alerts = alerts or (an_alert(),)
    firing = any(alert["status"] == "firing" for alert in alerts)
    return {
        "receiver": "runbook", "status": "firing" if firing else "resolved", "alerts": list(alerts), "groupLabels": {},
        "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager.example", "version": "4",
        "groupKey": group or f"{{}}:{alerts[0]['labels']}", "truncatedAlerts": 0,
        **other,
    }  # fmt: skip


def body(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode()


# --- notebooks of these tests


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of quick notebooks: what alerts lead to by name, what all others lead to, and some that last."""
    folder = tmp_path_factory.mktemp("collection") / "notebooks" / "1-tests"
    folder.mkdir(parents=True)
    quick = (OPEN, "run.ask(host.memory)", "run.summary()")
    incident = 'incident: str = ""  # the incident it belongs to\n'
    given = {
        "first-five-minutes": (incident + 'symptom: str = ""  # an alert\n', {}, quick),
        "api-trouble": (incident, {"alerts": ["ApiTrouble", "ApiSlow"], "severity": "P1"}, quick),
        "planner": (
            incident + 'confirm: str = ""  # a token\n',
            {"alerts": ["Planned"], "changes": "plans"},
            (OPEN, "run.ask(host.memory)", "print(f'confirm={confirm!r}')", "run.summary()"),
        ),
        "takes-longer": (incident, {"alerts": ["TakesLonger"]}, ("import time\ntime.sleep(1)", *quick)),
        "for-ever": (incident, {"alerts": ["ForEver"]}, (OPEN, "run.ask(host.memory)", "import time\ntime.sleep(99)")),
        "story": (incident, {"alerts": ["Story"], "about_incident": True}, quick),
    }
    for name, (parameters, told, cells) in given.items():
        first = nbformat.v4.new_code_cell(f'target: str = "sandbox"  # profile\n{parameters}')
        first.metadata["tags"] = ["parameters"]
        notebook = nbformat.v4.new_notebook(cells=[first, *map(nbformat.v4.new_code_cell, cells)])
        notebook.metadata["runbook"] = {**METADATA, **told}
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder.parent


@pytest.fixture
def own_notebooks(notebooks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNBOOK_NOTEBOOKS", str(notebooks))


# --- serving as a person does


@dataclass
class Served:
    """A `serve` that runs: where, into which archive, and what it says."""

    url: str
    process: "subprocess.Popen[str]"
    archive: Path
    log: Path

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers={**BEARER, **headers}, trust_env=False)

    def post(self, told: dict[str, Any] | bytes, **headers: str) -> httpx.Response:
        content = told if isinstance(told, bytes) else body(told)
        return httpx.post(
            f"{self.url}/alerts", content=content, headers={**BEARER, **JSON, **headers}, trust_env=False, timeout=30
        )

    def runs(self) -> list[Kept]:
        """The runs that have ended, the oldest first."""
        kept = [run for run in all_kept(self.archive) if run.record is not None and run.state == "sealed"]
        return [run for run in reversed(kept) if run.record.notebook != "incident"]  # type: ignore[union-attr]

    def names(self) -> list[str]:
        return [run.record.notebook for run in self.runs() if run.record is not None]

    def has_run(self, *names: str) -> None:
        wait_for(lambda: self.names() == list(names))

    def is_idle(self) -> bool:
        told = self.get("/status").json()
        return not (told["waiting"] or told["running"])

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(40)


@contextmanager
def serving(
    folder: Path, *options: str, target: str = "served", profile: str = HOST, **environment: str
) -> Iterator[Served]:
    """Run `serve` while the block lasts, with an archive and a state in a folder."""
    folder.mkdir(exist_ok=True)
    token, log = folder / "token", folder / "log"
    token.touch(0o600)
    token.write_text(f"{TOKEN}\n")
    (folder / "served.toml").write_text(profile)
    given = {
        "RUNBOOK_TARGETS": os.pathsep.join([str(folder), os.environ["RUNBOOK_TARGETS"]]),
        "RUNBOOK_EVIDENCE": str(folder / "archive"),
        "XDG_STATE_HOME": str(folder / "state"),
        "PYTEST_CURRENT_TEST": "",
        **environment,
    }
    argv = [
        sys.executable,
        "-P",
        "-m",
        "runbook",
        "serve",
        "--target",
        target,
        "--token-file",
        str(token),
        "--port",
        "0",
    ]
    with (
        log.open("a") as written,
        subprocess.Popen(
            [*argv, *options], env={**os.environ, **given}, stdout=subprocess.PIPE, stderr=written, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            url = re.search(r"https?://\S+(?=/$)", first)
            assert url, first + log.read_text()
            yield Served(url[0], process, folder / "archive", log)
        finally:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(40)
                process.kill()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, notebooks: Path) -> Iterator[Served]:
    """A `serve` that the tests of this module share; at its end nothing that it left holds the token."""
    folder = tmp_path_factory.mktemp("served")
    with serving(folder, RUNBOOK_NOTEBOOKS=str(notebooks)) as running:
        yield running
        wait_for(running.is_idle)
        assert running.end() == 0
    assert TOKEN not in running.log.read_text() and TOKEN not in text_of(folder / "archive")
    assert TOKEN not in text_of(folder / "state")


# --- which notebook an alert leads to


@pytest.fixture(scope="module")
def shipped() -> Leads:
    return Leads(all_notebooks())


def led(leads: Leads, name: str, url: str = "") -> list[str]:
    alert = read_notification(body(a_notification(an_alert(name, runbook_url=url)))).alerts[0]
    return [lead.notebook.name for lead in leads.of(alert)]


def test_every_alert_that_ships_leads_to_the_notebook_of_its_runbook_url(shipped: Leads) -> None:
    found = re.findall(r"- alert: (\w+)\n.*?runbook_url: (\S+)", SHIPPED.read_text(), re.DOTALL)
    assert len(found) > 15
    for name, url in found:
        notebook = Path(url).stem
        assert led(shipped, name, url) == led(
            shipped, name, f"https://git.example/r/blob/main/{url}?plain=1#what-to-do"
        )
        assert led(shipped, name, url) == [notebook]
        assert notebook in led(shipped, name), "by its name alone"


@pytest.mark.parametrize(
    "url",
    [
        "", "https://wiki.example/runbooks/api-down", "notebooks/3-incident-response/no-such.ipynb", "https://[",
        "notebooks/3-incident-response/post-mortem.ipynb", "../../../../etc/passwd", "file:///tmp/evil.ipynb",
        "\x00.ipynb",
    ],
)  # fmt: skip
def test_an_address_that_leads_to_no_notebook_leaves_the_name_and_then_the_first_five_minutes(
    shipped: Leads, url: str
) -> None:
    assert led(shipped, "HighErrorRate", url) == ["high-error-rate"]
    assert led(shipped, "NobodyKnowsIt", url) == led(shipped, "", url) == ["first-five-minutes"]
    assert led(shipped, "the queue grows", url) == ["first-five-minutes"], "an alert is no search"


def test_a_collection_without_the_first_five_minutes_is_refused() -> None:
    with pytest.raises(UsageError, match="has no notebook first-five-minutes"):
        Leads([find_notebook("api-down")])


# --- what is taken, and how often


@dataclass
class Taking:
    """A desk that takes, and does nothing more."""

    desk: Desk
    story: Storyteller
    told: list[str]

    def take(self, *alerts: dict[str, Any], group: str = "the group") -> Answer:
        return self.desk.take(read_notification(body(a_notification(*alerts, group=group))))

    def runs(self, *alerts: dict[str, Any], group: str = "the group") -> list[str]:
        return list(self.take(*alerts, group=group).runs)


@pytest.fixture
def taking(
    archive: Path, profile: Write, own_notebooks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Gives a desk that does not work: what it takes stays where it was put. Called again, it is as after a restart."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    target = load_target(profile(HOST + "[serve]\nruns_per_hour = 3\n"))
    open_ones: list[Any] = []

    def make() -> Taking:
        for one in open_ones:
            one.__exit__(None, None, None)
        ledger = held(target.name, archive)
        open_ones[:] = [ledger]
        told: list[str] = []
        story = Storyteller(target, archive, "alertmanager (test)", TOKEN)
        leads = Leads(all_notebooks())
        desk = Desk(target, leads=leads, ledger=ledger.__enter__(), storyteller=story, template=None, tell=told.append)
        return Taking(desk, story, told)

    yield make
    for one in open_ones:
        one.__exit__(None, None, None)


def test_what_is_told_again_starts_nothing_also_after_a_restart(taking: Callable[[], Taking]) -> None:
    desk = taking()
    assert desk.runs(an_alert()) == ["api-trouble"]
    assert [desk.take(an_alert()).outcome for _ in range(3)] == ["nothing new"] * 3
    desk = taking()
    assert desk.take(an_alert()).outcome == "nothing new"
    assert len(desk.desk._ledger.waiting) == 1, "it waits still"
    assert desk.take(an_alert(), group="another group").outcome == "taken"


def test_what_joins_the_group_later_starts_what_was_not_run_for_it_yet(taking: Callable[[], Taking]) -> None:
    desk = taking()
    first, second = an_alert(), an_alert("NobodyKnowsIt", began=BEGAN + timedelta(minutes=1))
    assert desk.runs(first) == ["api-trouble"]
    assert desk.runs(first, second) == ["first-five-minutes"]
    slow = an_alert("ApiSlow", began=BEGAN + timedelta(minutes=2))
    answer = desk.take(first, second, slow)
    assert (answer.outcome, answer.runs) == ("taken", ()), "it is noted; its notebook has run"


def test_what_fires_anew_after_all_had_ended_is_run_anew(taking: Callable[[], Taking]) -> None:
    desk = taking()
    assert desk.runs(an_alert()) == ["api-trouble"]
    ended = an_alert(status="resolved")
    assert (desk.take(ended).outcome, desk.take(ended).outcome) == ("taken", "nothing new")
    assert desk.take(an_alert()).outcome == "nothing new", "an old notification that came late"
    assert desk.runs(an_alert(began=BEGAN + timedelta(minutes=2))) == ["api-trouble"]


def test_one_of_two_alerts_that_ends_does_not_make_the_other_new(taking: Callable[[], Taking]) -> None:
    desk = taking()
    first, second = an_alert(), an_alert("ApiSlow", began=BEGAN + timedelta(minutes=1))
    assert desk.runs(first, second) == ["api-trouble"]
    assert desk.take({**first, **an_alert(status="resolved")}, second).outcome == "taken"
    assert desk.take(second).outcome == "nothing new"


def test_what_always_fires_is_no_trouble(taking: Callable[[], Taking]) -> None:
    assert taking().take(an_alert("DeadMansSwitch", severity="none")).outcome == "nothing new"


def test_more_runs_than_the_profile_allows_in_an_hour_are_not_taken_and_not_forgotten(
    taking: Callable[[], Taking],
) -> None:
    desk = taking()
    for number in range(3):
        assert desk.runs(an_alert(job=str(number)), group=str(number)) == ["api-trouble"]
    refused = desk.take(an_alert(job="3"), group="3")
    assert refused.outcome == "not now" and "runs_per_hour" in refused.why
    assert desk.take(an_alert(status="resolved", job="1"), group="1").outcome == "taken", "it starts nothing"
    assert desk.take(an_alert(job="3"), group="3").outcome == "not now"
    assert [line for line in desk.told if "not taken" in line] == [desk.told[3]], "it is said once a minute"


def test_a_ledger_that_is_damaged_is_put_aside_and_alerts_are_taken(
    taking: Callable[[], Taking], tmp_path: Path
) -> None:
    assert taking().runs(an_alert()) == ["api-trouble"]
    (path,) = (tmp_path / "state" / "runbook" / "serving").glob("*.json")
    path.write_bytes(path.read_bytes()[:40])
    desk = taking()
    assert desk.runs(an_alert()) == ["api-trouble"]
    assert path.with_suffix(".damaged").exists()


def test_what_cannot_be_kept_is_not_taken(taking: Callable[[], Taking], monkeypatch: pytest.MonkeyPatch) -> None:
    desk = taking()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("runbook.serving.ledger.write_whole", full)
        refused = desk.take(an_alert())
    assert refused.outcome == "not now" and "No space left" in refused.why
    assert desk.runs(an_alert()) == ["api-trouble"]


def test_what_waits_since_long_ago_is_not_run_any_more_and_that_is_said(
    taking: Callable[[], Taking], monkeypatch: pytest.MonkeyPatch
) -> None:
    taking().take(an_alert())
    monkeypatch.setattr(desks, "RESUMED_SECONDS", 0.0)
    time.sleep(1.1)  # it is told to the second when it was taken
    desk = taking()
    desk.desk.start()
    wait_for(lambda: desk.desk.state()["last"])
    assert desk.desk.stop("the test ends", 5) == []
    (incident,) = all_incidents()
    assert "Not run, since nothing served alerts at the time: api-trouble" in incident.notes[-1].entry.text
    assert any("too old now" in line for line in desk.told)


@pytest.mark.parametrize(
    ("name", "severity", "becomes"),
    [("ApiTrouble", "critical", "P1"), ("ApiTrouble", "warning", "P2"), ("ApiTrouble", "info", "P3"),
     ("ApiTrouble", "", "P2"), ("NobodyKnowsIt", "critical", "P1"), ("Planned", "CRITICAL", "P1")],
)  # fmt: skip
def test_a_critical_alert_is_as_severe_as_the_procedure_it_leads_to(
    taking: Callable[[], Taking], name: str, severity: str, becomes: str
) -> None:
    desk = taking()
    desk.take(an_alert(name, severity=severity))
    assert desk.desk._ledger.waiting[0].severity == becomes


def test_severity_and_title_come_from_the_alerts_and_what_is_long_is_cut(taking: Callable[[], Taking]) -> None:
    desk = taking()
    long = an_alert("ApiTrouble", summary="word " * 2_000, **{f"label_{n}": "x" * 1_000 for n in range(30)})
    desk.take(long, *[an_alert("ApiSlow", job=str(n)) for n in range(30)])
    (taken,) = desk.desk._ledger.waiting
    assert taken.severity == "P1" and len(taken.title) <= 200 and taken.title.endswith("(and 30 more)")
    assert len(taken.note) < 10_000 and "and 21 more" in taken.note and "… 18 more" in taken.note


# --- what comes of an alert


def test_an_alert_opens_an_incident_and_its_run_belongs_to_it(served: Served) -> None:
    before = len(served.names())
    hostile = '<script>alert(1)</script><img src=x onerror="alert(2)">'
    alert = an_alert(summary=hostile, job=hostile, bearer=TOKEN)
    answer = served.post(a_notification(alert))
    assert (answer.status_code, answer.json()) == (202, {"outcome": "taken", "runs": ["api-trouble"]})
    assert served.post(a_notification(alert)).json() == {"outcome": "nothing new", "runs": []}
    wait_for(lambda: len(served.names()) > before)
    (incident,) = all_incidents(served.archive)
    assert incident.is_open and incident.severity == "P1" and incident.targets == ["served"]
    assert incident.began == f"{BEGAN:%Y-%m-%dT%H:%M:%SZ}", "from the minute it broke"
    assert incident.title.startswith("ApiTrouble: <script>")
    note = incident.notes[1].entry.text
    assert "leads to api-trouble (it names the alert)" in note and "[redacted" in note
    wait_for(served.is_idle)
    assert served.names()[before:] == ["api-trouble"]
    record = served.runs()[before].record
    assert (
        record is not None
        and record.incident == incident.id
        and record.target == "served"
        and record.status != "FAILED"
    )
    page = served.get(f"/incidents/{incident.id}.html")
    assert page.status_code == 200 and "api-trouble" in page.text and "<script>alert" not in page.text
    assert "&lt;script&gt;alert" in page.text and TOKEN not in page.text


def test_what_ends_is_noted_and_not_run(served: Served) -> None:
    alert = an_alert("ApiSlow", job="ends")
    served.post(a_notification(alert, group="ends"))
    wait_for(served.is_idle)
    before = served.names()
    answer = served.post(a_notification(an_alert("ApiSlow", status="resolved", job="ends"), group="ends"))
    assert (answer.status_code, answer.json()) == (200, {"outcome": "taken", "runs": []})
    wait_for(served.is_idle)
    (incident,) = all_incidents(served.archive)
    assert "Alert ApiSlow was resolved at" in incident.notes[-1].entry.text and incident.is_open
    assert served.names() == before


def test_an_alert_that_nobody_knows_starts_the_first_five_minutes_which_are_told_its_name(served: Served) -> None:
    before = len(served.names())
    assert served.post(a_notification(an_alert("NobodyKnowsIt"))).json()["runs"] == ["first-five-minutes"]
    wait_for(lambda: len(served.names()) > before)
    assert served.names()[-1] == "first-five-minutes"
    assert 'symptom = "NobodyKnowsIt"' in (served.runs()[-1].place.folder / "notebook.ipynb").read_text().replace(
        '\\"', '"'
    )


def test_a_name_that_would_be_code_is_not_handed_on(served: Served) -> None:
    before = len(served.names())
    served.post(a_notification(an_alert('x"; import os; os.abort() #\n\x1b[2J')))
    wait_for(lambda: len(served.names()) > before)
    record = served.runs()[-1].record
    assert record is not None and record.notebook == "first-five-minutes" and record.status != "FAILED"
    assert "\x1b" not in served.log.read_text()


def test_no_run_is_ever_given_a_token_that_would_change_something(served: Served) -> None:
    before = len(served.names())
    served.post(a_notification(an_alert("Planned", confirm="pln_aaaaaaaaaa_bbbb"), confirm="pln_aaaaaaaaaa_bbbb"))
    wait_for(lambda: len(served.names()) > before)
    text = (served.runs()[-1].place.folder / "notebook.ipynb").read_text()
    assert served.names()[-1] == "planner" and "confirm=''" in text and "pln_aaaaaaaaaa" not in text


def test_an_incident_that_somebody_has_opened_is_joined_and_becomes_as_severe_as_the_alert(
    taking: Callable[[], Taking], archive: Path
) -> None:
    told: dict[str, Any] = {"author": "jo", "redactor": Redactor([]), "archive": archive}
    open_incident("of another target", "P0", targets=["another"], **told)
    by_hand = open_incident("It is slow", "P3", **told)
    desk = taking()
    desk.take(an_alert())
    desk.take(an_alert(status="resolved"))
    fires, ended = desk.desk._ledger.waiting
    joined = desk.story.write(fires, "")
    assert joined is not None and (joined.id, joined.severity, joined.owner) == (by_hand.id, "P1", "jo")
    assert desk.story.write(ended, "") is not None
    close_incident(joined, "over", **told)
    assert desk.story.write(ended, by_hand.id) is None, "what has ended opens none"
    anew = desk.story.write(fires, by_hand.id)
    assert anew is not None and anew.title == "ApiTrouble on other" and anew.targets == ["other"]


# --- a real Alertmanager


def receiver_of_the_readme() -> str:
    """What stands in the README for Alertmanager's configuration."""
    blocks = (Path(__file__).parent.parent / "README.md").read_text().split("```\n")
    return next(block for block in blocks if block.startswith("route:\n") and "webhook_configs" in block)


def test_a_real_alertmanager_starts_the_run_which_is_archived_and_joined_to_an_incident(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sandbox is the reference, healthy; the notebook is the shipped one that the shipped rule leads to."""
    if not shutil.which("prometheus-alertmanager"):
        pytest.skip("Alertmanager is not installed")
    with serving(tmp_path / "served", target="sandbox") as served:
        config = receiver_of_the_readme().replace("http://127.0.0.1:8930", served.url)
        config = config.replace("/etc/alertmanager/serve.token", str(tmp_path / "served" / "token"))
        config = config.replace("group_wait: 0s", "group_wait: 0s, group_interval: 1s, repeat_interval: 1s")
        with alertmanager(tmp_path / "am", config) as url:
            (_, runbook_url) = re.findall(
                r"- alert: (HighErrorRate)\n.*?runbook_url: (\S+)", SHIPPED.read_text(), re.DOTALL
            )[0]
            alert = {
                "labels": {"alertname": "HighErrorRate", "severity": "critical"},
                "annotations": {"summary": "30% of the requests fail with 5xx", "runbook_url": runbook_url},
                "startsAt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            }
            began = time.monotonic()
            httpx.post(f"{url}/api/v2/alerts", json=[alert], trust_env=False).raise_for_status()
            wait_for(served.names, 60)
            seconds = time.monotonic() - began
            with capsys.disabled():
                print(f"\nfrom the alert to the sealed run of high-error-rate: {seconds:.1f} s")
            record = served.runs()[0].record
            (incident,) = all_incidents(served.archive)
            assert record is not None and (record.notebook, record.target) == ("high-error-rate", "sandbox")
            assert record.incident == incident.id and record.status == "OK" and incident.severity == "P1"
            # It tells again what it has told.
            wait_for(lambda: served.get("/status").json()["notifications"]["nothing new"])
            ended = {**alert, "endsAt": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
            httpx.post(f"{url}/api/v2/alerts", json=[ended], trust_env=False).raise_for_status()
            wait_for(lambda: "was resolved at" in all_incidents(served.archive)[0].notes[-1].entry.text)
            assert served.names() == ["high-error-rate"]


# --- ending


def test_told_to_end_it_lets_a_run_finish_or_ends_it_and_what_is_left_is_said_and_run_at_the_next_start(
    tmp_path: Path, notebooks: Path
) -> None:
    given: dict[str, str] = {"profile": HOST + "[serve]\nruns_at_once = 1\n", "RUNBOOK_NOTEBOOKS": str(notebooks)}
    with serving(tmp_path, **given) as served:
        served.post(a_notification(an_alert("TakesLonger")))
        wait_for(lambda: served.get("/status").json()["running"])
        served.post(a_notification(an_alert("ApiTrouble")))
        wait_for(lambda: served.get("/status").json()["to_run"] == ["api-trouble"])
        assert served.end() == 0
        assert served.names() == ["takes-longer"], "it was let finish"
        assert "taken and not done, kept for the next start: api-trouble" in served.log.read_text()
        (incident,) = all_incidents(served.archive)
        assert "Not run yet, since `serve` was told to end: api-trouble" in incident.notes[-1].entry.text
    with serving(tmp_path, "--grace", "0", **given) as served:
        served.has_run("takes-longer", "api-trouble")
        record = served.runs()[1].record
        assert record is not None and record.incident == incident.id
        assert served.post(a_notification(an_alert("ApiTrouble"))).json()["outcome"] == "nothing new"
        served.post(a_notification(an_alert("ForEver")))
        wait_for(lambda: list((served.archive / "runs").glob("*/*_for-ever_*/run.json")))
        assert served.end() == 0
        record = served.runs()[2].record
        assert record is not None and "interrupted by SIGTERM" in (record.error or ""), "with its evidence"
        assert "kept for the next start: for-ever" in served.log.read_text()


def test_a_run_that_was_not_begun_for_it_was_told_to_end_is_not_taken_for_done(
    taking: Callable[[], Taking], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = taking().desk
    monkeypatch.setattr(desk._stop, "reason", "interrupted by SIGTERM")
    desk.start()
    desk.take(read_notification(body(a_notification())))
    wait_for(lambda: not (desk.state()["to_run"] or desk.state()["running"]) and desk.state()["last"])
    assert desk.stop("interrupted by SIGTERM", 5) == ["api-trouble"]


def test_what_cannot_be_noted_is_said_and_run_all_the_same(
    taking: Callable[[], Taking], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = taking()
    begun: list[tuple[str, str]] = []

    def full(*_: Any, **__: Any) -> None:
        raise RunFailed("the record cannot be written: No space left on device")

    monkeypatch.setattr("runbook.serving.story.open_incident", full)
    monkeypatch.setattr(taken.desk, "_run", lambda name, incident, _: begun.append((name, incident)))
    taken.desk.start()
    taken.take(an_alert(summary="it is down"))
    wait_for(lambda: begun)
    assert taken.desk.stop("the test ends", 5) == [] and begun == [("api-trouble", "")]
    (said,) = [line for line in taken.told if "not noted" in line]
    assert "No space left on device" in said and "it is down" in said


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_mistake_of_its_own_ends_it_instead_of_leaving_it_deaf(
    taking: Callable[[], Taking], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = taking()

    def mistake(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(taken.desk, "_run", mistake)
    taken.desk.start()
    assert taken.desk.is_alive
    taken.take(an_alert())
    wait_for(lambda: not taken.desk.is_alive)
    assert taken.desk.stop("the test ends", 5) == ["api-trouble"], "it is run at the next start"


def test_what_was_running_when_it_was_killed_is_run_again(
    taking: Callable[[], Taking], monkeypatch: pytest.MonkeyPatch
) -> None:
    taking().take(an_alert())
    begun: list[str] = []
    desk = taking().desk
    monkeypatch.setattr(desk, "_run", lambda name, *_: begun.append(name))
    desk.start()
    wait_for(lambda: begun)
    assert desk.stop("the test ends", 5) == [] and begun == ["api-trouble"]
    assert taking().desk._ledger.waiting == []


# --- who is let in, and what is let in


@dataclass
class Near:
    """The application in this process, with a desk that does no work."""

    port: int
    taking: Taking
    archive: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def asks(self, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        """Ask for a path as it stands, which a client's library would tidy up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in {**BEARER, **headers}.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse()

    def post(self, content: bytes, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.url}/alerts", content=content, headers={**BEARER, **JSON, **headers}, trust_env=False)


@pytest.fixture
def near(taking: Callable[[], Taking], archive: Path) -> Iterator[Near]:
    archive.mkdir(mode=0o700)
    desk, told = taking(), []
    with listen("127.0.0.1", 0) as listening:
        app = application(desk.desk, archive, TOKEN, told.append)
        serves = Listening(app, listening, None, told.append)
        serves.start()
        yield Near(listening.getsockname()[1], replace(desk, told=told), archive)
        serves.stop()


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize(
    "given",
    [
        None, "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Bearer {TOKEN.upper()}",
        f"Token {TOKEN}", TOKEN, f"Bearer {TOKEN} {TOKEN}", basic("wrong"), basic(""), "Basic ???", "Bearer ÿ",
        "Basic ÿ",
    ],
)  # fmt: skip
def test_whoever_has_not_the_token_gets_and_starts_nothing(near: Near, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given}
    for method, path in (("GET", "/"), ("POST", "/alerts"), ("GET", "/status"), ("GET", "/no-such"), ("PUT", "/")):
        connection = http.client.HTTPConnection("127.0.0.1", near.port, timeout=20)
        connection.request(method, path, body(a_notification()) if method == "POST" else None, {**JSON, **headers})
        answer = connection.getresponse()
        assert answer.status == 401 and answer.headers["www-authenticate"].startswith("Basic")
        assert TOKEN.encode() not in answer.read() and answer.headers["connection"] == "close"
    assert near.taking.desk.state()["notifications"]["taken"] == 0
    assert len(near.taking.told) == 1 and TOKEN not in near.taking.told[0], "it is said once a minute"


def test_the_token_in_the_address_or_given_twice_does_not_let_in(near: Near) -> None:
    assert httpx.get(f"{near.url}/?token={TOKEN}", trust_env=False).status_code == 401
    twice = [("authorization", f"Bearer {TOKEN}"), ("authorization", "Bearer other")]
    assert httpx.get(near.url, headers=twice, trust_env=False).status_code == 401


def test_a_browser_gives_the_token_as_a_password_and_can_start_nothing_with_that(near: Near) -> None:
    password = {"authorization": basic(TOKEN)}
    assert httpx.get(f"{near.url}/status", headers=password, trust_env=False).status_code == 200
    content = body(a_notification())
    refused = httpx.post(f"{near.url}/alerts", headers={**JSON, **password}, content=content, trust_env=False)
    assert refused.status_code == 401, "another site's page could have it sent"


def test_tokens_are_compared_in_a_time_that_tells_nothing(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr(application_of.hmac, "compare_digest", compare)
    for token in ("", "x", TOKEN, TOKEN * 50):
        near.asks("/status", authorization=f"Bearer {token}")
    assert compared == [(32, 32)] * 4, "digests of one length, whatever was given"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "3"}, "version"), ({"version": 4}, "version"), ({"groupKey": ""}, "groupKey"),
        ({"groupKey": None}, "groupKey"), ({"alerts": []}, "alerts"), ({"alerts": {}}, "alerts"),
        ({"alerts": [1]}, "alerts"), ({"status": "pending"}, "status"), ({"truncatedAlerts": -1}, "truncatedAlerts"),
    ],
)  # fmt: skip
def test_what_is_no_notification_of_version_4_is_refused_with_the_place(
    near: Near, change: dict[str, Any], says: str
) -> None:
    answer = near.post(body(a_notification(**change)))
    assert answer.status_code == 400 and says in answer.json()["error"]


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"alertname": 1}}, {"labels": {"a": {"b": "c"}}}, {"labels": None}, {"startsAt": "yesterday"},
        {"startsAt": "2026-11-29T12:00:00"}, {"startsAt": 5}, {"status": "none"}, {"annotations": []},
        {"labels": {"alertname": "x" * 30_000}}, {"endsAt": None},
    ],
)  # fmt: skip
def test_an_alert_that_is_none_is_refused(near: Near, change: dict[str, Any]) -> None:
    answer = near.post(body(a_notification({**an_alert(), **change})))
    assert answer.status_code == 400 and "alerts" in answer.json()["error"]


@pytest.mark.parametrize("missing", ["version", "groupKey", "status", "alerts"])
def test_a_notification_without_what_it_needs_is_refused(near: Near, missing: str) -> None:
    told = a_notification()
    del told[missing]
    assert missing in near.post(body(told)).json()["error"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"4",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"version=4",
        b"\x00" * 99,
    ],
)
def test_what_is_no_json_or_no_object_is_refused(near: Near, content: bytes) -> None:
    answer = near.post(content)
    assert answer.status_code == 400 and answer.json()["error"].startswith("this is no ")
    assert near.post(body(a_notification())).status_code == 202, "and it goes on"


def test_half_of_a_sign_in_a_label_harms_nothing(near: Near) -> None:
    answer = near.post(body(a_notification(an_alert(job="MARK"))).replace(b"MARK", b"\\ud800"))
    assert answer.status_code in (202, 400)


def test_what_alertmanager_may_add_in_time_is_passed_over(near: Near) -> None:
    told = a_notification({**an_alert(), "added": {"in": "time"}}, notification_reason="new")
    assert near.post(body(told)).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"}, {"content-type": "application/x-www-form-urlencoded"}, {"content-type": ""},
        {"content-encoding": "gzip"},
    ],
)  # fmt: skip
def test_what_a_page_of_another_site_could_send_is_refused(near: Near, headers: dict[str, str]) -> None:
    assert near.post(body(a_notification()), **headers).status_code == 415


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "OPTIONS", "TRACE"])
def test_the_archive_is_only_read(near: Near, method: str) -> None:
    answer = near.asks("/index.html", method)
    assert answer.status == 405 and answer.headers["content-security-policy"]
    assert near.asks("/alerts").status == 404


def test_a_body_of_a_hundred_megabytes_is_not_read(served: Served) -> None:
    size, port = 100_000_000, int(served.url.rpartition(":")[2])
    process = psutil.Process(served.process.pid)
    before = process.memory_info().rss
    head = f"POST /alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        wire.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        assert wire.recv(100).startswith(b"HTTP/1.1 413 ")
    for how, block in (
        ("Transfer-Encoding: chunked", b"10000\r\n" + b" " * 65536 + b"\r\n"),
        (f"Content-Length: {size}", b" " * 65536),
    ):
        sent, answered = 0, b""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            wire.sendall(f"{head}{how}\r\n\r\n".encode())
            with suppress(OSError):
                while sent < size:
                    wire.sendall(block)
                    sent += 65536
            with suppress(OSError):
                answered = wire.recv(100)
        # It hangs up: a client that goes on sending may lose the answer for that.
        assert sent < 20 * BODY_MOST and answered[:13] in (b"HTTP/1.1 413 ", b"")
    assert process.memory_info().rss - before < 50_000_000
    assert served.get("/status").status_code == 200


def test_whoever_sends_or_reads_slowly_is_left_and_nobody_else_waits(
    near: Near, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "RECEIVE_SECONDS", 1.0)
    monkeypatch.setattr(servers, "IDLE_SECONDS", 0)
    started = (
        b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        f"POST /alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
        "Content-Length: 500\r\n\r\n{".encode(),
        f"GET /status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 500\r\n\r\n{{".encode(),
    )  # fmt: skip
    wires = [socket.create_connection(("127.0.0.1", near.port), timeout=20) for _ in range(40)]
    for number, wire in enumerate(wires):
        wire.sendall(started[number % len(started)])
    assert near.asks("/status").status == 200

    def left(wire: socket.socket) -> bool:
        """Send one byte more, which must not give it more time; tell whether the other side has gone."""
        with suppress(BlockingIOError):
            try:
                wire.send(b"a")
                return wire.recv(10_000, socket.MSG_DONTWAIT) == b""
            except (ConnectionError, TimeoutError):
                return True
        return False

    for wire in wires:
        wait_for(lambda wire=wire: left(wire))  # type: ignore[misc]
        wire.close()


def test_more_connections_than_are_held_are_not_taken(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "MOST_CONNECTIONS", 10)
    wires = [socket.create_connection(("127.0.0.1", near.port), timeout=20) for _ in range(30)]
    gone = 0
    for wire in wires[10:]:
        with suppress(ConnectionError):
            gone += wire.recv(1) == b""
            continue
        gone += 1
    assert gone == 20
    for wire in wires:
        wire.close()
    wait_for(lambda: _status(near) == 200)


def test_no_more_is_answered_at_a_time_than_can_be(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application_of, "MOST_REQUESTS", 0)
    answer = near.post(body(a_notification()))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert near.asks("/status", authorization="Bearer no").status == 401, "that costs nothing"


def test_an_answer_that_takes_too_long_is_given_up(near: Near, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application_of, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(near.taking.desk, "state", lambda: time.sleep(1))
    assert near.asks("/status").status == 503
    monkeypatch.undo()
    assert near.asks("/status").status == 200


def _status(near: Near) -> int:
    with suppress(OSError, http.client.HTTPException):
        return near.asks("/status").status
    return 0


@pytest.mark.parametrize(
    "line",
    [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\x00" * 50_000, b"A" * 50_000],
)
def test_what_is_no_http_is_hung_up_on(near: Near, line: bytes) -> None:
    with socket.create_connection(("127.0.0.1", near.port), timeout=20) as wire, suppress(ConnectionError):
        wire.sendall(line + b"\r\n\r\n")
        assert wire.recv(12) in (b"HTTP/1.1 400", b"")
    assert near.asks("/status").status == 200


def test_a_flood_is_bounded_and_nobody_is_refused_without_being_told(tmp_path: Path, notebooks: Path) -> None:
    with serving(tmp_path, RUNBOOK_NOTEBOOKS=str(notebooks)) as served:
        url, headers = f"{served.url}/alerts", {**BEARER, **JSON}
        process = psutil.Process(served.process.pid)
        before = process.memory_info().rss

        def flood(numbers: range) -> list[tuple[int, str]]:
            with httpx.Client(trust_env=False, timeout=60) as client:
                told = (a_notification(an_alert(job=str(n)), group=str(n)) for n in numbers)
                return [
                    (a.status_code, a.text)
                    for a in (client.post(url, content=body(one), headers=headers) for one in told)
                ]

        with ThreadPoolExecutor(20) as pool:
            answers = [one for many in pool.map(flood, (range(n, 1000, 20) for n in range(20))) for one in many]
        statuses = [status for status, _ in answers]
        assert len(statuses) == 1000 and set(statuses) == {202, 503}
        assert NEWS <= statuses.count(202) <= NEWS + 5
        assert all("not now" in text for status, text in answers if status == 503)
        wait_for(served.is_idle, 60)
        assert 1 <= len(served.names()) <= NEWS + 5 and len(all_incidents(served.archive)) == 1
        assert {run.record.incident for run in served.runs() if run.record} == {all_incidents(served.archive)[0].id}
        assert served.get("/status").json()["notifications"]["not now"] == statuses.count(503)
        assert process.memory_info().rss - before < 150_000_000
        assert len(served.log.read_text().splitlines()) < 150


# --- what is shown of the archive


@pytest.fixture
def filled(near: Near) -> Path:
    """An archive with a run's folder; beside it lies what is nobody's business."""
    run = near.archive / "runs" / "2026-11" / "run_20261129T120000Z_api-down_abcdef"
    (run / "data").mkdir(parents=True)
    for name in ("report.html", "run.json", "notebook.ipynb", "data/001-host.memory.parquet"):
        (run / name).write_text(f"this is {name}")
    (near.archive / "index.html").write_text("this is index.html")
    (near.archive / ".index.lock").write_text("secret")
    (near.archive.parent / "outside.html").write_text("secret")
    return run


def test_pages_records_and_data_are_shown_with_headers_that_let_a_browser_do_nothing_else(
    near: Near, filled: Path
) -> None:
    at = "/" + str(filled.relative_to(near.archive))
    kinds = {
        "report.html": "text/html; charset=utf-8",
        "run.json": "application/json",
        "notebook.ipynb": "application/x-ipynb+json",
    }
    for name, kind in kinds.items():
        answer = near.asks(f"{at}/{name}")
        assert (answer.status, answer.read().decode(), answer.headers["content-type"]) == (200, f"this is {name}", kind)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        told = {
            name: answer.headers[name]
            for name in ("x-content-type-options", "x-frame-options", "cache-control", "referrer-policy")
        }
        assert list(told.values()) == ["nosniff", "DENY", "no-store", "no-referrer"] and "server" not in answer.headers
    assert near.asks("/").read() == near.asks("/index.html").read() == b"this is index.html"
    assert "script-src 'sha256-" in near.asks("/").headers["content-security-policy"]
    assert "script-src 'none'" in near.asks(f"{at}/report.html").headers["content-security-policy"]
    data = near.asks(f"{at}/data/001-host.memory.parquet")
    assert data.status == 200 and data.headers["content-disposition"].startswith("attachment")
    head = near.asks(f"{at}/report.html", "HEAD")
    assert (head.status, head.headers["content-length"], head.read()) == (200, "19", b"")


@pytest.mark.parametrize(
    "path",
    [
        "/../outside.html", "/..%2foutside.html", "/%2e%2e/outside.html", "/%2e%2e%2foutside.html",
        "/..%252foutside.html", "//etc/passwd",
        "/runs/../../outside.html", "//outside.html", "/./index.html", "/index.html/", "/index.html%00.html", "/%00",
        "/.index.lock", "/runs", "/runs/", "/runs/2026-11/", "/..\\outside.html", "/..%5coutside.html", "/incidents/",
        "/runs/2026-11/run_20261129T120000Z_api-down_abcdef/../../../index.html", "/index.html;x", "/INDEX.HTML",
        "/runs/2026-11/run_20261129T120000Z_api-down_abcdef/.report.html.1-1.new", "/etc/passwd",
        "/runs/2026-11/run_20261129T120000Z_api-down_abcdef/data/..", "/index.html%0a",
        "/runs/%32026-11/%2e%2e/../index.html", "/%2fetc%2fpasswd",
        "/runs/2026-11/run_20261129T120000Z_api-down_abcdef/data/%2e%2e%2frun.json", "/" + "a/" * 5_000,
    ],
)  # fmt: skip
def test_nothing_but_what_is_to_be_shown_is_reached_by_any_path(near: Near, filled: Path, path: str) -> None:
    answer = near.asks(path)
    assert answer.status == 404 and b"secret" not in answer.read()


def test_no_link_out_of_the_archive_is_followed_and_no_pipe_waited_for(near: Near, filled: Path) -> None:
    outside = near.archive.parent / "elsewhere"
    shutil.copytree(filled, outside)
    (outside / "report.html").write_text("secret")
    at = "/" + str(filled.relative_to(near.archive))
    (filled / "report.html").unlink()
    (filled / "report.html").symlink_to(outside / "report.html")
    assert near.asks(f"{at}/report.html").status == 404
    other = filled.with_name("run_20261129T120000Z_api-down_abcdeg")
    other.symlink_to(outside)
    assert near.asks(f"/runs/2026-11/{other.name}/run.json").status == 404
    (near.archive / "runs" / "2026-12").symlink_to(filled.parent)
    assert near.asks(f"/runs/2026-12/{filled.name}/run.json").status == 404
    (filled / "run.json").unlink()
    os.mkfifo(filled / "run.json")
    assert near.asks(f"{at}/run.json").status == 404
    (filled / "notebook.ipynb").unlink()
    (filled / "notebook.ipynb").mkdir()
    assert near.asks(f"{at}/notebook.ipynb").status == 404


def test_a_file_that_is_taken_away_or_cut_while_it_is_sent_ends_the_connection_and_no_more(
    near: Near, filled: Path
) -> None:
    (filled / "report.html").write_bytes(b"x" * 20_000_000)
    at = "/" + str((filled / "report.html").relative_to(near.archive))
    answer = near.asks(at)
    answer.read(10)
    os.truncate(filled / "report.html", 100)
    with suppress(http.client.IncompleteRead, ConnectionError):
        answer.read()
    assert near.asks("/status").status == 200


# --- how it is started


def test_where_others_could_listen_in_it_does_not_listen(runbook: Call, profile: Write, tmp_path: Path) -> None:
    (tmp_path / "token").touch(0o600)
    (tmp_path / "token").write_text(TOKEN)
    plain = profile(HOST)
    wide = profile(HOST + '[serve]\naddress = "0.0.0.0"\n', "wide")
    asked = ("--token-file", str(tmp_path / "token"), "--port", "0")
    for options in (
        ("--target", plain, "--address", "0.0.0.0"), ("--target", plain, "--address", "::"), ("--target", wide),
        ("--target", plain, "--address", "10.0.0.1"), ("--target", plain, "--address", "runbook.example"),
    ):  # fmt: skip
        ended = runbook("serve", *asked, *options)
        assert ended.returncode == 64 and "is no loopback address" in ended.stderr and "--certificate" in ended.stderr
    ended = runbook("serve", *asked, "--target", plain, "--certificate", "x.pem")
    assert ended.returncode == 64 and "go together" in ended.stderr
    (tmp_path / "x.pem").write_text("no certificate")
    ended = runbook(
        "serve", *asked, "--target", plain, "--certificate", str(tmp_path / "x.pem"), "--key", str(tmp_path / "no.key")
    )
    assert ended.returncode == 64 and "cannot be used" in ended.stderr


def test_without_its_extra_it_says_how_to_get_it_and_all_else_goes_on(profile: Write, tmp_path: Path) -> None:
    (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError('not installed', name='starlette')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    argv = [sys.executable, "-P", "-m", "runbook"]
    told = {"capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": path}}
    ended = subprocess.run([*argv, "serve", "--target", profile(HOST)], **told)
    assert ended.returncode == 64 and "pip install './lib[serve]'" in ended.stderr
    assert subprocess.run([*argv, "list", "ApiDown"], **told).returncode == 0


def test_a_port_that_is_taken_and_a_second_serve_are_told(
    runbook: Call, served: Served, profile: Write, tmp_path: Path
) -> None:
    folder = served.log.parent
    port = served.url.rpartition(":")[2]
    asked = ("serve", "--token-file", str(folder / "token"))
    ended = runbook(*asked, "--target", profile(HOST), "--port", port)
    assert ended.returncode == 70 and f"127.0.0.1:{port} cannot be listened at: Address already in use" in ended.stderr
    given = {
        "RUNBOOK_TARGETS": str(folder),
        "RUNBOOK_EVIDENCE": str(served.archive),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    ended = runbook(*asked, "--target", "served", "--port", "0", **given)
    assert ended.returncode == 64 and "another `serve` takes the alerts of served" in ended.stderr


def test_a_token_that_others_may_read_or_that_could_be_guessed_is_refused(
    runbook: Call, profile: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, target = tmp_path / "token", profile(HOST)

    def refused(*options: str, **environment: str) -> str:
        ended = runbook("serve", "--target", target, "--port", "0", *options, **environment)
        assert ended.returncode == 64 and TOKEN not in ended.stderr + ended.stdout
        return ended.stderr

    assert "serve wants a token" in refused()
    assert "cannot be read" in refused("--token-file", str(file))
    file.write_text(TOKEN)
    for mode in (0o644, 0o640, 0o602):
        file.chmod(mode)
        assert "others may read or change" in refused("--token-file", str(file))
    file.chmod(0o600)
    for text in ("", "short", "with a space in the middle", "ümlaut" * 5, f"{TOKEN}\n{TOKEN}", "x" * 5_000):
        file.write_text(text)
        assert "the token in" in refused("--token-file", str(file))
    assert "is no file" in refused("--token-file", str(tmp_path))
    target = profile(HOST + '[serve]\ntoken = "env:NOT_THERE"\n', "by-reference")
    assert "NOT_THERE is not set" in refused()
    target = profile(HOST + f'[serve]\ntoken = "{TOKEN}"\n', "literal")
    assert "a secret stands here itself" in refused()


def test_a_token_that_the_profile_names_lets_in_and_stays_out_of_all_evidence(tmp_path: Path, notebooks: Path) -> None:
    profile = HOST + '[serve]\ntoken = "env:THE_TOKEN"\nport = 0\n'
    (tmp_path / "served.toml").write_text(profile)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNBOOK_TARGETS", str(tmp_path))
        patch.setenv("THE_TOKEN", TOKEN)
        assert TOKEN in load_target("served").secret_values()


@pytest.fixture
def identity(tmp_path: Path) -> tuple[Path, Path, ssl.SSLContext]:
    """A certificate, its key, and what a client trusts it by."""
    authority = Authority()
    authority.write(tmp_path / "ca.pem")
    authority.issue(["127.0.0.1"]).write(tmp_path / "own.pem", tmp_path / "own.key")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    return tmp_path / "own.pem", tmp_path / "own.key", trusting


def test_beyond_loopback_it_speaks_tls_and_nothing_else(
    tmp_path: Path, notebooks: Path, identity: tuple[Path, Path, ssl.SSLContext]
) -> None:
    certificate, key, trusting = identity
    options = ("--address", "0.0.0.0", "--certificate", str(certificate), "--key", str(key))
    with serving(tmp_path, *options, RUNBOOK_NOTEBOOKS=str(notebooks)) as served:
        port = int(served.url.rpartition(":")[2])
        answer = httpx.get(f"https://127.0.0.1:{port}/", headers=BEARER, verify=trusting, trust_env=False)
        assert answer.status_code == 200 and "max-age" in answer.headers["strict-transport-security"]
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{port}/", headers=BEARER, trust_env=False)


def test_a_handshake_has_its_time_as_well(
    taking: Callable[[], Taking],
    archive: Path,
    identity: tuple[Path, Path, ssl.SSLContext],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servers, "HANDSHAKE_SECONDS", 0.5)
    certificate, key, trusting = identity
    with listen("127.0.0.1", 0) as listening:
        app = application(taking().desk, archive, TOKEN, print)
        serves = Listening(app, listening, tls_of(certificate, key), print)
        serves.start()
        port = listening.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
            assert silent.recv(1) == b""
        answer = httpx.get(f"https://127.0.0.1:{port}/status", headers=BEARER, verify=trusting, trust_env=False)
        assert answer.status_code == 200
        serves.stop()
