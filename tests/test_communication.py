"""Messages about an incident: in the runbook's words, of what is known, posted to a real webhook by a plan alone."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest
import trustme
from hostile import payloads
from receiver import SECRET_PATH, Hook, serve
from running import only, text_of

from runbook import communication, postmortem
from runbook.communication.payloads import payload
from runbook.communication.post import by_hand
from runbook.communication.said import SAID
from runbook.communication.severities import SEVERITIES, in_words
from runbook.evidence.incidents import add_note, close_incident, open_incident
from runbook.evidence.keys import keys_folder, signer
from runbook.evidence.sealing import Ended, seal_run
from runbook.evidence.statement import Source
from runbook.model import Finding, Status, UsageError
from runbook.model.layout import new_run_id, run_folder
from runbook.model.plan import Entry, Helped, PlanState
from runbook.model.protocol import RunRecord
from runbook.model.protocol import plain as plain_value
from runbook.plans.lock import name_of
from runbook.plans.place import all_plans, encoded, note, plans_folder, stamp
from runbook.plans.progress import half_done
from runbook.plans.token import token_of
from runbook.redaction import Redactor
from runbook.session import open_run
from runbook.target import load_target
from runbook.transport import webhook

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
# The runbook's templates, as they stand under its "Communication Templates".
ALERT = """🚨 INCIDENT ALERT

Severity: P1
Component: Shrimp Annotation API
Issue: High error rate detected (15% 5xx errors)
Started: 2024-01-01 14:30 UTC
Impact: Users experiencing login failures

Investigating: @oncall-engineer
Updates: Every 15 minutes

Status Page: https://status.company.com"""
RESOLVED = """✅ INCIDENT RESOLVED

Severity: P1
Component: Shrimp Annotation API
Resolution: Database connection pool increased from 20 to 50
Duration: 45 minutes
Root Cause: Database connection exhaustion during peak usage

Post-mortem: Will be published within 72 hours"""
EXAMPLE = {
    "severity": "P1",
    "component": "Shrimp Annotation API",
    "issue": "High error rate detected (15% 5xx errors)",
    "started": "2024-01-01 14:30",
    "impact": "Users experiencing login failures",
    "owner": "@oncall-engineer",
    "ended": "2024-01-01 15:15 UTC",
    "resolution": "Database connection pool increased from 20 to 50",
    "root_cause": "Database connection exhaustion during peak usage",
}
GOING_ON = {name: value for name, value in EXAMPLE.items() if name != "ended"}
BROKEN = Finding(check="api.user_request", object="/documents", status=CRITICAL, message="answered 500")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def hook() -> Iterator[Hook]:
    told = Hook()
    server = serve(told)
    yield told
    told.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def own(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive and plans of this test alone, and no waiting before a second attempt."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(webhook, "RETRY_SECONDS", 0.0)


@pytest.fixture
def incident() -> Any:
    began = datetime.now(UTC) - timedelta(minutes=20)
    return open_incident(
        "High error rate detected", "P1", author="alice", redactor=Redactor([]), owner="@oncall-engineer",
        began=f"{began:%Y-%m-%dT%H:%M:%SZ}",
    )  # fmt: skip


class Operator:
    """What somebody does in the notebook, on a target with this profile."""

    def __init__(self, target: str) -> None:
        self.run = open_run("incident-communication", target=target, needs=[])

    def known(self, incident: Any = "", **said: str) -> Any:
        name = getattr(incident, "id", incident)
        return self.run.ask(communication.incident, incident=name, said=said)

    def told(self, incident: Any = "", **said: str) -> Finding:
        name = getattr(incident, "id", incident)
        return only_one(self.run.ask(communication.updates, incident=name, said=said).findings)

    def text(self, kind: str, incident: Any = "", seen: Any = (), **said: str) -> str:
        return str(getattr(communication, kind)(self.known(incident, **said).frame, seen).text)

    def propose(self, incident: Any, kind: str = "", first: Any = (), **said: str) -> Any:
        message = communication.due(self.known(incident, **said).frame, self.run.findings, kind)
        verify = [communication.updates.given(incident=incident.id, said={})]
        return self.run.propose(communication.post, message=message.plain, verify=verify, first=list(first))

    def post(self, incident: Any, kind: str = "", **said: str) -> Any:
        planned = self.propose(incident, kind, **said)
        assert planned.plans, planned.reason
        return self.run.apply(planned, token_of(planned.plans[0].plan))


def only_one(findings: Any) -> Any:
    found = list(findings)
    assert len(found) == 1, found
    return found[0]


@pytest.fixture
def operator(profile: Callable[..., str], hook: Hook, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Open runs on a target whose webhook is the test's own; ``webhook`` are more lines of that section."""
    monkeypatch.setenv("RB_WEBHOOK", hook.url)
    opened: list[Operator] = []

    def operate(webhook: str | None = "timeout = 0.6", more: str = "") -> Operator:
        section = f'[webhook]\nurl = "env:RB_WEBHOOK"\n{webhook}\n' if webhook is not None else ""
        opened.append(Operator(profile(f"{section}{more}", "hooked")))
        return opened[-1]

    yield operate
    for one in opened:
        one.run.close()


def shown(thing: Any) -> str:
    return json.dumps(thing._repr_mimebundle_(), ensure_ascii=False, default=str)


def plain(thing: Any) -> str:
    return str(thing._repr_mimebundle_()["text/plain"])


def outcome(done: Any) -> Finding:
    return next(finding for finding in done.findings if finding.check == "plan.communication.post")


# --- the runbook's words


def holds_in_order(text: str, template: str) -> bool:
    lines = iter(text.splitlines())
    return all(wanted in lines for wanted in template.splitlines())


def test_the_alert_has_each_line_of_the_runbooks_template_in_its_order(operator: Any) -> None:
    text = operator(more='[communication]\nstatus_page = "https://status.company.com"').text("alert", **GOING_ON)
    assert holds_in_order(text, ALERT), text
    assert "Response: 30 minutes (P1 - High)" in text


def test_the_end_has_each_line_of_the_runbooks_template_in_its_order(operator: Any) -> None:
    text = operator().text("resolved", **EXAMPLE)
    until = "Post-mortem: Will be published within 72 hours (by 2024-01-04 15:15 UTC)"
    assert holds_in_order(text.replace(until, RESOLVED.splitlines()[-1]), RESOLVED) and until in text, text


def test_an_update_says_how_it_stands_what_is_done_and_when_the_next_one_is_due(operator: Any, incident: Any) -> None:
    text = operator().text("update", incident, [BROKEN], doing="restarting the API")
    assert text.startswith("🔄 INCIDENT UPDATE 1\n")
    assert "Now: /documents: answered 500\nBeing done: restarting the API" in text
    due = datetime.strptime(re.findall("Next update: (.*) UTC", text)[0], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
    assert timedelta(minutes=13) < due - datetime.now(UTC) < timedelta(minutes=16)


@pytest.mark.parametrize(
    ("severity", "response", "every"),
    [
        ("P0", "Immediate", "15 minutes"), ("P1", "30 minutes", "15 minutes"),
        ("P2", "2 hours", "2 hours"), ("P3", "Next business day", "1 day"),
    ],
)  # fmt: skip
def test_each_severity_has_the_runbooks_response_time(severity: str, response: str, every: str, operator: Any) -> None:
    text = operator().text("alert", severity=severity.lower())
    assert f"Response: {response} ({severity} - {SEVERITIES[severity].word})" in text
    assert f"Updates: Every {every}\n" in text


def test_what_is_not_known_is_said_as_not_known(operator: Any) -> None:
    text = operator().text("alert", issue="it is slow")
    for line in (
        "Severity: not known yet",
        "Started: not known yet",
        "Impact: not known yet",
        "Updates: not known yet",
    ):
        assert line in text.splitlines()
    assert "Investigating: nobody is named yet" in text
    ended = operator().text("resolved", issue="it was slow")
    for name in ("Resolution", "Duration", "Root Cause", "Resolved"):
        assert f"{name}: not known yet" in ended.splitlines()


def test_no_incident_makes_no_message_and_no_finding_but_ok(operator: Any) -> None:
    one = operator()
    known = one.known()
    assert [f.status for f in known.findings] == [OK] and one.told().status is OK and known.frame.empty
    assert one.text("alert") == "" and "no INCIDENT ALERT: no incident is named" in plain(
        communication.alert(known.frame)
    )
    planned = one.run.propose(communication.post, message=communication.due(known.frame).plain, verify=[])
    assert not planned.plans and "there is nothing to post: no incident is named" in planned.reason


def test_the_contacts_of_the_profile_are_named_as_whom_to_call(operator: Any) -> None:
    contacts = "".join(f'[[contacts]]\nname = "{n}"\nhow = "pager {n}"\n' for n in ("first", "second"))
    text = operator(more=contacts).text("alert", severity="P0")
    assert "Escalation: first, by pager first\nEscalation: second, by pager second" in text


def test_the_evidence_is_a_link_where_the_archive_is_served_and_a_command_elsewhere(
    operator: Any, incident: Any
) -> None:
    assert f"Evidence: {incident.id} (runbook incident show {incident.id})" in operator().text("alert", incident)
    served = '[communication]\nevidence_url = "https://runbook.company.com/"'
    link = f"Evidence: https://runbook.company.com/incidents/{incident.id}.html"
    assert link in operator(more=served).text("alert", incident)


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (0, "less than a minute"), (1, "1 minute"), (45, "45 minutes"), (60, "1 hour"), (95, "1 hour 35 minutes"),
        (1440, "1 day"), (1500, "1 day 1 hour"), (4321, "3 days 1 minute"),
    ],
)  # fmt: skip
def test_lengths_of_time_are_told_in_words(minutes: float, words: str) -> None:
    assert in_words(minutes) == words


# --- what is known


def test_the_incident_tells_what_nobody_says_and_who_says_so_stands_beside_it(operator: Any, incident: Any) -> None:
    frame = operator().known(incident, severity="P0", impact="nobody can log in").frame.set_index("fact")
    assert frame.loc["severity"].to_list() == ["P0", "the operator"], "what is said goes before the incident"
    assert frame.loc["issue"].to_list() == ["High error rate detected", incident.id]
    assert frame.loc["owner", "value"] == "@oncall-engineer"


def test_a_closed_incident_gives_its_duration_and_what_resolved_it(operator: Any, incident: Any) -> None:
    closed = close_incident(incident, "pool enlarged", author="alice", redactor=Redactor([]))
    text = operator().text("resolved", closed)
    assert (
        "Resolution: pool enlarged" in text and "Duration: 20 minutes" in text and "Root Cause: not known yet" in text
    )


def test_each_thing_that_a_message_must_say_is_a_warning_while_it_is_not_known(operator: Any) -> None:
    found = {f.object: f for f in operator().known(component="the database").findings}
    assert {name for name, f in found.items() if f.status is WARNING} == {
        "severity",
        "started",
        "impact",
        "owner",
        "issue",
    }
    assert found["impact"].next == "say it: -p impact=…"
    ended = {f.object: f.status for f in operator().known(issue="x", ended="2024-01-01 15:15").findings}
    assert ended["resolution"] is WARNING and ended["root cause"] is WARNING


def test_all_that_is_known_gives_nothing_but_ok(operator: Any, incident: Any) -> None:
    assert {f.status for f in operator().known(incident, impact="logins fail").findings} == {OK}


@pytest.mark.parametrize(
    ("severity", "began", "opened", "late"),
    [
        ("P0", "2024-01-01 14:30", "2024-01-01 14:34", False), ("P0", "2024-01-01 14:30", "2024-01-01 14:36", True),
        ("P1", "2024-01-01 14:30", "2024-01-01 15:00", False), ("P1", "2024-01-01 14:30", "2024-01-01 15:01", True),
        ("P2", "2024-01-01 14:30", "2024-01-01 16:30", False), ("P2", "2024-01-01 14:30", "2024-01-01 16:31", True),
        # A Friday: the next business day is the Monday.
        ("P3", "2024-01-05 14:30", "2024-01-08 23:00", False), ("P3", "2024-01-05 14:30", "2024-01-09 00:00", True),
    ],
)  # fmt: skip
def test_an_answer_is_judged_by_the_runbooks_response_time(severity: str, began: str, opened: str, late: bool) -> None:
    facts = {
        "severity": severity, "started": f"{began} UTC", "answered": f"{opened} UTC", "asked": "2024-02-01 00:00 UTC",
    }  # fmt: skip
    frame = pd.DataFrame({"fact": facts.keys(), "value": facts.values(), "source": ""})
    found = {f.object: f for f in communication.incident.check(frame)}["response"]
    assert found.status is (WARNING if late else OK) and SEVERITIES[severity].response in found.message
    assert found.next.startswith("call whom the summary names now" if late else "") and bool(found.next) is late


@pytest.mark.parametrize("bad", ["yesterday", "14:30", "2024-13-01 10:00", "0", "2024-01-01T25:00", "' OR 1=1"])
def test_a_time_that_is_none_is_unknown_and_says_how_to_write_it(bad: str, operator: Any) -> None:
    found = only_one(operator().known(started=bad).findings)
    assert found.status is UNKNOWN and "started is no time; write it like 2024-01-01 14:30, in UTC" in found.message


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"started": "2999-01-01 10:00"}, "it has not begun yet"),
        ({"started": "2024-01-02 10:00", "ended": "2024-01-01 10:00"}, "it ended before it began"),
    ],
)
def test_times_that_cannot_be_are_a_warning(said: dict[str, str], says: str, operator: Any) -> None:
    found = {f.object: f for f in operator().known(**said).findings}["started"]
    assert found.status is WARNING and says in found.message


def test_times_of_other_zones_are_told_in_utc(operator: Any) -> None:
    assert "Started: 2024-01-01 14:30 UTC" in operator().text("alert", started="2024-01-01T16:30+02:00")


def test_a_severity_that_is_none_is_a_warning_and_is_not_given_a_response_time(operator: Any) -> None:
    one = operator()
    found = {f.object: f for f in one.known(severity="high").findings}["severity"]
    assert found.status is WARNING and "HIGH is none of P0, P1, P2, P3" in found.message
    assert "Response" not in one.text("alert", severity="high")


@pytest.mark.parametrize("name", ["inc_20240101_aaaaaa", "nothing-like-it", "open", "../../etc", "<b>"])
def test_an_incident_that_is_not_there_is_unknown(name: str, operator: Any) -> None:
    one = operator()
    assert [f.status for f in one.known(name).findings] == [UNKNOWN] and one.told(name).status is UNKNOWN
    message = communication.alert(one.known(name).frame)
    assert message.text == "" and "no INCIDENT ALERT: what is known about the incident could not be found" in plain(
        message
    )
    planned = one.run.propose(communication.post, message=message.plain, verify=[])
    assert not planned.plans and "no incident is named" not in planned.reason


def test_an_incident_that_is_open_and_not_named_is_a_warning(operator: Any, incident: Any) -> None:
    one = operator()
    for found in (only_one(one.known().findings), one.told()):
        assert (found.status, found.object) == (WARNING, incident.id) and incident.title in found.message
        assert found.next.startswith(f"name it: --incident {incident.id}")
    assert incident.id in {f.object for f in one.known(issue="it is slow").findings if f.status is WARNING}
    named = {f.object for f in one.known(incident).findings}
    close_incident(incident, "over", author="alice", redactor=Redactor([]))
    assert incident.id not in named and only_one(one.known().findings).status is OK and one.told().status is OK


def test_a_post_mortem_of_no_incident_is_a_warning_while_one_is_open(operator: Any, incident: Any) -> None:
    one = operator()
    found = only_one(one.run.ask(postmortem.cited, story=None).findings)
    assert (found.status, found.object) == (WARNING, incident.id) and incident.title in found.message
    close_incident(incident, "over", author="alice", redactor=Redactor([]))
    assert only_one(one.run.ask(postmortem.cited, story=None).findings).status is OK


def test_open_means_the_one_that_is_open(operator: Any, incident: Any) -> None:
    assert f"({'runbook incident show'} {incident.id})" in operator().text("alert", "open")


def test_what_nobody_says_of_an_incident_is_refused(operator: Any) -> None:
    with pytest.raises(UsageError, match="nobody says colour of an incident"):
        operator().known(colour="red")
    assert "severity" in SAID


def test_a_message_that_there_is_not_is_refused_by_name(operator: Any) -> None:
    with pytest.raises(UsageError, match="no message 'goodbye'; there are: alert, update, resolved"):
        communication.due(operator().known(issue="x").frame, kind="goodbye")


# --- told in time


def judged(severity: str, *moments: tuple[str, int], **known: Any) -> Finding:
    """Judge moments that were so many minutes ago."""
    now = datetime.now(UTC)
    rows = [(what, now - timedelta(minutes=ago), "", severity) for what, ago in (*moments, ("now", 0))]
    frame = pd.DataFrame(rows, columns=["what", "at", "how", "severity"])
    frame.attrs = known
    found: Finding = only_one(communication.updates.check(frame))
    return found


@pytest.mark.parametrize(
    ("severity", "ago", "late"),
    [("P0", 14, False), ("P0", 16, True), ("P1", 14, False), ("P1", 16, True), ("P2", 119, False), ("P2", 121, True)],
)
def test_an_update_is_overdue_by_its_severity(severity: str, ago: int, late: bool) -> None:
    found = judged(severity, ("started", 500), ("alert", 400), ("update", ago))
    assert found.status is (WARNING if late else OK)
    assert ("the update is overdue for 1 minute" if late else "the next update is due at") in found.message


def test_an_incident_of_which_nobody_was_told_is_a_warning() -> None:
    found = judged("P1", ("started", 7))
    assert found.status is WARNING and "nobody was told for 7 minutes" in found.message
    plan = "runbook run incident-communication --target {target} -p send=alert"
    copied = "send INCIDENT ALERT: copy its text, which stands under `to be copied`, and say when: -p updated=TIME"
    assert found.next == copied, "where there is no webhook, nothing can be planned"
    hooked = judged("P1", ("started", 7), webhook=True, incident="inc_x")
    assert hooked.next == f"{copied}, or plan it: {plan} --incident inc_x"


def test_an_end_that_was_not_told_is_a_warning_and_one_that_was_is_well() -> None:
    found = judged("P1", ("started", 90), ("update", 60), ("ended", 50))
    assert found.status is WARNING and found.next.startswith("send INCIDENT RESOLVED: ")
    # Told in the same minute as it ended: that it ended was not told by it.
    assert judged("P1", ("started", 90), ("update", 0), ("ended", 0)).next.startswith("send INCIDENT RESOLVED: ")
    assert judged("P1", ("started", 90), ("update", 60), ("ended", 50), ("resolved", 49)).status is OK
    assert judged("P1", ("started", 90), ("ended", 10), ("told", 9)).status is OK


def test_a_message_that_was_sent_by_hand_counts(operator: Any, incident: Any) -> None:
    one = operator()
    by_hand = one.known(incident, updated="2024-01-01 14:45").frame
    assert (communication.due(one.known(incident).frame).kind, communication.due(by_hand).kind) == ("alert", "update")
    assert one.told(incident).status is WARNING
    now = datetime.now(UTC)
    assert one.told(incident, updated=f"{now:%Y-%m-%d %H:%M}").status is OK


def test_a_profile_that_wants_more_updates_is_told_so_in_the_message_as_well(operator: Any, incident: Any) -> None:
    one = operator(more='[thresholds."communication.updates"]\np1 = 5\n')
    assert "Updates: Every 5 minutes" in one.text("alert", incident)
    ago = datetime.now(UTC) - timedelta(minutes=7)
    assert "overdue" in one.told(incident, updated=f"{ago:%Y-%m-%d %H:%M}").message


# --- posted by a plan alone


def test_nothing_is_posted_without_the_token_of_a_plan(operator: Any, incident: Any, hook: Hook) -> None:
    one = operator()
    planned = one.propose(incident)
    assert len(planned.plans) == 1 and not hook.bodies
    assert "nothing was changed" in plain(one.run.apply(planned, "")) and not hook.bodies


def test_the_plan_shows_the_exact_message_and_of_the_address_only_the_host(
    operator: Any, incident: Any, hook: Hook, tmp_path: Path
) -> None:
    one = operator()
    planned = one.propose(incident, impact="it's <b>bad</b> & worse")
    plan = planned.plans[0].plan
    body = plan.steps[0].arguments["body"]
    assert plan.steps[0].shown.endswith('"$RB_WEBHOOK"') and plan.summary.endswith(f"to 127.0.0.1:{hook.port}")
    assert "IRREVERSIBLE: what was read cannot be taken back" in plain(planned)
    everything = shown(planned) + text_of(tmp_path / "state")
    assert "PLANTED" not in everything and "plantedWebhook" not in everything and hook.url not in everything
    # By hand it is the same request.
    ended = subprocess.run(
        ["bash", "-c", plan.steps[0].shown.replace("curl --json", "curl -s -H content-type:application/json -d")],
        env={**os.environ}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0 and hook.bodies == [body.encode()] and hook.paths == [SECRET_PATH]


def test_with_its_token_it_is_posted_once_and_everybody_is_told(operator: Any, incident: Any, hook: Hook) -> None:
    one = operator()
    done = one.post(incident, impact="logins fail")
    assert hook.paths == [SECRET_PATH] and hook.text().startswith("🚨 INCIDENT ALERT\n\nSeverity: P1\n")
    assert json.loads(hook.bodies[0]).keys() == {"text"}
    record = done.plans[0]
    assert (record.state, record.helped.answer, outcome(done).status) == (PlanState.VERIFIED, "helped", OK)
    assert not done.to_copy, "it was delivered: copied as well, it would be told twice"
    assert f"127.0.0.1:{hook.port} answered 200" in record.journal[-2].told
    assert one.told(incident).status is OK
    used = one.run.apply(done, token_of(record.plan))
    assert "this token was used" in outcome(used).message and len(hook.bodies) == 1


def test_alert_then_updates_then_the_end_each_when_it_is_due(operator: Any, incident: Any, hook: Hook) -> None:
    one = operator()
    for _ in range(3):
        one.post(incident)
    closed = close_incident(incident, "pool enlarged", author="alice", redactor=Redactor([]))
    one.post(closed)
    texts = [json.loads(body)["text"].splitlines()[0] for body in hook.bodies]
    assert texts == ["🚨 INCIDENT ALERT", "🔄 INCIDENT UPDATE 1", "🔄 INCIDENT UPDATE 2", "✅ INCIDENT RESOLVED"]
    assert "its end was told" in one.told(incident).message
    again = one.propose(closed)
    assert (
        not again.plans
        and not again.findings
        and "INCIDENT RESOLVED of" in again.reason
        and "was posted already" in again.reason
    )


def test_no_second_alert_is_planned(operator: Any, incident: Any) -> None:
    one = operator()
    one.post(incident)
    again = one.propose(incident, "alert")
    assert not again.plans and "was posted already" in again.reason


def test_a_plan_is_stale_once_another_message_went_out(operator: Any, incident: Any, hook: Hook) -> None:
    one = operator()
    first, second = one.propose(incident), one.propose(incident)
    one.run.apply(first, token_of(first.plans[0].plan))
    stale = one.run.apply(second, token_of(second.plans[0].plan))
    assert "the plan is stale: messages was" in outcome(stale).message and len(hook.bodies) == 1


def test_the_end_is_not_planned_while_users_are_not_served(operator: Any, incident: Any) -> None:
    from runbook import api

    one = operator()
    one.run.findings.replace("api.user_request", [BROKEN])
    planned = one.propose(incident, "resolved", first=[api.user_request])
    assert not planned.plans and "first api.user_request: /documents: answered 500" in planned.reason
    assert not planned.to_copy, "nor is it to be copied"


def test_without_a_webhook_the_text_is_to_be_copied(operator: Any, incident: Any) -> None:
    planned = operator(webhook=None).propose(incident)
    assert (
        not planned.plans and "names no [webhook]: copy the text, which stands under `to be copied`" in planned.reason
    )
    assert planned.to_copy.startswith("🚨 INCIDENT ALERT\n"), "it reaches whoever called the command"


def test_a_target_that_is_read_only_posts_nothing(operator: Any, incident: Any) -> None:
    planned = operator(webhook=None, more='read_only = true\n[webhook]\nurl = "env:RB_WEBHOOK"').propose(incident)
    assert not planned.plans and "says read_only" in planned.reason


def test_posting_waits_for_no_change_of_the_target_and_silences_no_alert(
    operator: Any, incident: Any, hook: Hook
) -> None:
    from runbook.plans.lock import lock

    more = '[alertmanager]\nurl = "http://127.0.0.1:1"\nmatchers = { service = "api" }'
    one = operator(more=more)
    with lock("hooked", "pln_of_another"):
        done = one.post(incident)
    assert [step.act for step in done.plans[0].plan.steps] == ["post"] and len(hook.bodies) == 1


_POSTS = """
import sys, time
from runbook.plans.lock import lock
with lock(*sys.argv[1:]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_message_that_another_process_posts_at_this_moment_was_not_cut_short(
    operator: Any, incident: Any, hook: Hook
) -> None:
    plan = operator().propose(incident).plans[0].plan
    argv = [sys.executable, "-c", _POSTS, name_of(plan), plan.id]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        note(plan, Entry(at=stamp(datetime.now(UTC)), event="confirmed"))
        note(plan, Entry(at=stamp(datetime.now(UTC)), event="intent", step=1))
        assert not half_done([plan])
        other.kill()
    assert [one.id for one, _ in half_done([plan])] == [plan.id]


def test_generic_json_has_every_fact_and_null_for_what_is_not_known(operator: Any, incident: Any, hook: Hook) -> None:
    operator(webhook='kind = "json"').post(incident, impact="logins fail")
    body = json.loads(hook.bodies[0])
    assert (body["schema"], body["message"], body["severity"], body["incident"]) == (1, "alert", "P1", incident.id)
    assert body["impact"] == "logins fail" and body["root_cause"] is None and body["text"].startswith("🚨")
    assert body["next_update"].endswith(" UTC") and body["contacts"] == [] and body["found"] == []


# --- a webhook that does not take it

ELSEWHERE = (302, b"", {"location": "http://elsewhere.example/secret-place"})


@pytest.mark.parametrize(
    ("answers", "requests", "says"),
    [
        ([500], 2, "answered 500, and 500 when it was tried once more"),
        ([503, 500], 2, "answered 503, and 500 when it was tried once more"),
        ([ELSEWHERE], 1, "redirects to elsewhere.example (302), which is not followed"),
        ([(307, b"", {"location": "//["})], 1, "redirects (307), which is not followed"),
        ([(404, b"no_service", {})], 1, "answered 404 (no_service)"),
        ([(410, b"channel_is_archived", {})], 1, "answered 410 (channel_is_archived)"),
        ([(403, b"<html>" + SECRET_PATH.encode() * 9, {})], 1, "answered 403;"),
        ([429], 1, "answered 429"),
    ],
    ids=["500", "503-500", "redirect", "bad-redirect", "404", "archived", "echo", "429"],
)  # fmt: skip
def test_what_was_not_delivered_is_said_with_the_reason_and_can_be_copied(
    answers: list[Any], requests: int, says: str, operator: Any, incident: Any, hook: Hook, tmp_path: Path
) -> None:
    hook.answers = answers
    one = operator()
    done = one.post(incident)
    found = outcome(done)
    assert done.plans[0].state is PlanState.FAILED and found.status is CRITICAL
    assert f"not delivered: 127.0.0.1:{hook.port} {says}" in found.message and "to be copied" in found.message
    assert len(hook.bodies) == requests and one.told(incident).status is WARNING
    everything = shown(done) + text_of(tmp_path / "state")
    assert "PLANTED" not in everything and "secret-place" not in everything
    assert one.propose(incident).plans, "it can be tried again"
    assert done.to_copy.startswith("🚨 INCIDENT ALERT\n")


def test_an_error_that_is_over_at_the_second_try_is_delivered_and_said_so(
    operator: Any, incident: Any, hook: Hook
) -> None:
    hook.answers = [502, 200]
    done = operator().post(incident)
    told = done.plans[0].journal[-2].told
    assert done.plans[0].state is PlanState.VERIFIED and len(hook.bodies) == 2
    assert "answered 200 when it was tried once more, after 502: it may have arrived twice" in told


@pytest.mark.parametrize("what", ["hang", "break", "drip"])
def test_what_broke_off_in_the_middle_is_not_known_and_is_not_sent_again(
    what: str, operator: Any, incident: Any, hook: Hook, runbook: Any
) -> None:
    hook.answers = [what]
    one = operator()
    done = one.post(incident)
    found = outcome(done)
    assert done.plans[0].state is PlanState.UNKNOWN and found.status is UNKNOWN
    assert "It may have arrived: look there before it is sent again" in found.message and len(hook.bodies) == 1
    again = one.run.apply(done, token_of(done.plans[0].plan))
    assert "so it is not gone on with" in plain(again) and len(hook.bodies) == 1
    plan = done.plans[0].id
    advice = f"look there whether it arrived, then close it: `runbook plans close {plan} WHAT-YOU-FOUND`"
    told = [outcome(done), outcome(again), *one.run.findings.of("plans.half_done")]
    assert len(told) == 3 and all(found.next.startswith(advice) for found in told), told
    assert not any("curl" in found.message or "did not help" in found.message for found in told), told
    assert done.to_copy.startswith("🚨"), "it is to be copied where it did not arrive"
    path = plans_folder() / plan / "plan.json"
    path.write_bytes(encoded(msgspec.structs.replace(done.plans[0].plan, expires="2024-01-01T00:00:00.000Z")))
    late = one.run.apply(done, token_of(next(all_plans())))
    assert outcome(late).next.startswith(advice) and "nothing more was changed" in outcome(late).message
    shown_plan = runbook("plans", "show", plan).stdout
    assert f"its token does not go on with it: {advice}" in shown_plan


def test_a_message_that_may_not_have_arrived_is_told_in_runs_about_its_incident_alone(
    operator: Any, incident: Any, hook: Hook
) -> None:
    hook.answers = ["break", 200]
    operator().post(incident)
    another = open_incident("queue backup", "P2", author="alice", redactor=Redactor([]))
    one = operator()
    one.post(another)
    assert not one.run.findings.of("plans.half_done") and one.run.findings.verdict is not UNKNOWN
    one = operator()
    one.propose(incident)
    assert [found.status for found in one.run.findings.of("plans.half_done")] == [UNKNOWN]


def test_a_webhook_that_refuses_has_surely_not_got_it(
    operator: Any, incident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("RB_WEBHOOK", f"http://127.0.0.1:{free.getsockname()[1]}{SECRET_PATH}")
        done = operator().post(incident)
    assert done.plans[0].state is PlanState.FAILED
    assert "it refuses connections: nothing listens there" in outcome(done).message


def test_a_webhook_whose_name_is_not_known_has_surely_not_got_it(
    operator: Any, incident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RB_WEBHOOK", f"http://webhook.invalid{SECRET_PATH}")
    done = operator(webhook="timeout = 5.0").post(incident)
    assert done.plans[0].state is PlanState.FAILED and "not delivered: webhook.invalid" in outcome(done).message


def test_what_was_given_up_before_it_was_sent_is_never_sent_later(
    operator: Any, incident: Any, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved, looked_up = threading.Event(), socket.getaddrinfo

    def slowly(*arguments: Any, **more: Any) -> Any:
        resolved.wait(20)
        return looked_up(*arguments, **more)

    monkeypatch.setenv("RB_WEBHOOK", f"http://localhost:{hook.port}{SECRET_PATH}")
    one = operator()
    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    done = one.post(incident)
    resolved.set()
    assert done.plans[0].state is PlanState.FAILED and "no answer within 0.6 s" in outcome(done).message
    time.sleep(0.3)
    assert not hook.bodies


def test_a_server_that_never_accepts_has_surely_not_got_it(
    operator: Any, incident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for one in (first, second):
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        monkeypatch.setenv("RB_WEBHOOK", f"http://127.0.0.1:{full.getsockname()[1]}{SECRET_PATH}")
        done = operator().post(incident)
    assert done.plans[0].state is PlanState.FAILED and "no answer within 0.6 s" in outcome(done).message


def test_tls_that_is_not_trusted_is_not_used_and_that_of_the_profile_is(
    operator: Any, incident: Any, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    told = Hook(scheme="https")
    server = serve(told, context)
    try:
        monkeypatch.setenv("RB_WEBHOOK", told.url)
        done = operator(webhook="timeout = 5.0").post(incident)
        assert done.plans[0].state is PlanState.FAILED and not told.bodies
        assert "its certificate or TLS is not accepted" in outcome(done).message
        planned = operator(webhook=f'ca_file = "{tmp_path / "ca.pem"}"').propose(incident)
        assert "without encryption" not in plain(planned)
        trusted = operator(webhook=f'ca_file = "{tmp_path / "ca.pem"}"').post(incident)
        assert trusted.plans[0].state is PlanState.VERIFIED and told.text().startswith("🚨")
    finally:
        server.shutdown()
        server.server_close()


def test_a_ca_file_that_is_not_there_is_said(operator: Any, incident: Any, hook: Hook) -> None:
    planned = operator(webhook='ca_file = "/nowhere/ca.pem"').propose(incident)
    assert not planned.plans and "the CA file /nowhere/ca.pem cannot be used" in planned.reason


def test_a_webhook_that_was_changed_to_another_host_makes_the_plan_stale(
    operator: Any, incident: Any, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = operator()
    planned = one.propose(incident)
    monkeypatch.setenv("RB_WEBHOOK", f"http://localhost:{hook.port}{SECRET_PATH}")
    done = one.run.apply(planned, token_of(planned.plans[0].plan))
    assert "the plan is stale: host was 127.0.0.1" in outcome(done).message and not hook.bodies


# --- the address is a secret


@pytest.mark.parametrize(
    "value",
    [
        "ftp://x/y",
        "hooks.example.com/T/B",
        "http://",
        "http://[",
        "http://h:99999/x",
        "http://h/ö",
        "http://h /x",
        "x" * 9,
    ],
)
def test_an_address_that_is_none_plans_nothing_and_is_not_repeated(
    value: str, operator: Any, incident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RB_WEBHOOK", value)
    planned = operator().propose(incident)
    assert not planned.plans and planned.reason == "what env:RB_WEBHOOK holds is no address of HTTP"


@pytest.mark.parametrize(
    ("reference", "address"),
    [
        ("env:HOOK_URL", '"$HOOK_URL"'),
        ("file:/run/secrets/the hook", "\"$(cat '/run/secrets/the hook')\""),
        ("file:~/.config/hook", '"$(cat ~/.config/hook)"'),
        ("keyring:runbook/hook url", "\"$(keyring get runbook 'hook url')\""),
    ],
)
def test_by_hand_the_address_is_taken_from_where_it_is_kept(reference: str, address: str) -> None:
    assert by_hand(reference, "{}") == f"curl --json '{{}}' {address}"


def test_an_address_that_is_not_set_is_said_by_its_reference(
    operator: Any, incident: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RB_WEBHOOK")
    assert "the environment variable RB_WEBHOOK is not set" in operator().propose(incident).reason


def test_a_literal_address_in_a_profile_is_refused_and_not_repeated(profile: Callable[..., str]) -> None:
    with pytest.raises(UsageError) as refused:
        load_target(profile(f'[webhook]\nurl = "https://hooks.example.com{SECRET_PATH}"'))
    assert "write where it is instead: env:NAME" in str(refused.value) and "PLANTED" not in str(refused.value)


@pytest.mark.parametrize("text", ["kind = 'email'", "timeout = 0", "timeout = 600", "colour = 'red'"])
def test_a_webhook_of_a_profile_is_read_strictly(text: str, profile: Callable[..., str]) -> None:
    with pytest.raises(UsageError):
        load_target(profile(f'[webhook]\nurl = "env:RB_WEBHOOK"\n{text}'))


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com/services/T0PLANTED1/B0PLANTED2/plantedWebhookToken4567",
        "https://chat.example.com/hooks/plantedwebhooktoken",
        "https://in.example.com/v1?key=plantedWebhookToken4567",
        "https://user:plantedWebhookPass@in.example.com/x",
        "http://in.example.com:8080/planted",
    ],
)
def test_whatever_of_an_address_is_secret_is_scrubbed_and_its_host_is_not(
    url: str, profile: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RB_WEBHOOK", url)
    target = load_target(profile('[webhook]\nurl = "env:RB_WEBHOOK"'))
    redactor = Redactor(target.secret_values())
    tail = url.partition(".com")[2]
    for text in (url, f"POST {tail} failed", f"told of {url!r}", json.dumps({"x": url})):
        assert "planted" not in redactor.text(text).lower(), redactor.text(text)
    host = re.sub(r".*@|.*//|(\.com(:8080)?).*", r"\1", url)
    assert redactor.text(f"posted to {host}: services") == f"posted to {host}: services"


def test_a_message_that_holds_a_secret_is_scrubbed_before_it_is_shown_or_planned(
    operator: Any, incident: Any, hook: Hook, tmp_path: Path
) -> None:
    one = operator()
    said = {"impact": "login with postgresql://app:hunter2Planted@db/x fails", "doing": f"see {hook.url}"}
    text = one.text("alert", incident, **said)
    assert "hunter2" not in text and "PLANTED" not in text and "[redacted: a password in an address]" in text
    planned = one.propose(incident, **said)
    assert planned.plans and "hunter2" not in shown(planned) + text_of(tmp_path / "state")


# --- hostile texts

_MENTIONS = [
    "<!channel>",
    "<!here|x>",
    "<!everyone>",
    "<@U12345>",
    "<!subteam^S1>",
    "<https://evil.example|status page>",
]


@pytest.mark.parametrize("text", _MENTIONS)
def test_slack_reads_nothing_of_a_text_as_a_mention_or_a_hidden_link(text: str, operator: Any) -> None:
    message = communication.alert(operator().known(issue=f"down {text} & out").frame)
    told = payload("slack", message.plain)["text"]
    assert not re.search(r"<[@!#h]", told) and "&lt;" in told and "&amp; out" in told


@pytest.mark.parametrize("text", ["@channel", "@here", "@everyone", "@Channel", "@HERE", "@all"])
def test_nobody_is_called_by_a_name_for_everybody(text: str, operator: Any) -> None:
    told = operator().text("alert", issue=f"down {text}!", owner="@oncall-engineer")
    assert text not in told and "(at)" in told and "Investigating: @oncall-engineer" in told


@pytest.mark.parametrize(
    "text",
    [
        "down\nSeverity: P3",
        "down\r\nImpact: none",
        "down\u2028Impact: none",
        "down\x0bImpact: none",
        "\u202eevil\u2066\x1b[31m",
    ],
)
def test_no_text_makes_a_line_of_its_own_or_turns_one_around(text: str, operator: Any) -> None:
    told = operator().text("alert", issue=text, severity="P1")
    lines = [line for line in told.splitlines() if line.startswith(("Severity:", "Impact:"))]
    assert lines == ["Severity: P1", "Impact: not known yet"]
    assert not set(told) & set("\u202e\u2066\u2028\x0b\x1b\r")


def test_a_long_text_is_cut(operator: Any) -> None:
    told = operator().text("alert", issue="x" * 5000)
    assert len(told) < 1500 and "x…" in told


@pytest.mark.parametrize("text", payloads("http://127.0.0.1:9"))
def test_html_in_a_text_is_escaped(text: str, operator: Any) -> None:
    message = communication.alert(operator().known(issue=text).frame)
    page = message._repr_mimebundle_()["text/html"]
    assert re.findall(r"<[^>]*>", page) == ["<pre>", "</pre>"]


# --- from what runs found


def kept_run(archive: Path, incident: Any, minute: int, findings: list[Finding], plans: Any = (), **more: Any) -> str:
    """Leave a run of the incident in the archive, sealed; return its id."""
    run_id = new_run_id(more.get("notebook", "api-down"), datetime.now(UTC) + timedelta(minutes=minute))
    folder = run_folder(archive, run_id)
    folder.mkdir(parents=True)
    began = f"{datetime.now(UTC) + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ}"
    record = RunRecord(
        notebook=more.get("notebook", "api-down"), target=more.get("target", "hooked"), run_id=run_id,
        status="CRITICAL", exit=2, error=None, seconds=1.0, evidence=str(folder), findings=findings,
        plans=list(plans), incident=incident.id, started=began,
    )  # fmt: skip
    (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(record, enc_hook=plain_value), indent=1))
    if more.get("sealed", "yes") == "yes":
        told = msgspec.to_builtins(record, enc_hook=plain_value)
        source = Source(name="api-down.ipynb", sha256="0" * 64)
        seal_run(
            archive,
            Ended(
                record=told,
                source=source,
                parameters=more.get("said", {}),
                identity={},
                clock_offsets={},
                redactions={},
            ),
        )
    return run_id


def finding(check: str, obj: str, status: Status, message: str, **more: str) -> Finding:
    return Finding(check=check, object=obj, status=status, message=message, **more)


def test_the_worst_of_the_last_look_of_each_check_is_told_with_its_run(
    operator: Any, incident: Any, archive: Path
) -> None:
    slots = finding("postgres.connection_slots", "slots", WARNING, "36 of 37 used")
    gone = finding("redis.reachable", "Redis", CRITICAL, "refuses connections")
    kept_run(archive, incident, 1, [gone, finding("docker.images", "api", UNKNOWN, "could not be asked")])
    explained = finding("api.readiness", "service", CRITICAL, "not ready", explained_by="postgres.reachable")
    own = finding("communication.updates", "updates", WARNING, "nobody was told")
    last = kept_run(archive, incident, 2, [slots, explained, own, finding("redis.reachable", "Redis", OK, "PONG")])
    kept_run(archive, incident, 3, [finding("host.disk", "/", CRITICAL, "full")], sealed="no")
    one = operator()
    told = [line for line in one.text("alert", incident).splitlines() if line.startswith("Found: ")]
    assert told == ["Found: WARNING postgres.connection_slots: slots: 36 of 37 used"]
    assert one.known(incident).frame.set_index("fact").loc["found_1", "source"] == last


def test_a_run_that_is_not_what_was_sealed_is_named_and_nothing_of_it_is_told(
    operator: Any, incident: Any, archive: Path
) -> None:
    run_id = kept_run(archive, incident, 1, [finding("redis.reachable", "Redis", WARNING, "refuses connections")])
    path = run_folder(archive, run_id) / "run.json"
    path.write_text(path.read_text().replace("refuses connections", "is much too slow"))
    one = operator()
    assert "much too slow" not in one.text("alert", incident)
    (told,) = (found for found in one.known(incident).findings if found.object == run_id)
    assert told.status is CRITICAL and "not what was sealed" in told.message
    assert f"runbook evidence verify {run_id}" in told.next


def test_no_more_than_three_findings_are_told_the_worst_first(operator: Any, incident: Any, archive: Path) -> None:
    many = [finding("host.disk", f"/{n}", CRITICAL if n == 7 else WARNING, "full") for n in range(9)]
    kept_run(archive, incident, 1, many)
    kept_run(archive, incident, 2, [finding("host.disk", "/other", CRITICAL, "full")], target="another")
    told = [line for line in operator().text("alert", incident).splitlines() if line.startswith("Found: ")]
    assert len(told) == 3 and [line.split()[1] for line in told] == ["CRITICAL", "CRITICAL", "WARNING"]


def test_when_all_is_well_it_is_told_what_users_see(operator: Any) -> None:
    alive, served = (
        finding("api.liveness", "service", OK, "alive"),
        finding("api.user_request", "/x", OK, "answered 200"),
    )
    assert "Now: well: /x: answered 200" in operator().text("update", seen=[alive, served], severity="P1")
    down = finding("api.liveness", "service", CRITICAL, "refuses connections")
    assert "Now: service: refuses connections" in operator().text("update", seen=[served, down], severity="P1")


def test_what_is_seen_now_is_not_told_twice(operator: Any, incident: Any, archive: Path) -> None:
    kept_run(archive, incident, 1, [BROKEN])
    text = operator().text("alert", incident, [BROKEN])
    assert text.count("answered 500") == 1 and "Now: /documents: answered 500" in text


def test_the_change_that_helped_is_the_resolution_until_somebody_says_another(
    operator: Any, incident: Any, archive: Path
) -> None:
    one = operator()
    planned = one.propose(incident, "update").plans[0]
    plan = msgspec.structs.replace(planned.plan, change="docker.restart", summary="restart shrimp-api")
    helped = Helped(answer="helped", changed=[], left=[])
    record = msgspec.structs.replace(planned, plan=plan, summary=plan.summary, state=PlanState.VERIFIED, helped=helped)
    kept_run(archive, incident, 1, [], [record])
    assert "Resolution: restart shrimp-api (verified; it helped)" in one.text("resolved", incident)
    assert "Resolution: luck" in one.text("resolved", incident, resolution="luck")
    closed = close_incident(incident, "restarted", author="alice", redactor=Redactor([]))
    assert "Resolution: restarted" in one.text("resolved", closed)


def test_what_was_told_before_need_not_be_said_again(operator: Any, incident: Any) -> None:
    one = operator()
    one.post(incident, impact="logins fail", component="the login")
    text = one.text("update", incident)
    assert "Impact: logins fail" in text and "Component: the login" in text
    assert "Impact: all is lost" in one.text("update", incident, impact="all is lost")


@pytest.mark.parametrize("webhook", ["timeout = 0.6", None], ids=["planned", "no-webhook"])
def test_what_was_said_for_a_message_that_was_not_delivered_is_kept_for_the_next(
    webhook: str | None, operator: Any, incident: Any, archive: Path, hook: Hook
) -> None:
    hook.answers = [500]
    said = {"impact": "logins fail", "root_cause": "the pool", "doing": "restarting", "severity": "p0"}
    if webhook is not None:
        assert operator(webhook).post(incident, **said).plans[0].state is PlanState.FAILED
    else:
        told_to = kept_run(archive, incident, 1, [], notebook="incident-communication", said=said)
    one = operator(webhook)
    text = one.text("update", incident)
    assert "Impact: logins fail" in text and "Severity: P0" in text and "Updates: Every 15 minutes" in text
    assert re.search(r"Being done: restarting \(\d{4}-\d\d-\d\d \d\d:\d\d UTC\)", text), "it is of its hour"
    rows = one.known(incident).frame.set_index("fact")
    by = f"said in {told_to}" if webhook is None else "said for the message of pln_"
    assert rows.loc["impact", "source"].startswith(by)
    bad = {found.object for found in one.known(incident).findings if found.bad}
    assert bad == {"response"}, "a P0 is to be answered at once"
    assert "Impact: not known yet" in one.text("update", incident, impact="-"), "it can be taken back"
    closed = close_incident(incident, "pool enlarged", author="alice", redactor=Redactor([]))
    ended = one.text("resolved", closed)
    assert "Impact: logins fail" in ended and "Root Cause: the pool" in ended


def test_what_the_incident_was_told_later_goes_before_what_was_said_for_a_message(operator: Any, incident: Any) -> None:
    one = operator()
    one.propose(incident, severity="P0", owner="bob", component="the login")
    time.sleep(0.01)
    add_note(incident, "not so bad", author="alice", redactor=Redactor([]), severity="P2")
    text = one.text("update", incident)
    assert "Severity: P2" in text and "Investigating: bob" in text and "Component: the login" in text
    assert "Updates: Every 2 hours" in text


def test_what_was_said_and_is_none_any_more_is_as_if_it_had_not_been_said(
    operator: Any, incident: Any, archive: Path
) -> None:
    kept_run(archive, incident, 0, [], notebook="incident-communication", said={"ended": "yesterday", "impact": 7})
    assert "Impact: not known yet" in operator().text("alert", incident)


def test_a_note_of_the_incident_is_told_nobody(operator: Any, incident: Any) -> None:
    add_note(incident, "I suspect bob's deployment", author="alice", redactor=Redactor([]))
    text = operator().text("update", incident)
    assert "bob" not in text and "Being done: not known yet" in text


def test_what_a_post_mortem_found_is_no_part_of_the_trouble(operator: Any, incident: Any, archive: Path) -> None:
    cited = finding("postmortem.cited", "run_x", CRITICAL, "broken")
    kept_run(archive, incident, 1, [cited, finding("host.disk", "/", CRITICAL, "full")], notebook="post-mortem")
    kept_run(archive, incident, 2, [finding("postmortem.sections", "sections", WARNING, "nothing is written")])
    assert "Found: " not in operator().text("alert", incident)


def test_while_nobody_is_served_less_than_a_p0_is_a_warning_that_says_how_to_raise_it(
    operator: Any, incident: Any, archive: Path
) -> None:
    gone = finding("postgres.reachable", "PostgreSQL", CRITICAL, "refuses connections")
    kept_run(archive, incident, 1, [gone])
    one = operator()
    found = {f.object: f for f in one.known(incident).findings}["severity"]
    assert (
        found.status is WARNING and "postgres.reachable is CRITICAL: PostgreSQL: refuses connections" in found.message
    )
    assert found.next == f"raise it: runbook incident note {incident.id} TEXT --severity P0"
    raised = add_note(incident, "", author="alice", redactor=Redactor([]), severity="P0")
    assert {f.object: f for f in one.known(raised).findings}["severity"].status is OK
    kept_run(archive, incident, 2, [finding("postgres.reachable", "PostgreSQL", OK, "answers")])
    assert {f.object: f for f in one.known(incident, severity="P1").findings}["severity"].status is OK
    seen = one.run.ask(communication.incident, incident=incident.id, said={"severity": "P1"}, seen=[BROKEN])
    assert {f.object: f for f in seen.findings}["severity"].status is WARNING, "what is seen now counts"
    alone = one.run.ask(communication.incident, said={"severity": "P2"}, seen=[BROKEN])
    assert {f.object: f for f in alone.findings}["severity"].next == "say it: -p severity=P0"


def test_what_was_asked_anew_in_this_run_is_not_told_as_a_run_found_it(
    operator: Any, incident: Any, archive: Path
) -> None:
    kept_run(archive, incident, 1, [BROKEN])
    one = operator()
    well = finding("api.user_request", "/documents", OK, "answered 200")
    known = one.run.ask(communication.incident, incident=incident.id, seen=[well])
    text = communication.update(known.frame, [well]).text
    assert "answered 500" not in text and "Now: well: /documents: answered 200" in text


def test_once_it_is_over_its_end_alone_is_to_be_told(operator: Any, incident: Any) -> None:
    closed = close_incident(incident, "pool enlarged", author="alice", redactor=Redactor([]))
    one = operator()
    for kind in ("alert", "update"):
        message = communication.due(one.known(closed).frame, kind=kind)
        assert message.text == "" and "it is over since" in plain(message) and "INCIDENT RESOLVED" in plain(message)
        assert "it is over since" in one.propose(closed, kind).reason
    assert communication.due(one.known(closed).frame).text.startswith("✅ INCIDENT RESOLVED")


def test_an_archive_that_something_strange_lies_in_is_unknown(operator: Any, incident: Any, archive: Path) -> None:
    (archive / "runs" / "strange").mkdir()
    found = only_one(operator().known(incident).findings)
    assert found.status is UNKNOWN and "strange" in found.message


def test_headless_the_findings_of_the_incidents_runs_are_told_and_nothing_secret_is_archived(
    run_json: Any, profile: Any, incident: Any, hook: Hook, archive: Path,
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("RB_WEBHOOK", hook.url)
    target = profile(
        '[webhook]\nurl = "env:RB_WEBHOOK"\n[api]\nurl = "http://127.0.0.1:1"\n[redis]\nurl = "redis://127.0.0.1:1"\n',
        "hooked",
    )
    status, document = run_json("api-down", "--target", target, "--incident", incident.id)
    assert status == 2, only(document).error
    arguments = ["incident-communication", "--target", target, "--incident", "open", "-p", "impact=nobody can log in"]
    status, document = run_json(*arguments)
    record = only(document)
    assert status in (2, 3) and record.error is None and not hook.bodies
    plan = record.plans[0]
    text = json.loads(plan.plan.steps[0].arguments["body"])["text"]
    assert (
        "Found: CRITICAL redis.reachable: Redis:" in text
        and "Now: service: http" in text
        and "Impact: nobody can log in" in text
    )
    status, document = run_json(*arguments, "--confirm", plan.token)
    done = only(document)
    assert done.plans[0].state is PlanState.VERIFIED and hook.text() == text
    archived = b"".join(path.read_bytes() for path in archive.rglob("*") if path.is_file()).decode(errors="replace")
    assert "INCIDENT ALERT" in archived
    for secret in (hook.url, SECRET_PATH, "plantedWebhookToken4567", "T0PLANTED1", plan.token):
        assert secret not in archived
    # The end is told after it was closed, and belongs to it as well.
    close_incident(incident, "restarted", author="alice", redactor=Redactor([]))
    served = load_target("sandbox").api
    assert served is not None
    profile(f'[api]\nurl = "{served.url}"\n[webhook]\nurl = "env:RB_WEBHOOK"', "served")
    told = only(run_json("incident-communication", "--target", "served", "--incident", incident.id)[1])
    ended = only(run_json("incident-communication", "--target", "served", "--confirm", told.plans[0].token)[1])
    assert ended.incident == incident.id and "INCIDENT RESOLVED" in hook.text()
    # What another operator posted is known from the archive, where the key is trusted that sealed it.
    public = keys_folder() / "evidence.pub"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of-another"))
    assert not list(all_plans()) and signer()
    one = Operator("hooked")
    (untold, *_) = [found for found in one.known(incident).findings if found.object == record.run_id]
    assert untold.status is UNKNOWN and f"put its public key into {keys_folder()} as NAME.pub" in untold.message
    (keys_folder() / "alice.pub").write_bytes(public.read_bytes())
    assert one.told(incident).status is OK
    one.run.close()


def test_headless_the_text_stands_on_the_terminal_to_be_copied(
    runbook: Any, run_json: Any, profile: Any, incident: Any, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = profile("", "bare")
    of = ["run", "incident-communication", "--incident", incident.id]
    ended = runbook(*of, "--target", bare, "-p", "impact=nobody can log in", "-p", "issue=down\x1b[31m")
    lines = ended.stdout.splitlines()
    place = lines.index("  to be copied:")
    assert lines[place + 2 : place + 4] == ["🚨 INCIDENT ALERT", ""] and "Impact: nobody can log in" in lines[place:]
    assert "which stands under `to be copied`" in ended.stdout and "plan it" not in ended.stdout
    assert "\x1b" not in ended.stdout
    monkeypatch.setenv("RB_WEBHOOK", hook.url)
    hook.answers = [500]
    hooked = profile('[webhook]\nurl = "env:RB_WEBHOOK"\n', "hooked")
    _, document = run_json(*of[1:], "--target", hooked)
    record = only(document)
    assert record.to_copy["communication.post"].startswith("🚨 INCIDENT ALERT\n")
    assert "Impact: nobody can log in" in record.to_copy["communication.post"], "it was said to the former run"
    confirmed = runbook(*of, "--target", hooked, "--confirm", record.plans[0].token).stdout
    assert "not delivered" in confirmed and "Impact: nobody can log in" in confirmed.split("  to be copied:")[1]
    assert "it is not known whom it hurts" not in confirmed
