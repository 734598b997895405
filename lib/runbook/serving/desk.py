"""Takes notifications, has them noted and the notebooks run that they lead to; nothing that was taken is forgotten.

One thread notes, some run: a notebook that waits already serves whatever leads to it meanwhile. No run is given a
token, so that none changes anything.
"""

import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from runbook.evidence.index import rebuild_index
from runbook.kernels.owner import Template
from runbook.model import RunbookError, RunFailed
from runbook.model.moments import moment
from runbook.model.protocol import RunRecord
from runbook.runner.batch import Batch, Task
from runbook.runner.notifying import notify
from runbook.runner.parameters import declared
from runbook.runner.run import Stop, Watcher
from runbook.serving.bounds import Bucket
from runbook.serving.leads import Lead, Leads
from runbook.serving.ledger import Group, Ledger, Taken, new_id
from runbook.serving.notification import HEARTBEAT, Alert, Notification
from runbook.serving.story import Storyteller, began, severity_of
from runbook.target import Target

# Notifications that bring something new: so many at once, and as many again in so many seconds.
NEWS, NEWS_SECONDS = 20, 300.0
# Of what was taken and is not done as much may wait.
MOST_WAITING = 40
# What was taken longer ago is not evidence of that minute any more.
RESUMED_SECONDS = 3600.0
# When a run is told to end it has its kernel's grace; then its evidence is written.
END_SECONDS = 20.0
_NOT_NOTED = "this was not noted in the incident"
_NOT_KEPT = "what was done is not kept, and may be done again"
_PLAIN = re.compile(r"[A-Za-z0-9_:.-]{1,100}")

Outcome = Literal["taken", "nothing new", "not now"]


@dataclass(frozen=True)
class Answer:
    """What becomes of a notification, and why it cannot be taken now where that is so."""

    outcome: Outcome
    runs: tuple[str, ...] = ()
    why: str = ""


@dataclass
class _Wanted:
    parameters: dict[str, str]
    ids: list[str] = field(default_factory=list)


class Desk:
    """Where alerts of one target come in. ``tell`` hears, in a line each, what happens."""

    def __init__(
        self,
        target: Target,
        *,
        leads: Leads,
        ledger: Ledger,
        storyteller: Storyteller,
        template: Template | None,
        tell: Callable[[str], None],
    ) -> None:
        self._target, self._leads, self._ledger, self._story = target, leads, ledger, storyteller
        self._template, self._tell = template, tell
        self._changed = threading.Condition()
        self._to_note: deque[Taken] = deque()
        self._to_run: OrderedDict[tuple[str, str], _Wanted] = OrderedDict()
        self._running: dict[tuple[str, str], str] = {}
        self._news, self._runs = Bucket(NEWS, NEWS_SECONDS), Bucket(target.serve.runs_per_hour, 3600.0)
        self._closed = False
        self._stop = Stop()
        self._counts = dict.fromkeys(("taken", "nothing new", "not now"), 0)
        self._last: deque[dict[str, str]] = deque(maxlen=20)
        self._refused_since, self._refused = 0.0, 0
        work = [self._note_all, *[self._run_all] * target.serve.runs_at_once]
        self._threads = [threading.Thread(target=do, daemon=True) for do in work]

    def start(self) -> None:
        """Go on with what was left the last time, and begin to work."""
        for taken in list(self._ledger.waiting):
            if (datetime.now(UTC) - moment(taken.at)).total_seconds() > RESUMED_SECONDS and taken.runs:
                self._drop(taken)
            if not taken.noted:
                self._to_note.append(taken)
            elif taken.runs:
                self._want(taken, self._incident_of(taken))
        if self._ledger.waiting:
            self._tell(f"going on with {len(self._ledger.waiting)} that were taken and not done when this ended last")
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Tell whether all of it still works; a mistake of its own may have ended a part."""
        return all(thread.is_alive() for thread in self._threads)

    def _drop(self, taken: Taken) -> None:
        """Give up what was to be run for something that was taken too long ago, and say so in its incident."""
        late = f"Not run, since nothing served alerts at the time: {', '.join(taken.runs)}"
        self._tell(f"taken at {taken.at}, and too old now: {late}")
        if taken.noted:
            self._try(_NOT_NOTED, partial(self._story.add, self._incident_of(taken), late))
        taken.note += f"\n{late}"
        self._try(_NOT_KEPT, partial(self._ledger.drop_runs, taken))

    def take(self, told: Notification) -> Answer:
        """Take a notification: what it brings is on the disk before this returns, and is done soon."""
        with self._changed:
            answer = self._take(told)
            self._counts[answer.outcome] += 1
            if answer.outcome == "not now":
                self._tell_refused(answer.why)
            self._changed.notify_all()
            return answer

    def state(self) -> dict[str, Any]:
        """Return what goes on, as JSON shows it."""
        with self._changed:
            return {
                "schema": 1,
                "target": self._target.name,
                "notifications": dict(self._counts),
                "waiting": len(self._ledger.waiting),
                "to_run": [name for name, _ in self._to_run],
                "running": [name for name, _ in self._running],
                "last": list(self._last),
            }

    def stop(self, reason: str, grace: float) -> list[str]:
        """Begin nothing more; give what runs so many seconds, then end it. Return what was taken and is not done.

        That is kept for the next start, and said in its incidents.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._join(grace)
        if any(thread.is_alive() for thread in self._threads):
            self._stop.request(reason)
            self._join(END_SECONDS)
        with self._changed:
            left = [one for one in self._ledger.waiting if one.runs or not one.noted]
            named = {one.id: (self._incident_of(one), ", ".join(one.runs) or one.title) for one in left}
        for incident in dict.fromkeys(incident for incident, _ in named.values() if incident):
            names = ", ".join(dict.fromkeys(name for where, name in named.values() if where == incident))
            text = f"Not run yet, since `serve` was told to end: {names}. Started again within an hour it runs them."
            self._try(_NOT_NOTED, partial(self._story.add, incident, text))
        return list(dict.fromkeys(name for _, name in named.values()))

    def _join(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))

    # --- taking

    def _take(self, told: Notification) -> Answer:
        known = self._ledger.group(told.group)
        of_trouble = [alert for alert in told.alerts if alert.severity != HEARTBEAT]
        firing = {alert.identity: alert for alert in of_trouble if alert.status == "firing"}
        told_of = {*known.firing, *known.resolved}
        fresh = {identity: alert for identity, alert in firing.items() if identity not in told_of}
        ended = {one.identity: one for one in of_trouble if one.status == "resolved"}
        ended = {identity: alert for identity, alert in ended.items() if identity not in known.resolved}
        if not fresh and not ended:
            return Answer("nothing new")
        # None of those that fired before fires still: a new story, for which all is run again.
        ran = [] if fresh and not any(identity in known.firing for identity in firing) else known.ran
        leads = {identity: self._leads.of(alert) for identity, alert in fresh.items()}
        runs = self._new_runs(fresh, leads, ran)
        if why := self._why_not(len(runs)):
            return Answer("not now", why=why)
        group = Group(
            incident=known.incident,
            firing=[*(identity for identity in known.firing if identity not in ended), *fresh],
            resolved=[*known.resolved, *ended],
            ran=[*ran, *runs],
            last=_now(),
        )
        taken = self._told(told, fresh, leads, list(ended.values()), runs)
        try:
            self._ledger.take(taken, group)
        except RunFailed as error:
            return Answer("not now", why=str(error))
        self._news.take(1)
        self._runs.take(len(runs))
        self._to_note.append(taken)
        self._tell(f"taken: {taken.title}" + (f"; to be run: {', '.join(runs)}" if runs else ""))
        return Answer("taken", tuple(runs))

    def _new_runs(
        self, fresh: dict[str, Alert], leads: dict[str, list[Lead]], ran: Sequence[str]
    ) -> dict[str, dict[str, str]]:
        """Return the notebooks that are to be run, each with its parameters."""
        runs: dict[str, dict[str, str]] = {}
        for identity, alert in fresh.items():
            for lead in leads[identity]:
                if lead.notebook.name not in ran and lead.notebook.name not in runs:
                    takes_symptom = "symptom" in declared(lead.notebook) and _PLAIN.fullmatch(alert.name)
                    runs[lead.notebook.name] = {"symptom": alert.name} if takes_symptom else {}
        return runs

    def _why_not(self, runs: int) -> str:
        if self._closed:
            return "this is about to end"
        if len(self._ledger.waiting) >= MOST_WAITING:
            return f"{MOST_WAITING} wait to be done"
        if not self._news.has(1):
            return f"more than {NEWS} brought something new within {NEWS_SECONDS / 60:g} minutes"
        if not self._runs.has(runs):
            return "as many runs were started within the last hour as the profile allows (serve.runs_per_hour)"
        return ""

    def _told(
        self,
        told: Notification,
        fresh: dict[str, Alert],
        leads: dict[str, list[Lead]],
        ended: list[Alert],
        runs: dict[str, dict[str, str]],
    ) -> Taken:
        alerts = list(fresh.values()) or ended
        severities = [severity_of(one, leads[key]) for key, one in fresh.items()]
        note = self._story.note({key: (one, leads[key]) for key, one in fresh.items()}, ended, list(runs))
        if told.truncated:
            note += f"\nAlertmanager left out {told.truncated} more"
        return Taken(
            id=new_id(),
            group=told.group,
            at=_now(),
            title=self._story.title(alerts),
            severity=min(severities, default="P3"),
            began=began(alerts),
            note=note,
            runs=runs,
            resolved=not fresh,
        )

    def _tell_refused(self, why: str) -> None:
        """Say that something could not be taken, once a minute at most."""
        self._refused += 1
        if time.monotonic() - self._refused_since > 60 or self._refused_since == 0:
            times = f" ({self._refused} times)" if self._refused > 1 else ""
            self._tell(f"not taken{times}, and to be sent again by Alertmanager: {why}")
            self._refused_since, self._refused = time.monotonic(), 0

    # --- noting

    def _note_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._to_note or self._closed)
                if not self._to_note:
                    return
                taken = self._to_note.popleft()
                own = self._incident_of(taken)
            incident = self._note(taken, own)
            with self._changed:
                self._try(_NOT_KEPT, partial(self._ledger.noted, taken, incident))
                if taken.runs:
                    self._want(taken, incident)
                self._last.append({"at": taken.at, "title": taken.title, "incident": incident})
                self._changed.notify_all()
            if not taken.runs:
                self._show()

    def _note(self, taken: Taken, own: str) -> str:
        """Write the note, and return the id of its incident; "" where there is none, or it could not be written."""
        try:
            incident = self._story.write(taken, own)
        except (RunbookError, OSError) as error:
            self._tell(f"not noted in any incident, and run all the same: {_why(error)}: {taken.note}")
            return ""
        if incident is None:
            self._tell(f"no incident is open that it could be noted in: {taken.note}")
            return ""
        return incident.id

    def _incident_of(self, taken: Taken) -> str:
        return self._ledger.group(taken.group).incident

    # --- running

    def _want(self, taken: Taken, incident: str) -> None:
        for name, parameters in list(taken.runs.items()):
            wanted = self._to_run.setdefault((name, incident), _Wanted(parameters))
            wanted.ids.append(taken.id)

    def _run_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._to_run or self._closed)
                if self._closed:
                    return
                key, wanted = self._to_run.popitem(last=False)
                self._running[key] = _now()
            record = self._run(*key, wanted.parameters)
            with self._changed:
                self._running.pop(key, None)
                if record is None or not self._was_cut_short(record):
                    self._try(_NOT_KEPT, partial(self._ledger.done, key[0], wanted.ids))
            self._show()
            if record is not None:
                self._notify(record)

    def _run(self, name: str, incident: str, parameters: dict[str, str]) -> RunRecord | None:
        notebook = self._leads.notebooks.get(name)
        if notebook is None:
            self._tell(f"the collection has no notebook {name} any more: it is not run")
            return None
        given: dict[str, Any] = {key: value for key, value in parameters.items() if key in declared(notebook)}
        if incident and "incident" in declared(notebook):
            given["incident"] = incident
        batch = Batch(self._story.archive, _Teller(self._tell), self._stop, template=self._template)
        return batch.run({0: Task(notebook, self._target, given)})[0]

    def _was_cut_short(self, record: RunRecord) -> bool:
        """Tell whether a run was ended by the stop, or not begun for its sake."""
        return self._stop.reason is not None and self._stop.reason in (record.error or "")

    def _show(self) -> None:
        """Bring the pages up to date; what they show is not lost for their sake."""
        self._try("the archive's pages were not brought up to date", partial(rebuild_index, self._story.archive))

    def _notify(self, record: RunRecord) -> None:
        if self._target.notifications is None:
            return
        try:
            notify(self._story.archive, [record], {self._target.name: self._target}, self._tell)
        except Exception as mistake:  # noqa: BLE001 - it is told; the verdict stands
            self._tell(f"nobody was notified: {type(mistake).__name__}")

    def _try(self, failed: str, do: Callable[[], object]) -> None:
        """Do what may fail without anything being lost; that it ``failed`` is told."""
        try:
            do()
        except (RunbookError, OSError) as error:
            self._tell(f"{failed}: {_why(error)}")


class _Teller:
    """Tells of runs, in a line each."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def begin(self, notebook: str, target: str) -> Watcher:
        """Tell that a run begins."""
        self._tell(f"{notebook} on {target}: begun")
        return Watcher()

    def end(self, record: RunRecord) -> None:
        """Tell how it ended."""
        why = f": {record.error}" if record.error else ""
        self._tell(f"{record.notebook} on {record.target}: {record.status}{why} ({record.run_id}, {record.seconds} s)")

    def left_out(self, notebook: str, target: str, reason: str) -> None:
        """Tell that a run was never begun."""
        self._tell(f"{notebook} on {target}: not run: {reason}")


def _why(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
