"""What is written down of alerts: a note in the incident that they belong to, which is opened where none is open."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from runbook.evidence.incidents import Incident, add_note, all_incidents, open_incident
from runbook.model.incident import SEVERITIES, Severity
from runbook.model.text import printable, shortened
from runbook.redaction import Redactor
from runbook.serving.leads import Lead
from runbook.serving.ledger import Taken
from runbook.serving.notification import Alert
from runbook.target import Target

# Of a group as many alerts are told of, in as many letters each, with as many labels.
ALERTS_TOLD, LINE_TOLD, LABELS_TOLD, TITLE_TOLD = 10, 400, 12, 160
# Of a text that goes on and on.
READ = 4_000
NOBODY = "nobody yet"
_LEFT_OUT = {"alertname", "severity"}


@dataclass(frozen=True)
class Storyteller:
    """Writes down what alerts say of one target; everything that it returns or writes is scrubbed."""

    target: Target
    archive: Path
    author: str
    token: str = field(repr=False)

    def redactor(self) -> Redactor:
        """Return what scrubs the target's secrets, and the token by which alerts come in."""
        return Redactor([*self.target.secret_values(), self.token], allow=self.target.redaction.allow)

    def title(self, alerts: Sequence[Alert]) -> str:
        """Return what an incident that these alerts open is called."""
        summary = alerts[0].annotations.get("summary", "")
        more = f" (and {len(alerts) - 1} more)" if len(alerts) > 1 else ""
        said = f"{_name(alerts[0])}: {summary}" if summary.strip() else f"{_name(alerts[0])} on {self.target.name}"
        return self._line(said, TITLE_TOLD) + more

    def note(
        self, firing: Mapping[str, tuple[Alert, Sequence[Lead]]], ended: Sequence[Alert], runs: Sequence[str]
    ) -> str:
        """Return what is noted of alerts that fire, with what each leads to, and of those that have ended."""
        lines: list[str] = []
        for alert, leads in list(firing.values())[:ALERTS_TOLD]:
            to = ", ".join(f"{lead.notebook.name} ({lead.why})" for lead in leads)
            lines += [*self._told(alert, f"fires since {_clock(alert.starts_at)}"), f"  leads to {to}"]
        lines += [f"and {len(firing) - ALERTS_TOLD} more"] if len(firing) > ALERTS_TOLD else []
        for alert in ended[:ALERTS_TOLD]:
            since = f"it fired since {_clock(alert.starts_at)}"
            lines += [self._line(f"Alert {_name(alert)} was resolved at {_clock(alert.ends_at)}; {since}", LINE_TOLD)]
        lines += [f"and {len(ended) - ALERTS_TOLD} more were resolved"] if len(ended) > ALERTS_TOLD else []
        if firing:
            lines.append(f"Runs: {', '.join(runs)}" if runs else "Runs: nothing new; what these lead to was run")
        return "\n".join(lines)

    def write(self, taken: Taken, own: str) -> Incident | None:
        """Write a note into the incident of the group (``own``) while it is open, else into another that is open on
        the target, and return it. Where none is, one is opened; not for what has ended: then there is none.

        Raises `RunbookError` or OSError where it cannot be written.
        """
        incident = self._open_one(own)
        how: dict[str, str] = {}
        if incident is None and taken.resolved:
            return None
        if incident is None:
            incident = open_incident(
                taken.title,
                taken.severity,
                author=self.author,
                redactor=self.redactor(),
                targets=[self.target.name],
                owner=self.target.contacts[0].name if self.target.contacts else NOBODY,
                began=taken.began,
                archive=self.archive,
            )
        elif not taken.resolved and taken.severity < incident.severity:
            how = {"severity": taken.severity}  # P0 is the worst
        return add_note(incident, taken.note, author=self.author, redactor=self.redactor(), archive=self.archive, **how)

    def add(self, incident: str, text: str) -> None:
        """Write a note into an incident that is there; raises `RunbookError` or OSError where it cannot be."""
        found = next((one for one in all_incidents(self.archive) if one.id == incident), None)
        if found is not None:
            add_note(found, text, author=self.author, redactor=self.redactor(), archive=self.archive)

    def _open_one(self, own: str) -> Incident | None:
        there = [one for one in all_incidents(self.archive) if one.is_open]
        fits = [one for one in there if not one.targets or self.target.name in one.targets]
        return next((one for one in there if one.id == own), None) or next(iter(fits), None)

    def _told(self, alert: Alert, how: str) -> list[str]:
        severity = f" ({alert.severity})" if alert.severity else ""
        summary = alert.annotations.get("summary") or alert.annotations.get("description", "")
        labels = [f"{name}={value}" for name, value in sorted(alert.labels.items()) if name not in _LEFT_OUT]
        more = f", … {len(labels) - LABELS_TOLD} more" if len(labels) > LABELS_TOLD else ""
        return [
            self._line(f"Alert {_name(alert)}{severity} {how}: {summary}".rstrip(": "), LINE_TOLD),
            *([f"  labels: {self._line(', '.join(labels[:LABELS_TOLD]), LINE_TOLD)}{more}"] if labels else []),
        ]

    def _line(self, text: str, most: int) -> str:
        # Scrubbed before it is shortened: of a secret that is cut too little may be left to be known by.
        return shortened(printable(" ".join(self.redactor().text(text[:READ]).split())), most)


def severity_of(alert: Alert, leads: Sequence[Lead]) -> Severity:
    """Return the severity of an incident that an alert opens: for a critical one that of the procedure it leads to (P1
    where nothing is known of it), else P2 for a warning and P3 for anything less.
    """
    if alert.severity == "critical":
        known = [lead.notebook.metadata.severity for lead in leads if lead.known]
        return min((one for one in SEVERITIES if one in known), default="P1")
    return "P2" if alert.severity in ("warning", "") else "P3"


def began(alerts: Sequence[Alert]) -> str:
    """Return when the first of these alerts began, no later than now: clocks differ."""
    return f"{min([datetime.now(UTC), *(alert.starts_at for alert in alerts)]).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _name(alert: Alert) -> str:
    return alert.name.strip() or "without a name"


def _clock(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
