"""Tell of the verdicts that changed with the runs of a batch. Nothing of it can change how a run has ended."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook.evidence.verdicts import RECORDS_READ, Earlier, Line, last_before, tells
from runbook.model import ChangeFailed, CouldNotFindOut, Findings, RunbookError, Status
from runbook.model.deadline import DeadlinePassed, Pending
from runbook.model.layout import page_of
from runbook.model.protocol import RunRecord
from runbook.model.text import printable
from runbook.redaction import Redactor
from runbook.runner.run import FAILED
from runbook.runner.textfile import write_textfile
from runbook.target import Notifications, Target

SCHEMA = 1
# From the best to the worst, as the verdict of a run is found; one that failed has found nothing out.
_ORDER = (Status.OK, Status.WARNING, Status.UNKNOWN, Status.CRITICAL, FAILED)
CHANGES_TOLD, LINE_TOLD = 20, 300

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Change:
    """A verdict that is another one than before; everything in ``told`` was scrubbed of the target's secrets."""

    rank: int
    told: dict[str, Any]

    @property
    def text(self) -> str:
        """Return it for people."""
        told = self.told
        sign, how = ("🚨", "worse") if told["change"] == "worse" else ("✅", "better")
        lines = [f"{sign} {told['notebook']} on {told['target']} got {how}: {told['was']} → {told['now']}"]
        if told["error"]:
            lines.append(told["error"])
        if told["worst"]:
            worst = told["worst"]
            more = f" (and {told['bad'] - 1} more)" if told["bad"] > 1 else ""
            lines.append(f"{worst['check']}: {worst['object']}: {worst['message']}{more}")
            lines += [f"Next: {worst['next']}"] if worst["next"] else []
        kept = told["evidence"] or f"runbook evidence show {told['run_id']}"
        return "\n".join([*lines, f"Evidence: {kept}"])


def notify(archive: Path, records: Sequence[RunRecord], targets: Mapping[str, Target], tell: Tell) -> None:
    """Tell each target's receivers of the runs that have just ended; ``tell`` hears of those that could not be told.

    A receiver hears once of all that changed. All are told at the same time, each within the bounds of its profile.
    """
    records = [one for one in records if tells(one) and one.target in targets and targets[one.target].notifications]
    before, all_seen = last_before(archive, records)
    if not all_seen:
        tell(f"notification: among the last {RECORDS_READ} runs is none to compare some of these with")
    sending = _begin_sending(records, before, targets)
    _write_textfiles(records, before, targets, tell)
    for settings, pending, until in sending:
        try:
            pending.result(until - time.monotonic())
        except DeadlinePassed:
            tell(f"notification: the webhook in {settings.webhook} did not answer in time")
        except (ChangeFailed, CouldNotFindOut) as error:
            tell(f"notification: {error}")


def _begin_sending(
    records: Sequence[RunRecord], before: Mapping[Line, Earlier], targets: Mapping[str, Target]
) -> list[tuple[Notifications, Pending[str], float]]:
    redactors: dict[str, Redactor] = {}
    receivers: dict[tuple[Any, ...], tuple[Notifications, list[Change]]] = {}
    for record in records:
        earlier, target = before.get((record.notebook, record.target)), targets[record.target]
        settings = target.notifications
        if settings is None or settings.webhook is None:
            continue
        if earlier is None or earlier.status == record.status or earlier.status not in _ORDER:
            continue
        if target.name not in redactors:
            redactors[target.name] = Redactor(target.secret_values(), allow=target.redaction.allow)
        change = _change(earlier, record, target.communication.evidence_url, redactors[target.name])
        same = (settings.webhook, settings.kind, settings.timeout, settings.ca_file)
        receivers.setdefault(same, (settings, []))[1].append(change)
    if not receivers:
        return []
    from runbook.transport.webhook import RETRY_SECONDS

    return [
        (
            settings,
            Pending(lambda settings=settings, changes=changes: _send(settings, changes)),  # type: ignore[misc]
            time.monotonic() + 2 * settings.timeout + RETRY_SECONDS,
        )
        for settings, changes in receivers.values()
    ]


def _send(settings: Notifications, changes: Sequence[Change]) -> str:
    from runbook.transport.webhook import deliver

    place = settings.place
    assert place is not None
    return deliver(place, json.dumps(payload(settings.kind, changes), ensure_ascii=False).encode(), "runbook")


def payload(kind: str, changes: Sequence[Change]) -> dict[str, Any]:
    """Return the body of a request, the worst change first: for "slack" its text alone, else each change by name."""
    from runbook.transport.webhook import slack

    ordered = sorted(changes, key=lambda one: -one.rank)
    shown, more = ordered[:CHANGES_TOLD], max(0, len(ordered) - CHANGES_TOLD)
    text = "\n\n".join([*(one.text for one in shown), *([f"and {more} more"] if more else [])])
    if kind == "slack":
        return slack(text)
    return {"schema": SCHEMA, "text": text, "changes": [one.told for one in shown], "more": more}


def _change(earlier: Earlier, record: RunRecord, served: str | None, redactor: Redactor) -> Change:
    wrong = [one for one in Findings(record.findings).worst_first() if one.bad and not one.explained_by]
    rank = _ORDER.index(record.status)
    told = {
        "notebook": record.notebook,
        "target": record.target,
        "change": "worse" if rank > _ORDER.index(earlier.status) else "better",
        "was": earlier.status,
        "now": record.status,
        "error": record.error,
        "worst": {name: getattr(wrong[0], name) for name in ("check", "object", "message", "next")} if wrong else None,
        "bad": len(wrong),
        "ended": record.ended,
        "run_id": record.run_id,
        "incident": record.incident or None,
        "evidence": page_of(record.run_id, served) if served else None,
    }
    return Change(rank, _short(redactor.data(told)))


def _short(value: Any) -> Any:
    """Return what was scrubbed as it is told: in one line each, and no longer than that takes."""
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    if not isinstance(value, str):
        return value
    line = printable(" ".join(value.split()))
    return line if len(line) <= LINE_TOLD else f"{line[:LINE_TOLD]}…"


def _write_textfiles(
    records: Sequence[RunRecord], before: Mapping[Line, Earlier], targets: Mapping[str, Target], tell: Tell
) -> None:
    files: dict[Path, list[RunRecord]] = {}
    for record in records:
        settings = targets[record.target].notifications
        if settings is not None and settings.textfile is not None:
            files.setdefault(settings.textfile, []).append(record)
    for path, of_file in files.items():
        lines = {(one.notebook, one.target): one for one in of_file}
        # A later one replaces what the archive told.
        known: list[Earlier | RunRecord] = [before[line] for line in lines if line in before]
        well = [one for one in known + list(of_file) if one.status == Status.OK]
        try:
            successes = {(one.notebook, one.target): _seconds(one.ended) for one in well}
            write_textfile(path, {line: one.exit for line, one in lines.items()}, successes)
        except OSError as error:
            tell(f"the textfile {path} was not written: {error.strerror or error}")
        except (RunbookError, ValueError) as error:
            tell(f"the textfile was not written: {error}")


def _seconds(ended: str) -> int:
    return int(datetime.strptime(ended, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
