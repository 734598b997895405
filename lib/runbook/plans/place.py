"""Where plans are kept: a folder for each, with the frozen plan and the journal of what became of it."""

import json
import os
import pwd
import secrets
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from runbook.evidence.archive import state_folder, write_whole
from runbook.model import Finding, RunFailed
from runbook.model.layout import ALPHABET, make_private
from runbook.model.plan import Entry, Plan
from runbook.model.protocol import plain

_PLAN, _JOURNAL, _BEFORE = "plan.json", "journal.jsonl", "before.json"


def plans_folder() -> Path:
    """Return the folder of all plans of this user."""
    return state_folder() / "plans"


def new_plan_id() -> str:
    """Return an id for a plan; like all ids it begins with letters."""
    return "pln_" + "".join(secrets.choice(ALPHABET) for _ in range(10))


def whoami() -> str:
    """Return the user of this process as the system knows it, whatever the environment says."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def stamp(moment: datetime) -> str:
    """Return a moment as plans tell it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def keep(plan: Plan) -> None:
    """Freeze a plan: it is on the disk, whole, before this returns. Raises `RunFailed` where it cannot be."""
    folder = plans_folder() / plan.id
    try:
        make_private(folder.parent)
        folder.mkdir(mode=0o700)
        write_whole(folder / _PLAN, encoded(plan), replace=False)
    except OSError as error:
        raise RunFailed(f"the plan cannot be stored in {folder}: {error.strerror}; nothing was changed") from error


def encoded(plan: Plan) -> bytes:
    """Return a plan as it is stored, and as its token binds it: the same bytes for the same plan."""
    told = json.dumps(msgspec.to_builtins(plan), ensure_ascii=False, sort_keys=True, indent=1)
    return told.encode() + b"\n"


def load(plan_id: str) -> Plan | None:
    """Return a stored plan; None where there is none, or where its file is not as it was written."""
    try:
        content = (plans_folder() / plan_id / _PLAN).read_bytes()
        plan = msgspec.json.decode(content, type=Plan)
    except (OSError, msgspec.MsgspecError):
        return None
    return plan if encoded(plan) == content else None


def all_plans() -> Iterator[Plan]:
    """Yield every stored plan of this user, the newest first."""
    folder = plans_folder()
    found = [load(path.name) for path in folder.glob("pln_*")] if folder.is_dir() else []
    yield from sorted((plan for plan in found if plan is not None), key=lambda plan: plan.made, reverse=True)


def note(plan: Plan, entry: Entry) -> None:
    """Write a line into a plan's journal; it is on the disk before this returns. Raises OSError."""
    line = msgspec.json.encode(entry) + b"\n"
    fd = os.open(plans_folder() / plan.id / _JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # A line that was cut short by a death is ended first, so that it does not spoil this one.
        if (size := os.fstat(fd).st_size) and not _ends_line(plan, size):
            line = b"\n" + line
        os.write(fd, line)
        os.fsync(fd)
    finally:
        os.close(fd)


def _ends_line(plan: Plan, size: int) -> bool:
    with (plans_folder() / plan.id / _JOURNAL).open("rb") as file:
        file.seek(size - 1)
        return file.read(1) == b"\n"


def journal(plan: Plan) -> list[Entry]:
    """Return what became of a plan, the oldest line first; one that was cut short by a death is left out."""
    try:
        lines = (plans_folder() / plan.id / _JOURNAL).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        with suppress(msgspec.MsgspecError):
            entries.append(msgspec.json.decode(line, type=Entry))
    return entries


def keep_before(plan: Plan, findings: list[Finding]) -> None:
    """Keep what was found before a plan's first step; raises OSError."""
    write_whole(plans_folder() / plan.id / _BEFORE, msgspec.json.encode(findings, enc_hook=plain))


def before_of(plan: Plan) -> list[Finding]:
    """Return what was found before a plan's first step; nothing where it was not begun."""
    if not any(entry.event == "intent" for entry in journal(plan)):
        return []
    try:
        return msgspec.json.decode((plans_folder() / plan.id / _BEFORE).read_bytes(), type=list[Finding])
    except (OSError, msgspec.MsgspecError):
        return []
