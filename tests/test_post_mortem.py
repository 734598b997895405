"""One story out of many runs: what happened, when, how bad, what helped; and what of it can be trusted."""

import io
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
from hostile import canary, find_browser, payloads, ran, without_policy

from runbook import postmortem
from runbook.evidence import sealing
from runbook.evidence.archive import archive_id
from runbook.evidence.chain import Chain, Head
from runbook.evidence.incidents import Incident, add_note, close_incident, open_incident
from runbook.evidence.keys import keys_folder, signer
from runbook.evidence.seal import sealed
from runbook.evidence.sealing import Ended, seal_run
from runbook.evidence.statement import Source, digest
from runbook.model import Finding, Findings, Status, UsageError
from runbook.model.layout import DATA_FOLDER, run_folder
from runbook.model.plan import Entry, Helped, Plan, PlanState
from runbook.model.protocol import PlanRecord, RunRecord, plain
from runbook.model.units import length
from runbook.postmortem.changes import changes
from runbook.postmortem.course import courses
from runbook.postmortem.events import Event, events
from runbook.postmortem.impact import impact
from runbook.postmortem.page import render_post_mortem
from runbook.postmortem.pdf import printed, printer
from runbook.postmortem.sections import keep_sections, read_sections, sections_file
from runbook.postmortem.story import Story, story
from runbook.redaction import Redactor
from runbook.session import open_run

Call = Callable[..., subprocess.CompletedProcess[str]]
CRITICAL, UNKNOWN, OK = Status.CRITICAL, Status.UNKNOWN, Status.OK
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
NONE = Redactor(())


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("RUNBOOK_SIGNING_KEY", raising=False)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def opened(title: str = "API answers 500", **more: Any) -> Incident:
    told = {"author": "anna", "redactor": NONE, "targets": ["prod"], "began": utc(START), **more}
    return open_incident(title, "P1", **told)


def liveness(status: Status, value: float | None = None, **more: Any) -> Finding:
    told = {"message": f"it is {status}", "value": value, "unit": "ms", **more}
    return Finding(check="api.liveness", object="service", status=status, **told)


class Machine:
    """A machine that writes runs: its name, and by how much its clock is ahead (s)."""

    def __init__(self, archive: Path, patch: pytest.MonkeyPatch, name: str = "one", ahead: float = 0.0) -> None:
        self.archive, self.name, self.ahead, self._patch = archive, name, ahead, patch
        self._count = 0
        self._end: Head | None = None

    def leave(
        self, incident: str, minutes: float, *findings: Finding, seal: bool = True, around: bool = False, **more: Any
    ) -> Path:
        """Leave a run that was begun so many minutes after the start, as this machine's clock tells it."""
        began = at(minutes) + timedelta(seconds=self.ahead)
        notebook = more.pop("notebook", "api-down")
        frames, clocks = more.pop("frames", {}), more.pop("clocks", {"postgres": -self.ahead})
        self._count += 1
        tail = "".join("abcdefghjkmnpqrstuvwxyz"[(self._count // 23**place) % 23] for place in range(5, -1, -1))
        run_id = f"run_{began:%Y%m%dT%H%M%SZ}_{notebook}_{tail}"
        folder = run_folder(self.archive, run_id)
        (folder / DATA_FOLDER).mkdir(parents=True)
        told = {"status": str(Findings(findings).verdict), "exit": 0, "error": None, "seconds": 2.0, **more}
        record = RunRecord(
            notebook=notebook,
            target=told.pop("target", "prod"),
            run_id=run_id,
            evidence=str(folder),
            findings=list(findings),
            started=told.pop("started", utc(began)),
            ended=told.pop("ended", utc(began + timedelta(seconds=2))),
            operator=told.pop("operator", "ben"),
            incident="" if around else incident,
            **told,
        )
        (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(record, enc_hook=plain), indent=1))
        (folder / "report.html").write_text("<p>page</p>")
        for number, (check, frame) in enumerate(frames.items(), start=1):
            buffer = io.BytesIO()
            frame.to_parquet(buffer, index=False)
            (folder / DATA_FOLDER / f"{number:03d}-{check}.parquet").write_bytes(buffer.getvalue())
        if seal:
            self._patch.setattr(socket, "gethostname", lambda: self.name)
            ended = Ended(
                record=msgspec.to_builtins(record, enc_hook=plain),
                source=Source(name=f"{notebook}.ipynb", sha256="0" * 64),
                parameters={},
                identity={"postgres": {"system": "77"}},
                clock_offsets=clocks,
                redactions={},
            )
            seal_run(self.archive, ended) if self._end is None else self._seal_quickly(run_id, ended)
        return folder

    def quickly(self) -> "Machine":
        """Seal without noting the chain's head each time: for thousands of runs."""
        self._patch.setattr(socket, "gethostname", lambda: self.name)
        self._key = signer()
        self._chain = Chain(self.archive, archive_id(self.archive), self._key)
        self._end = self._chain.head()
        return self

    def _seal_quickly(self, run_id: str, ended: Ended) -> None:
        make = sealing._statement(self.archive, archive_id(self.archive), self._chain.writer, ended, run_id)
        assert self._end is not None
        content = sealed(make(self._end.seq + 1, self._end.digest), self._key)
        (run_folder(self.archive, run_id) / "seal.json").write_bytes(content)
        self._end = Head(seq=self._end.seq + 1, digest=digest(content), run_id=run_id)


@pytest.fixture
def machine(archive: Path) -> Iterator[Callable[..., Machine]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(sealing, "versions", dict)
        yield lambda name="one", ahead=0.0: Machine(archive, patch, name, ahead)


def plan_record(run_id: str = "", host: str = "one", **changed: Any) -> PlanRecord:
    """A plan that was carried out 20 minutes after the start."""
    begun = at(20).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    empty: dict[str, Any] = {name: {} for name in ("identity", "arguments", "observed", "expected", "restored")}
    plan = Plan(
        id="pln_abcdefghjk",
        change="docker.restart",
        summary="start the API <b>now</b>",
        notebook="api-down",
        target="prod",
        user="ben",
        host=host,
        made=begun,
        expires=begun,
        steps=[],
        blast_radius=[],
        inverse=[],
        irreversible="",
        checks=[],
        patience=1.0,
        **empty,
    )
    journal = [
        Entry(at=begun, event="confirmed", user="ben", host=host, run_id=run_id),
        Entry(at=begun, event="intent", step=1, host=host, run_id=run_id),
        Entry(at=begun, event="outcome", step=1, result="done", host=host),
        Entry(at=begun, event="ended", state="verified", host=host),
    ]
    told: dict[str, Any] = {
        "journal": journal,
        "before": [liveness(CRITICAL, 9000.0)],
        "after": [liveness(OK, 5)],
        "helped": Helped(answer="helped", changed=[], left=[]),
        "state": PlanState.VERIFIED,
        **changed,
    }
    return PlanRecord(id=plan.id, summary=plan.summary, steps=["docker start api"], plan=plan, **told)


def failed_requests(failed: int, of: int) -> pd.DataFrame:
    return pd.DataFrame({"answered": [True] * of, "status": [500] * failed + [200] * (of - failed)})


def logged(minute: float, errors: int) -> pd.DataFrame:
    when = pd.to_datetime([at(minute).replace(second=0), at(minute).replace(second=0)], utc=True)
    return pd.DataFrame({"minute": when, "level": ["ERROR", "INFO"], "count": [errors, 400]})


def whole_story(archive: Path, machine: Callable[..., Machine]) -> Incident:
    """An incident of four runs, a change that helped, and a run of before."""
    incident, one = opened(), machine()
    one.leave(incident.id, -30, liveness(OK, 4.0), around=True)
    worst = {"api.error_rate": failed_requests(7, 10), "logs.timeline": logged(10, 44)}
    one.leave(incident.id, 10, liveness(CRITICAL, 9000.0, threshold=2000), frames=worst)
    add_note(incident, "users call", author="anna", redactor=NONE, at=utc(at(12)))
    one.leave(incident.id, 20, liveness(OK, 6.0), plans=[plan_record()])
    one.leave(
        incident.id, 30, liveness(OK, 5.0), notebook="log-review", frames={"api.error_rate": failed_requests(0, 10)}
    )
    return close_incident(incident, "it was started again", author="anna", redactor=NONE, at=utc(at(40)))


def told(incident: Incident) -> Story:
    found = story(incident.id)
    assert found is not None
    return found


def page_of(incident: Incident) -> str:
    return render_post_mortem(told(incident), made="Made now.").decode()


def shown(page: str) -> str:
    """The words of a page, without its style, pictures and elements."""
    bare = re.sub(r"<style>.*?</style>|<img[^>]*>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bare))


def test_everything_of_an_incident_is_one_timeline(archive: Path, machine: Callable[..., Machine]) -> None:
    incident = whole_story(archive, machine)
    kinds = [(event.kind, event.status) for event in events(told(incident)) if event.kind != "opened"]
    assert kinds == [
        ("began", ""),
        ("run", "CRITICAL"),
        ("note", ""),
        ("plan", "planned"),
        ("change", "confirmed"),
        ("change", "begun"),
        ("change", "done"),
        ("change", "verified"),
        ("run", "OK"),
        ("run", "OK"),
        ("closed", ""),
    ]


def test_the_impact_is_told_in_numbers_each_from_a_run(archive: Path, machine: Callable[..., Machine]) -> None:
    measures = {measure.name: measure for measure in impact(told(whole_story(archive, machine)))}
    assert measures["duration"].value == 40 * 60 and "40 min" in measures["duration"].says
    share = measures["worst error share"]
    assert share.value == 70 and "7 of 10 requests" in share.says
    assert share.cited is not None and "api-down" in share.cited.run_id
    assert measures["errors logged"].value == 44 and f"{at(10):%H:%M} UTC: 44" in measures["errors logged"].says
    assert measures["until a run saw it"].value == 600 and measures["until the first change"].value == 1200
    course = measures["api.liveness: service"]
    began, ended = (f"{at(minute):%Y-%m-%d %H:%M:%S} UTC" for minute in (10, 20))
    assert f"CRITICAL, as runs saw it: from {began} to {ended}" in course.says and course.value == 600


def test_whether_a_change_helped_is_told_by_what_was_found_around_it(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident, one = opened(), machine()
    worse = Helped(answer="made it worse", changed=[], left=["api.liveness: service: CRITICAL: it is gone"])
    one.leave(incident.id, 20, liveness(CRITICAL), plans=[plan_record(helped=worse)])
    (made,) = changes(told(incident))
    assert (made.answer, made.status) == ("it made it worse", CRITICAL)
    assert "it made it worse" in shown(page_of(incident)) and "it is gone" in page_of(incident)


def test_a_plan_of_two_runs_is_told_once_and_one_never_carried_out_as_such(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident, one = opened(), machine()
    planned = plan_record(journal=[], helped=None, state=PlanState.PLANNED)
    one.leave(incident.id, 18, liveness(CRITICAL), plans=[planned])
    assert [made.answer for made in changes(told(incident))] == ["it was not carried out"]
    one.leave(incident.id, 20, liveness(OK), plans=[plan_record()])
    assert [made.answer for made in changes(told(incident))] == ["it helped"]


def test_a_change_of_which_no_sound_record_tells_is_not_said_to_be_undone(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident, one = opened(), machine()
    planned = plan_record(journal=[], helped=None, state=PlanState.PLANNED)
    one.leave(incident.id, 18, liveness(CRITICAL), plans=[planned])
    folder = one.leave(incident.id, 20, liveness(OK), plans=[plan_record()])
    (folder / "seal.json").unlink()
    (made,) = changes(told(incident))
    assert made.status is UNKNOWN and f"it was carried out, as {folder.name} says" in made.answer
    (folder / "run.json").unlink()
    one.leave(incident.id, 30, liveness(OK))
    (made,) = changes(told(incident))
    assert made.status is UNKNOWN and "whether it was carried out is not known" in made.answer


def test_a_run_that_carried_out_a_plan_of_the_incident_and_was_not_attached_is_found(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident, one = opened(), machine()
    own = msgspec.structs.replace(plan_record().plan, incident=incident.id)
    planned = msgspec.structs.replace(plan_record(journal=[], helped=None, state=PlanState.PLANNED), plan=own)
    one.leave(incident.id, 18, liveness(CRITICAL), plans=[planned])
    done = one.leave("", 20, liveness(OK), plans=[msgspec.structs.replace(plan_record(), plan=own)])
    quiet = one.leave("", 25, liveness(OK), notebook="log-review")
    one.leave("", 25, liveness(OK), target="another")
    (made,) = changes(told(incident))
    assert (made.answer, made.cited.run_id) == ("it helped", done.name)
    assert [run.run_id for run in told(incident).beside] == [done.name, quiet.name]
    page = shown(page_of(incident))
    assert "a run that belongs to no incident" in page and "2 runs on the same target, while it lasted, belong" in page


def test_a_notebook_run_by_hand_found_well_what_it_had_changed_only_afterwards(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident, one = opened(), machine()
    begun, ended = utc(at(19)), utc(at(21))
    more: dict[str, Any] = {"mode": "interactive", "started": begun, "ended": ended}
    one.leave(incident.id, 40, liveness(OK), plans=[plan_record()], **more)
    kinds = [(event.kind, event.status) for event in events(told(incident)) if event.kind != "opened"]
    assert kinds[-2:] == [("change", "verified"), ("run", "OK")]
    (course,) = courses(told(incident))
    assert [(point.at, point.status) for point in course.points] == [(at(20), CRITICAL), (at(20), OK), (at(21), OK)]


def test_what_was_not_well_twice_is_told_as_two_times(archive: Path, machine: Callable[..., Machine]) -> None:
    incident, one = opened(), machine()
    for minute, status in ((5, CRITICAL), (10, OK), (30, CRITICAL), (32, CRITICAL), (35, OK)):
        one.leave(incident.id, minute, liveness(status))
    measures = {measure.name: measure for measure in impact(told(incident))}
    course = measures["api.liveness: service"]
    assert course.value == 600 and course.says.startswith("10 min: CRITICAL 2 times, as runs saw it")
    assert measures["until it was well again"].value == 35 * 60
    assert measures["requests hit"].says.startswith("not known")


def test_changes_are_told_in_the_order_in_which_they_were_begun(archive: Path, machine: Callable[..., Machine]) -> None:
    incident, one = opened(), machine()
    first, second = plan_record(), plan_record()
    late = [msgspec.structs.replace(e, at=e.at.replace(first.plan.made, utc(at(30)))) for e in first.journal]
    early = msgspec.structs.replace(second.plan, id="pln_second00000", made=utc(at(25)))
    one.leave(incident.id, 31, plans=[msgspec.structs.replace(first, journal=late)])
    sooner = [msgspec.structs.replace(e, at=utc(at(26))) for e in second.journal]
    one.leave(incident.id, 27, plans=[msgspec.structs.replace(second, id=early.id, plan=early, journal=sooner)])
    assert [made.begun for made in changes(told(incident))] == [at(26), at(30)]


def test_what_was_found_about_the_telling_is_no_course_of_the_trouble(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident, one = opened(), machine()
    telling = Finding(check="communication.updates", object="updates", status=Status.WARNING, message="nobody was told")
    one.leave(incident.id, 5, liveness(CRITICAL), telling, notebook="incident-communication")
    assert [course.check for course in courses(told(incident))] == ["api.liveness"]


def test_a_message_that_was_posted_is_told_and_is_no_change(archive: Path, machine: Callable[..., Machine]) -> None:
    incident, one = opened(), machine()
    posted = plan_record()
    posted = msgspec.structs.replace(posted, plan=msgspec.structs.replace(posted.plan, of_target=False))
    one.leave(incident.id, 20, liveness(CRITICAL), plans=[posted])
    assert changes(told(incident)) == []
    (event,) = [event for event in events(told(incident)) if event.kind not in ("began", "opened", "run")]
    assert (event.kind, event.status) == ("message", "done")
    assert "until the first change" not in {measure.name for measure in impact(told(incident))}


def test_clocks_that_differ_by_minutes_are_corrected_and_that_is_said(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident = opened()
    right, wrong = machine("right"), machine("wrong", ahead=240)
    right.leave(incident.id, 10, liveness(CRITICAL), operator="r1")
    wrong.leave(incident.id, 11, liveness(CRITICAL), operator="w1", plans=[plan_record(host="wrong")])
    right.leave(incident.id, 12, liveness(CRITICAL), operator="r2")
    right.leave(incident.id, 16, liveness(OK), operator="r3")
    found = told(incident)
    runs = [event for event in events(found) if event.kind == "run"]
    assert [event.who for event in runs] == ["r1", "w1", "r2", "r3"]
    assert [event.at for event in runs] == [at(10), at(11), at(12), at(16)] and runs[1].moved == -240
    assert "the clock of wrong was 4.0 min ahead of the postgres of prod" in " ".join(found.clocks.told())
    assert next(event.at for event in events(found) if event.kind == "change") == at(16)
    assert "clock -240 s" in shown(page_of(incident))


def test_a_clock_that_was_compared_with_no_other_stays_as_it_is_and_that_is_said(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident = opened()
    machine("right").leave(incident.id, 10, liveness(CRITICAL))
    machine("alone").leave(incident.id, 11, liveness(CRITICAL), clocks={})
    assert "alone" in told(incident).clocks.told()[-1] + told(incident).clocks.told()[0]
    assert "times stand as they were written" in page_of(incident)


def test_two_machines_that_share_no_server_are_compared_by_a_third(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident = opened()
    machine("a", 0).leave(incident.id, 1, liveness(OK), clocks={"postgres": 0.0})
    machine("b", 100).leave(incident.id, 2, liveness(OK), clocks={"postgres": -100.0, "redis": -70.0})
    machine("c", 50).leave(incident.id, 3, liveness(OK), clocks={"redis": -20.0})
    assert {host: round(ahead) for host, ahead in told(incident).clocks.ahead.items() if len(host) == 1} == {
        "a": 0,
        "b": 100,
        "c": 50,
    }


def tamper_word(folder: Path) -> None:
    path = folder / "run.json"
    path.write_text(path.read_text().replace("it is CRITICAL", "it is fine"))


def tamper_status(folder: Path) -> None:
    path = folder / "run.json"
    path.write_text(path.read_text().replace('"CRITICAL"', '"OK"'))


def tamper_incident(folder: Path) -> None:
    path = folder / "run.json"
    path.write_text(re.sub(r'"incident": "inc_[^"]*"', '"incident": ""', path.read_text()))


def tamper_record(folder: Path) -> None:
    (folder / "run.json").unlink()


def tamper_seal(folder: Path) -> None:
    path = folder / "seal.json"
    path.write_text(path.read_text().replace('"sig": "', '"sig": "00'))


def tamper_data(folder: Path) -> None:
    next((folder / DATA_FOLDER).iterdir()).write_bytes(b"PAR1")


def no_seal(folder: Path) -> None:
    (folder / "seal.json").unlink()


@pytest.mark.parametrize(
    "harm", [tamper_word, tamper_status, tamper_incident, tamper_record, tamper_seal, tamper_data, no_seal]
)
def test_a_record_that_was_tampered_with_is_shown_as_broken_and_counts_for_nothing(
    archive: Path, machine: Callable[..., Machine], harm: Callable[[Path], None]
) -> None:
    incident = whole_story(archive, machine)
    assert "each of the 7 records" in shown(page_of(incident)) and "Not all of this" not in page_of(incident)
    (folder,) = (place for place in archive.glob(f"runs/*/run_{at(10):%Y%m%dT%H%M%SZ}_api-down_*"))
    harm(folder)
    page = shown(page_of(incident))
    assert "Not all of this can be trusted" in page and folder.name in page
    assert ("✖ broken" in page or "✖ not sealed" in page) and "✔ OK api-down it is fine" not in page
    assert "not to be believed: " in page or not (folder / "run.json").exists()
    measures = {measure.name: measure for measure in impact(told(incident))}
    assert measures["worst error share"].value == 0
    # What is left is what the sound run found before and after its change.
    assert measures["api.liveness: service"].value == 0 and f"from {at(20):%Y-%m-%d %H:%M}" in str(measures)


def test_a_run_of_a_colleague_is_told_apart_from_a_broken_one_until_its_key_is_trusted(
    archive: Path, machine: Callable[..., Machine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = opened()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "colleague"))
    machine().leave(incident.id, 10, liveness(CRITICAL))
    (public,) = keys_folder().glob("*.pub")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (run,) = told(incident).runs
    assert run.standing == "unknown key" and "put its public key into" in run.why
    assert "unknown key" in shown(page_of(incident))
    (keys_folder() / "ben.pub").write_bytes(public.read_bytes())
    assert [run.standing for run in told(incident).runs] == ["sealed"]


def test_a_run_that_was_taken_away_is_missed(archive: Path, machine: Callable[..., Machine]) -> None:
    import shutil

    incident = whole_story(archive, machine)
    (folder,) = (place for place in archive.glob(f"runs/*/run_{at(10):%Y%m%dT%H%M%SZ}_api-down_*"))
    shutil.rmtree(folder)
    assert len(told(incident).gaps) == 1 and "missing: 1 of the chain of one-" in shown(page_of(incident))


def test_an_incident_without_runs_has_a_page_that_says_so(archive: Path) -> None:
    page = shown(page_of(opened()))
    assert "No run belongs to this incident" in page and "it is still open" in page and "the one record" in page


def test_without_any_run_it_is_told_how_to_attach_what_was_run_by_hand(archive: Path) -> None:
    incident = opened()
    run = open_run("post-mortem", target="sandbox", incident=incident.id, needs=[])
    state, *_ = found = run.ask(postmortem.cited, story=story(incident.id)).findings
    (records,) = [finding for finding in found if finding.object == "records"]
    attach = f"runbook evidence add FILE.ipynb --incident {incident.id} --after-close"
    assert records.status is Status.WARNING and records.next == f"attach what was run by hand: {attach}"
    assert records.message == "1 of 1 record is what was sealed, no run of the incident among them"
    assert re.search(r"open since 20\d\d-\d\d-\d\d \d\d:\d\d UTC: ", state.message)
    run.close()


def test_an_incident_that_does_not_exist_is_a_usage_error(archive: Path, runbook: Call) -> None:
    assert story("") is None
    with pytest.raises(UsageError):
        story("inc_20200101_aaaaaa")
    assert runbook("incident", "report", "inc_20200101_aaaaaa").returncode == 64
    assert runbook("run", "post-mortem", "--incident", "inc_20200101_aaaaaa").returncode == 64


def test_two_thousand_runs_are_told_whole(archive: Path, machine: Callable[..., Machine]) -> None:
    incident, one = opened(), machine().quickly()
    for number in range(2000):
        one.leave(incident.id, number / 40, liveness(CRITICAL if number % 50 == 7 else OK, 5.0))
    found = told(incident)
    assert len(found.runs) == 2000 and not found.broken
    page = render_post_mortem(found, made="")
    assert page.count(b'<tr class="is-run') == 2000 and len(page) < 10_000_000


def test_what_is_hostile_runs_in_no_browser_and_loads_nothing(
    archive: Path, machine: Callable[..., Machine], tmp_path: Path
) -> None:
    browser = find_browser(tmp_path / "profile")
    with canary() as listening:
        bad = " ".join(payloads(listening.address))
        incident = opened(bad[:190], owner=bad[:500])
        add_note(incident, bad[:15000], author="b", redactor=NONE)
        hidden = Finding(check="api.liveness", object=bad[:300], status=CRITICAL, message=bad[:3000])
        machine().leave(incident.id, 10, hidden, operator=bad[:200], plans=[plan_record(told=[bad[:200]])])
        keep_sections(archive, incident, NONE)
        sections_file(archive, incident.id).write_text(f"## Summary\n\n{bad}\n\n## {bad[:100]}\n\nx\n")
        page = tmp_path / "page.html"
        page.write_bytes(without_policy(render_post_mortem(told(incident), made="")))
        assert not ran(browser.dom(page)) and not listening.asked


def test_the_page_is_one_file_that_loads_nothing(archive: Path, machine: Callable[..., Machine]) -> None:
    page = page_of(whole_story(archive, machine))
    assert "<script" not in page and "default-src &#x27;none&#x27;" in page
    assert not re.findall(r'(?:src|href)="(?!data:|\.\./)', page)
    targets = re.findall(r'href="\.\./\.\./\.\./(runs/[^"]+)"', page)
    assert targets and all((archive / target).is_file() for target in targets)


def test_the_same_story_gives_the_same_page(archive: Path, machine: Callable[..., Machine]) -> None:
    incident = whole_story(archive, machine)
    assert page_of(incident) == page_of(incident)


def test_what_people_write_is_kept_and_taken_in(archive: Path, machine: Callable[..., Machine], runbook: Call) -> None:
    incident = whole_story(archive, machine)
    ended = runbook("incident", "report", incident.id, "--no-pdf")
    assert ended.returncode == 0 and "still to be written" in ended.stderr, ended
    path = sections_file(archive, incident.id)
    assert "## Contributing factors" in path.read_text()
    filled = path.read_text().replace("## Trigger\n", "## Trigger\n\nA *new* image. password=hunter2hunter2\n")
    path.write_text(filled.replace("| | | | |", "| pin the image | | 2026-12-01 | |"))
    ended = runbook("incident", "report", incident.id, "--no-pdf")
    page = Path(ended.stdout.strip())
    assert "A <em>new</em> image." in page.read_text() and "Without an owner: pin the image" in shown(page.read_text())
    assert "hunter2" not in path.read_text() + page.read_text() and "A *new* image" in path.read_text()
    assert (page.parent / "post-mortem.md").read_text() == path.read_text()
    assert runbook("evidence", "verify").returncode == 0
    assert f"{page.parent.name}/post-mortem.html" in (archive / incident.page).read_text()


def test_a_broken_record_makes_the_report_end_with_1(
    archive: Path, machine: Callable[..., Machine], runbook: Call
) -> None:
    incident = whole_story(archive, machine)
    tamper_word(next(iter(archive.glob(f"runs/*/run_{at(10):%Y%m%dT%H%M%SZ}_api-down_*"))))
    ended = runbook("incident", "report", incident.id, "--no-pdf")
    assert ended.returncode == 1 and "BROKEN" in ended.stderr and "run.json is not what was sealed" in ended.stderr


def test_it_is_printed_where_there_is_a_browser(archive: Path, machine: Callable[..., Machine]) -> None:
    if printer() is None:
        pytest.skip("chromium is not installed")
    page = render_post_mortem(told(whole_story(archive, machine)), made="", links=False)
    assert b'href="../../../runs' not in page
    content, why = printed(page)
    assert content.startswith(b"%PDF") and not why


def test_without_a_browser_the_page_alone_is_made(
    archive: Path, machine: Callable[..., Machine], runbook: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = whole_story(archive, machine)
    ended = runbook("incident", "report", incident.id, PATH="/nowhere")
    assert ended.returncode == 0 and "no PDF was made: there is no Chromium" in ended.stderr
    assert len(ended.stdout.splitlines()) == 1


def test_the_notebooks_questions_tell_the_same(archive: Path, machine: Callable[..., Machine]) -> None:
    incident = whole_story(archive, machine)
    run = open_run("post-mortem", target="sandbox", incident=incident.id, needs=[])
    found = story(incident.id)
    told_by = {question.name: run.ask(question, story=found) for question in postmortem.questions}
    assert told_by["postmortem.cited"].verdict is OK
    assert "7 of 7 records are what was sealed, 3 runs" in told_by["postmortem.cited"].findings[1].message
    assert told_by["postmortem.helped"].findings[0].message.endswith("it helped")
    assert told_by["postmortem.sections"].verdict is Status.WARNING
    for plot in (postmortem.StatusCourse(found), postmortem.KeyFigures(found)):
        assert plot._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")
        assert all(axes.get_ylabel() for axes in plot.figure().axes)
        assert "UTC" in plot.figure().axes[-1].get_xlabel()
    tamper_word(next(iter(archive.glob(f"runs/*/run_{at(10):%Y%m%dT%H%M%SZ}_api-down_*"))))
    assert run.ask(postmortem.cited, story=story(incident.id)).verdict is CRITICAL
    run.close()


def test_the_notebook_tells_a_closed_incident(
    archive: Path, machine: Callable[..., Machine], run_json: Callable[..., Any]
) -> None:
    incident = whole_story(archive, machine)
    status, document = run_json("post-mortem", "--incident", incident.id)
    assert status == 1 and document.runs[0].error is None, document
    assert "7 of 7 records" in next(f.message for f in document.runs[0].findings if f.object == "records")
    assert len(told(incident).runs) == 3, "what tells the story is no part of it"


def test_before_during_and_after_are_compared(archive: Path, machine: Callable[..., Machine]) -> None:
    incident = whole_story(archive, machine)
    machine().leave(incident.id, 50, liveness(OK, 4.5), around=True, notebook="log-review")
    machine("two").leave(incident.id, 60, liveness(OK, 4.5), around=True, notebook="other")
    (course,) = courses(told(incident))
    assert [(point.value, point.cited.around) for point in course.points] == [
        (4.0, True),
        (9000.0, False),
        (9000.0, False),
        (5.0, False),
        (6.0, False),
        (5.0, False),
        (4.5, True),
    ]


def test_alerts_are_told_when_they_are_first_seen_and_when_they_are_gone(
    archive: Path, machine: Callable[..., Machine]
) -> None:
    incident, one = opened(), machine()
    alert = Finding(check="api.active_alerts", object="high_cpu", status=CRITICAL, message="cpu 99%")
    none = Finding(check="api.active_alerts", object="alerts", status=OK, message="no active alerts")
    for minute, finding in ((1, alert), (2, alert), (3, none)):
        one.leave(incident.id, minute, finding)
    seen: list[Event] = [event for event in events(told(incident)) if event.kind == "alert"]
    assert [(event.at, event.says) for event in seen] == [
        (at(1), "high_cpu: cpu 99%"),
        (at(3), "high_cpu: not active any more"),
    ]


def test_sections_that_somebody_added_are_shown_too(archive: Path) -> None:
    incident = opened()
    keep_sections(archive, incident, NONE)
    path = sections_file(archive, incident.id)
    path.write_text(path.read_text() + "\n## Costs\n\nTwelve hours.\n")
    assert "Twelve hours." in page_of(incident)
    assert [s.heading for s in read_sections(archive, incident.id)][-1] == "Costs"


def test_lengths_of_time_are_said_as_people_say_them() -> None:
    assert [length(s) for s in (53, 119, 600, 7200, 100_000, 300_000)] == [
        "53 s", "119 s", "10 min", "2 h", "27 h 47 min", "3 d 11 h"
    ]  # fmt: skip


def test_evidence_diff_compares_the_first_and_the_last_run_of_an_incident(
    archive: Path, machine: Callable[..., Machine], runbook: Call
) -> None:
    incident = whole_story(archive, machine)
    ended = runbook("evidence", "diff", incident.id)
    assert ended.returncode == 0 and "! api.liveness: service: CRITICAL -> OK" in ended.stdout, ended
    assert runbook("evidence", "diff", "run_x").returncode == 64
