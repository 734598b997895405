"""What becomes of alerts in Alertmanager: do they arrive, and does a silence hide one?"""

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from runbook.connections import AlertmanagerConnection, PrometheusConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, first_of
from runbook.model.text import printable
from runbook.model.units import counted
from runbook.prometheus.alert_states import (
    FIRING,
    MOST,
    Evaluated,
    beyond_the_bound,
    evaluated_alerts,
    moment,
    worst_first,
)
from runbook.prometheus.explanations import EXPLAINED_BY, GONE
from runbook.prometheus.rules.machine import DEAD_MANS_SWITCH

ARRIVING = ["alert", "severity", "labels", "minutes", "arrived", "state", "sent_to", "sender"]
SILENCES = ["id", "state", "matchers", "by", "comment", "begins", "ends", "hours_left", "hides", "hides_critical"]
YOUNG_SECONDS = 120.0
# What has just begun to fire is sent with the next evaluation; Prometheus repeats what fires every minute.
_PATIENCE = 15.0
# A Prometheus that has just started finds its Alertmanagers with its next look, made every five seconds.
_DISCOVERY = 6.0
_CHARACTERS = 200
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def probe_arrival(asking: Asking) -> pd.DataFrame:
    """Return a row for each alert that fires in Prometheus: alert, severity, labels (as text), minutes (for how long it
    fires, the wait of its rule taken off), arrived (Alertmanager has it), state (what it makes of it: active,
    suppressed, unprocessed), sent_to (the Alertmanagers that Prometheus sends to), sender (the Prometheus that sent
    what stands there with its labels; "": not told; what did not arrive has that of another one). Of more than `MOST`
    those that matter most; ``attrs["left_out"]`` is how many others fire, ``attrs["receivers"]`` how many Alertmanagers
    Prometheus sends to, ``attrs["down"]`` why Alertmanager does not answer at all ("" where it does).

    Raises `CouldNotFindOut` where nothing fires, the dead-man's switch neither: then nothing could arrive.
    """
    connection = asking.connection(PrometheusConnection)
    receivers = _receivers(connection)
    try:
        evaluated = evaluated_alerts(connection)
    except Unreachable:
        raise
    except CouldNotFindOut:
        if receivers:
            raise
        evaluated = Evaluated([], 0, [], {})
    firing = worst_first([alert for alert in evaluated.alerts if alert.get("state") == FIRING])
    now = connection.now()
    young = [one for one in firing if _fires_for(one, evaluated.waits, now) < YOUNG_SECONDS]
    sender = connection.sender()
    received, down = _held(asking, young, sender) if receivers else ([], "")
    if receivers and not firing:
        raise CouldNotFindOut(
            f"nothing fires in Prometheus, not even {DEAD_MANS_SWITCH}: whether alerts would arrive is not known"
        )
    sent_to = ", ".join(receivers[:5])
    rows = []
    for alert in firing[:MOST]:
        labels = _labels(alert)
        matching = _matching(alert, received)
        match = _own(matching, sender)
        others = {key: value for key, value in sorted(labels.items()) if key not in ("alertname", "severity")}
        rows.append(
            {
                "alert": labels.get("alertname", ""),
                "severity": labels.get("severity", ""),
                "labels": ",".join(f"{key}={value}" for key, value in others.items())[:_CHARACTERS],
                "minutes": _fires_for(alert, evaluated.waits, now) / 60,
                "arrived": match is not None,
                "state": _status(match).get("state", "") if match else "",
                "sent_to": sent_to[:_CHARACTERS],
                "sender": _sender(match or matching[0])[:_CHARACTERS] if matching else "",
            }
        )
    frame = pd.DataFrame(rows, columns=ARRIVING)
    frame.attrs |= {"left_out": len(firing) - len(rows), "receivers": len(receivers), "down": down}
    return frame


def _receivers(connection: PrometheusConnection) -> list[str]:
    """Return the addresses of the Alertmanagers that Prometheus sends to; where there is none, it gets some time."""
    end = time.monotonic() + _DISCOVERY
    while not (told := connection.alertmanagers()) and time.monotonic() < end:
        time.sleep(0.5)
    return told


def _held(asking: Asking, young: list[dict[str, Any]], sender: str) -> tuple[list[dict[str, Any]], str]:
    """Return the alerts that Alertmanager holds, or none and why it does not answer at all."""
    try:
        return _received(asking.connection(AlertmanagerConnection), young, sender), ""
    except Unreachable as error:
        if error.kind not in GONE:
            raise
        return [], error.reason


def _fires_for(alert: dict[str, Any], waits: Mapping[str, float], now: datetime) -> float:
    """Return for how many seconds an alert fires, without end where that is not told.

    What is told is since when its condition holds: it fires when the wait of its rule is over, and is sent only then.
    """
    since = moment(alert.get("activeAt"))
    wait = waits.get(_labels(alert).get("alertname", ""), 0.0)
    return max((now - since).total_seconds() - wait, 0.0) if since is not None else float("inf")


def _received(manager: AlertmanagerConnection, young: list[dict[str, Any]], sender: str) -> list[dict[str, Any]]:
    """Return the alerts that Alertmanager holds; where one that has just begun is not among them, it gets some time."""
    end = time.monotonic() + _PATIENCE
    while True:
        received = manager.alerts()
        missing = [alert for alert in young if _own(_matching(alert, received), sender) is None]
        if not missing or time.monotonic() > end:
            return received
        time.sleep(1)


def _matching(alert: dict[str, Any], received: list[dict[str, Any]]) -> list[dict[str, Any]]:
    labels = _labels(alert)
    return [one for one in received if labels.items() <= _labels(one).items()]


def _own(matching: list[dict[str, Any]], sender: str) -> dict[str, Any] | None:
    """Return the alert that this Prometheus sent; where it is not told who sent it, its labels have to do."""
    for one in matching:
        told = _sender(one)
        if not sender or not told or told == sender or (sender.startswith(":") and told.endswith(sender)):
            return one
    return None


def _sender(received: dict[str, Any]) -> str:
    """Return the address of the Prometheus that sent an alert: what comes before /graph in its link; "" for none."""
    return str(received.get("generatorURL") or "").partition("/graph?")[0].rstrip("/")


def _labels(alert: dict[str, Any]) -> dict[str, str]:
    labels = alert.get("labels")
    return {str(key): str(value) for key, value in labels.items()} if isinstance(labels, dict) else {}


def _status(alert: dict[str, Any]) -> dict[str, Any]:
    status = alert.get("status")
    return status if isinstance(status, dict) else {}


def check_arrival(frame: pd.DataFrame, *, minutes: float = 2) -> list[Finding]:
    """Judge each alert that fires: CRITICAL where Alertmanager does not have it, and it has fired for more than
    ``minutes`` (Prometheus sends what fires at once, and again every minute or so). A Prometheus that sends to no
    Alertmanager is CRITICAL whatever fires, an Alertmanager that does not answer while anything does. UNKNOWN is an
    alert that stands there with the same labels, and was sent by another Prometheus.
    """
    if frame.attrs.get("receivers", 1) == 0 or frame.attrs.get("down"):
        return [_nobody_is_told(frame)]
    switch = frame[frame["alert"] == DEAD_MANS_SWITCH]
    anothers = frame[~frame["arrived"] & (frame["sender"] != "")]
    gone = frame[~frame["arrived"] & (frame["sender"] == "")]
    lost = gone[gone["minutes"] > minutes]
    findings = []
    waited = gone[~gone.index.isin(lost.index)]
    for row in anothers.to_dict("records"):
        subject = printable(f"{row['alert']} {row['labels']}".strip())
        message = (
            f"fires, and the one of the same labels that stands in Alertmanager was sent by another Prometheus "
            f"({printable(row['sender'])}): whether this one's arrives cannot be told apart"
        )
        after = "give each Prometheus its own `external_labels`; of a pair that sends the same, ask the other one too"
        findings.append(Finding(object=subject, status=Status.UNKNOWN, message=message, next=after))
    for row in waited.to_dict("records"):
        subject = printable(f"{row['alert']} {row['labels']}".strip())
        message = f"fires for {row['minutes']:.1f} min and has not arrived in Alertmanager yet"
        after = f"ask again in {minutes:g} min: until then it may be on its way"
        findings.append(Finding(object=subject, status=Status.UNKNOWN, message=message, next=after))
    for row in lost.to_dict("records"):
        subject = printable(f"{row['alert']} {row['labels']}".strip())
        to = f"Prometheus sends to {printable(row['sent_to'])}" if row["sent_to"] else "Prometheus has no Alertmanager"
        message = f"fires in Prometheus and did not arrive in the Alertmanager of the profile: {to}"
        after = "compare that address with [alertmanager] of the profile; see `alerting` in prometheus.yml, and its log"
        findings.append(Finding(object=subject, status=Status.CRITICAL, message=message, next=after))
    if switch.empty:
        message = "it does not fire, so that nobody notices when alerts stop"
        after = "load the rules of the package: see prometheus.rules_loaded"
        findings.append(Finding(object=DEAD_MANS_SWITCH, status=Status.WARNING, message=message, next=after))
    elif switch["arrived"].all():
        hidden = (switch["state"] == "suppressed").any()
        sender = printable(str(switch["sender"].iloc[0]))
        message = f"arrives in Alertmanager{f' (sent by {sender})' if sender else ''}"
        message += ", where it is silenced or inhibited" if hidden else ""
        after = "end that silence: whoever waits for the switch hears nothing (prometheus.silences)" if hidden else ""
        status = Status.WARNING if hidden else Status.OK
        findings.append(Finding(object=DEAD_MANS_SWITCH, status=status, message=message, next=after))
    others = frame[frame["arrived"] & (frame["alert"] != DEAD_MANS_SWITCH)]
    if len(others):
        named = ", ".join(dict.fromkeys(printable(str(name)) for name in others["alert"]))
        message = f"{counted(len(others), 'other alert')} that fire{'s' if len(others) == 1 else ''} arrived: {named}"
        findings.append(Finding(object="other alerts", status=Status.OK, message=message[:400], value=len(others)))
    return [
        *first_of(findings, "alerts"),
        *beyond_the_bound(frame, "alerts", "whether the others arrived is not known"),
    ]


def _nobody_is_told(frame: pd.DataFrame) -> Finding:
    """Return what is wrong where no alert at all can arrive, and which ones nobody hears of now."""
    firing = frame[frame["alert"] != DEAD_MANS_SWITCH]
    critical = int((firing["severity"] == "critical").sum())
    named = ", ".join(dict.fromkeys(printable(str(name)) for name in firing["alert"]))
    count = counted(len(firing), "alert fires", "alerts fire")
    now = f"; now {count}, {critical} of them critical: {named}"[:_CHARACTERS] if len(firing) else ""
    if frame.attrs.get("down"):
        message = f"{frame.attrs['down']}: nobody is notified of what fires{now}"
        after = (
            "bring it back first (its process or container, its disk; its configuration: `amtool check-config`), and "
            "see to what fires meanwhile: prometheus.alert_states"
        )
        return Finding(object="Alertmanager", status=Status.CRITICAL, message=message, value=critical, next=after)
    message = f"Prometheus sends to no Alertmanager: whatever fires, nobody is told{now}"
    after = "name Alertmanager under `alerting` in prometheus.yml and reload; where it is named, see Prometheus' log"
    return Finding(object="Prometheus", status=Status.CRITICAL, message=message, value=0, next=after)


def probe_silences(asking: Asking) -> pd.DataFrame:
    """Return a row for each silence that is active or is to come: id, state, matchers (as amtool writes them), by,
    comment, begins and ends (UTC), hours_left, hides (the alerts that it hides now), hides_critical (how many of them
    are critical). Of more than `MOST` those that hide the most critical alerts, then any, then the newest;
    ``attrs["left_out"]`` is how many others there are.
    """
    manager = asking.connection(AlertmanagerConnection)
    silences, alerts = manager.silences(), manager.alerts()
    offset = manager.clock.offset if manager.clock is not None else 0.0
    now = datetime.now(UTC) + timedelta(seconds=offset)
    by_silence: dict[str, list[dict[str, Any]]] = {}
    for alert in alerts:
        for name in _status(alert).get("silencedBy") or []:
            by_silence.setdefault(str(name), []).append(alert)
    rows: list[dict[str, Any]] = []
    for silence in silences:
        state = _status(silence).get("state", "")
        if state not in ("active", "pending"):
            continue
        name = str(silence.get("id", ""))
        hidden = by_silence.get(name, [])
        rows.append(
            {
                "id": name,
                "state": state,
                "matchers": " ".join(_matcher(one) for one in silence.get("matchers") or [])[:_CHARACTERS],
                "by": str(silence.get("createdBy", ""))[:80],
                "comment": str(silence.get("comment", ""))[:_CHARACTERS],
                "begins": moment(silence.get("startsAt")),
                "ends": moment(silence.get("endsAt")),
                "hours_left": _hours(now, moment(silence.get("endsAt"))),
                "hides": ", ".join(sorted({_labels(alert).get("alertname", "") for alert in hidden}))[:_CHARACTERS],
                "hides_critical": sum(_labels(alert).get("severity") == "critical" for alert in hidden),
            }
        )
    rows.sort(key=lambda row: (-row["hides_critical"], not row["hides"], -_stamp(row["begins"])))
    frame = pd.DataFrame(rows[:MOST], columns=SILENCES)
    frame = frame.assign(**{name: pd.to_datetime(frame[name], utc=True) for name in ("begins", "ends")})
    frame.attrs["left_out"] = len(rows) - len(frame)
    return frame


def _stamp(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0


def _matcher(one: Any) -> str:
    if not isinstance(one, dict):
        return "?"
    equal, regex = one.get("isEqual", True), one.get("isRegex", False)
    sign = ("=~" if equal else "!~") if regex else ("=" if equal else "!=")
    return f'{one.get("name", "")}{sign}"{one.get("value", "")}"'


def _hours(now: datetime, end: datetime | None) -> float:
    return (end - now).total_seconds() / 3600 if end is not None else float("inf")


def check_silences(frame: pd.DataFrame, *, days: float = 7) -> list[Finding]:
    """Judge each silence: a WARNING where it hides an alert that fires now (CRITICAL where that is a critical one), and
    where it ends in more than ``days``: nobody remembers it until then. Others are told.
    """
    findings = []
    for row in frame.to_dict("records"):
        name = f"silence {printable(row['id'])[:8]}"
        ends = "never ends" if pd.isna(row["ends"]) else f"until {row['ends']:%Y-%m-%d %H:%M} UTC"
        who = f"{ends}, by {printable(row['by']) or 'nobody named'}: {printable(row['comment']) or 'no comment'}"
        what = printable(row["matchers"])
        # The id comes from the other side, and what is printed here is copied into a shell.
        how = f"amtool silence expire {row['id']}" if _UUID.fullmatch(row["id"]) else "on Alertmanager's own page"
        after = f"end it, when its reason has gone: {how}"
        if row["hides"]:
            status = Status.CRITICAL if row["hides_critical"] else Status.WARNING
            message = f"hides what fires now: {printable(row['hides'])} ({what}; {who})"
        elif row["hours_left"] > days * 24:
            left = "without end" if row["hours_left"] == float("inf") else f"for {row['hours_left'] / 24:.0f} more days"
            status, message = Status.WARNING, f"{what} is silenced {left}, and nobody will remember ({who})"
        else:
            status, message, after = Status.OK, f"{what} is silenced ({who}); it hides nothing now", ""
        findings.append(Finding(object=name, status=status, message=message, value=row["matchers"], next=after))
    findings.sort(key=lambda finding: finding.status.severity)
    if not findings:
        findings = [Finding(object="silences", status=Status.OK, message="no alert is silenced", value=0)]
    return [*first_of(findings, "silences"), *beyond_the_bound(frame, "silences", "what the others hide is not judged")]


alerts_arrive = Question(
    name="prometheus.alerts_arrive",
    title="Does what fires arrive in Alertmanager?",
    probe=probe_arrival,
    check=check_arrival,
    source="curl -sS {prometheus}/api/v1/alerts; amtool alert query --alertmanager.url={alertmanager}",
    needs=(PrometheusConnection, AlertmanagerConnection),
    deadline=40.0,
    explained_by=EXPLAINED_BY,
    next="look at alerting in Prometheus' configuration and at Alertmanager's log: nobody is told of anything",
)

silences = Question(
    name="prometheus.silences",
    title="Does a silence hide an alert?",
    probe=probe_silences,
    check=check_silences,
    source="amtool silence query --alertmanager.url={alertmanager}",
    needs=(AlertmanagerConnection,),
    deadline=15.0,
    next="amtool silence expire ID ends a silence; whoever made it says why it is there",
)
