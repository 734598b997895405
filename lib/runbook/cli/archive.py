"""What the commands ``evidence list · show · diff · add · prune · push`` do."""

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook.evidence.archive import archive_folder, find_run
from runbook.evidence.incidents import entry_of
from runbook.evidence.records import Kept, all_kept, kept
from runbook.model import Findings, RunFailed, UsageError
from runbook.model.incident import is_incident_id
from runbook.model.layout import is_entry_id
from runbook.model.text import printable


def show_list(arguments: argparse.Namespace) -> int:
    """List the runs, newest first."""
    found = [run for run in all_kept(_archive()) if _is_asked_for(run, arguments)]
    shown = found[: arguments.most] if arguments.most > 0 else found
    for run in shown:
        record = run.record
        told = [run.place.run_id, run.state]
        entry = entry_of(run.place.folder) if is_entry_id(run.place.run_id) else None
        if entry is not None:
            told += [entry.incident, entry.kind, entry.at, entry.title or entry.text]
        elif record is not None:
            told += [record.status, record.target, record.started, record.mode, record.incident]
        _say("  ".join(printable(part) for part in told if part))
    if len(found) > len(shown):
        _say(f"… and {len(found) - len(shown)} more: -n 0 lists all")
    if not found:
        _say("no such run")
    return 0


def _is_asked_for(run: Kept, arguments: argparse.Namespace) -> bool:
    wanted = {name: getattr(arguments, name) for name in ("target", "notebook", "incident", "status")}
    return all(
        not value or (run.record is not None and str(getattr(run.record, name)).lower() == value.lower())
        for name, value in wanted.items()
    )


def show_run(arguments: argparse.Namespace) -> int:
    """Show one run: what it says, and whether that is what was sealed."""
    from runbook.evidence.keys import trusted_keys
    from runbook.evidence.verify import verify_run

    archive = _archive()
    run = kept(find_run(archive, arguments.run))
    if is_entry_id(run.place.run_id) and (entry := entry_of(run.place.folder)) is not None:
        _say(f"{run.place.run_id}: {entry.kind} of incident {entry.incident}, by {printable(entry.author)}, {entry.at}")
        _say(f"  {printable(entry.title or entry.text)}")
    if run.record is None:
        raise RunFailed(f"{run.place.run_id} is {run.state}: its record is not there")
    record = run.record
    _say(f"{record.run_id}: {record.notebook} on {record.target}, {record.status} (exit {record.exit})")
    _say(f"  {record.mode} run by {record.operator or '?'}, {record.started or '?'} to {record.ended or '?'}")
    for line in [*([f"error: {record.error}"] if record.error else []), *record.remarks]:
        _say(f"  {printable(line)}")
    for finding in Findings(record.findings).worst_first():
        _say(f"  {finding.status:<8} {printable(f'{finding.check}: {finding.object}: {finding.message}')}")
        if finding.bad and finding.next:
            _say(f"           next: {printable(finding.next)}")
    for plan in record.plans:
        helped = f"; it {plan.helped.answer}" if plan.helped is not None else ""
        _say(f"  {printable(f'plan {plan.id}: {plan.summary}: {plan.state}{helped}')}")
    if run.state == "interrupted":
        _say("  it was ended before it was sealed: what it holds proves nothing")
        return 0
    facts = verify_run(run.place, archive, trusted_keys([]))
    assert facts is not None
    for name, identity in facts.identity.items():
        _say(f"  {printable(f'{name}: ' + ', '.join(identity.values()))}")
    removed = ", ".join(f"{count} × {kind}" for kind, count in facts.redactions.items()) or "nothing"
    _say(f"  sealed as number {facts.seq} of {facts.writer}, and is what was sealed; removed from it: {removed}")
    _say(f"  {run.place.folder}")
    return 0


def show_difference(arguments: argparse.Namespace) -> int:
    """Show what changed from one run to another, or from the first run of an incident to its last, for each notebook
    and target; all must be what was sealed.
    """
    archive = _archive()
    if is_incident_id(arguments.before) and not arguments.after:
        return _show_course(arguments.before, archive)
    if not arguments.after:
        raise UsageError("two runs are compared; for an incident its id alone is enough")
    _show_pair(kept(find_run(archive, arguments.before)), kept(find_run(archive, arguments.after)), archive)
    return 0


def _show_course(incident: str, archive: Path) -> int:
    from runbook.evidence.incidents import load
    from runbook.evidence.standing import runs_of

    runs: dict[tuple[str, str], list[Kept]] = {}
    for run in runs_of(load(incident, archive), archive):
        if run.record is not None:
            runs.setdefault((run.record.notebook, run.record.target), []).append(run)
    pairs = [of_one for of_one in runs.values() if len(of_one) > 1]
    for of_one in pairs:
        _show_pair(of_one[0], of_one[-1], archive)
    if not pairs:
        _say("no notebook was run twice on the same target: there is nothing to compare")
    return 0


def _show_pair(first: Kept, last: Kept, archive: Path) -> None:
    from runbook.evidence.difference import changed_facts, changed_findings
    from runbook.evidence.keys import trusted_keys
    from runbook.evidence.verify import verify_run

    keys = trusted_keys([])
    pair = []
    for run in (first, last):
        facts = verify_run(run.place, archive, keys)
        if facts is None or run.record is None:
            raise RunFailed(f"{run.place.run_id} is {run.state}: there is nothing to compare")
        pair.append((run.record, facts))
    (before, facts_before), (after, facts_after) = pair
    _say(f"{before.run_id} {before.status} -> {after.run_id} {after.status}")
    lines = [*changed_findings(before, after), *changed_facts(facts_before, facts_after)]
    for line in lines or ["nothing else differs"]:
        _say(f"  {printable(line)}")


def add(arguments: argparse.Namespace) -> int:
    """Archive a notebook that was run by hand."""
    from runbook.evidence.index import rebuild_index
    from runbook.runner.adding import add_notebook, read_notebook, target_of
    from runbook.target import load_target

    path = Path(arguments.file)
    document = read_notebook(path)
    name = arguments.target or target_of(document)
    if not name:
        raise UsageError(f"{path} does not say which target it was run on; name it with --target")
    incident, remark = _incident_of(document, arguments)
    record = add_notebook(path, document, load_target(name), archive_folder(), incident=incident, remark=remark)
    rebuild_index(archive_folder())
    _say(f"{record.run_id}: {record.notebook} on {record.target}, {record.status}, told as interactive")
    _lines(record.remarks)
    _say(f"  {record.evidence}")
    return 0


def _incident_of(document: dict[str, Any], arguments: argparse.Namespace) -> tuple[str, str]:
    """Return the incident that a notebook belongs to, and what is to be said of that."""
    from runbook.evidence.incidents import to_attach
    from runbook.runner.adding import parameter_of

    if arguments.incident:
        return to_attach(arguments.incident, after_close=arguments.after_close).id, ""
    named = parameter_of(document, "incident")
    if not named:
        return "", ""
    try:
        return to_attach(named, after_close=arguments.after_close).id, ""
    except UsageError as why:
        return "", f"it names an incident, {named}, and belongs to none: {why}"


def prune(arguments: argparse.Namespace) -> int:
    """Show which runs would lose their files; with the plan's token, remove them."""
    from runbook.evidence.index import rebuild_index
    from runbook.evidence.keys import trusted_keys
    from runbook.evidence.pruning import plan_pruning
    from runbook.evidence.verify import verify_archive
    from runbook.runner.pruning import prune_runs

    archive = _archive()
    if arguments.older_than < 1:
        raise UsageError("--older-than takes a number of days, at least 1")
    verified = verify_archive(archive, trusted_keys([]))
    plan = plan_pruning(archive, verified, arguments.older_than, datetime.now(UTC))
    if not arguments.confirm:
        _say(f"{len(plan.run_ids)} runs older than {arguments.older_than} days would lose their files, for ever:")
        _lines([*plan.run_ids[:10], *([f"… and {len(plan.run_ids) - 10} more"] if len(plan.run_ids) > 10 else [])])
        _say(f"That frees {plan.bytes / 1e6:.1f} MB. Their seals stay, and the chain still verifies. IRREVERSIBLE.")
        _say(f"To do it: runbook evidence prune --older-than {arguments.older_than} --confirm {plan.token}")
        return 0
    if arguments.confirm != plan.token:
        raise UsageError("the token is not that of this plan: the archive has changed since; ask for the plan again")
    record = prune_runs(archive, plan.run_ids)
    rebuild_index(archive)
    _say(f"{len(plan.run_ids)} runs lost their files; {record.run_id} says which")
    return 0


def push(arguments: argparse.Namespace) -> int:
    """Copy the archive to an object store."""
    from runbook.evidence.pushing import push_archive

    told = push_archive(_archive(), arguments.place)
    _say(f"{told.copied} files copied ({told.bytes / 1e6:.1f} MB) and read back the same, {told.there} were there")
    return 0


def _archive() -> Path:
    archive = archive_folder()
    if not archive.is_dir():
        raise UsageError(f"there is no archive {archive}: nothing was run, or RUNBOOK_EVIDENCE names another folder")
    return archive


def _lines(lines: Iterable[str]) -> None:
    for line in lines:
        _say(f"  {printable(line)}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
