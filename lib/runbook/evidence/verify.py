"""Verify an archive with public keys alone: what is there is what was sealed, and nothing is missing in between."""

import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.archive import ARCHIVE_FILE, NotTrusted, RunPlace, read_archive_id, read_json, runs
from runbook.evidence.chain import CHAINS_FOLDER, HEAD_FILE, Head, heads, parse_head
from runbook.evidence.seal import SEAL_FILE, opened
from runbook.evidence.statement import Predicate, Statement, digest
from runbook.model.layout import DATA_FOLDER, RECORD_FILE, run_folder


class SealedRun(msgspec.Struct, frozen=True):
    """A run whose seal holds: its facts, the digest of its seal, and whether its files were pruned."""

    facts: Predicate
    digest: str
    pruned: bool


class Verified(msgspec.Struct):
    """What was verified: the sealed runs by id in the order of time, and those that were interrupted before a seal."""

    runs: dict[str, SealedRun] = {}
    interrupted: list[str] = []

    @property
    def pruned(self) -> list[str]:
        """Return the runs of which only the sealed statement is left."""
        return [run_id for run_id, run in self.runs.items() if run.pruned]

    def heads(self) -> dict[str, SealedRun]:
        """Return the last run of each chain, by writer."""
        last: dict[str, SealedRun] = {}
        for run in self.runs.values():
            before = last.get(run.facts.writer)
            if before is None or before.facts.seq < run.facts.seq:
                last[run.facts.writer] = run
        return last


def verify_archive(archive: Path, keys: Mapping[str, Any], published: Sequence[str] = ()) -> Verified:
    """Return what an archive proves; raises `NotTrusted` with the first thing that is wrong.

    ``published`` are heads as `evidence head` prints them: without one, runs cut off the end of a chain, and the files
    of a run that was never sealed, cannot be told from what never was.
    """
    verified = Verified()
    statements: dict[str, Statement] = {}
    for place in runs(archive):
        statement = _statement(place, archive, keys)
        if statement is None:
            verified.interrupted.append(place.run_id)
        else:
            statements[place.run_id] = statement
            content = (place.folder / SEAL_FILE).read_bytes()
            verified.runs[place.run_id] = SealedRun(statement.predicate, digest(content), pruned=False)
    pruned = {run_id for statement in statements.values() for run_id in statement.predicate.pruned}
    for run_id, statement in statements.items():
        if _files(RunPlace(run_id, run_folder(archive, run_id)), archive, statement, may_be_gone=run_id in pruned):
            verified.runs[run_id] = msgspec.structs.replace(verified.runs[run_id], pruned=True)
    _whole_chains(verified, archive)
    _noted(verified, archive)
    for line in published:
        _reaches(verified, line)
    return verified


def verify_run(place: RunPlace, archive: Path, keys: Mapping[str, Any]) -> Predicate | None:
    """Return the facts of one run, or None where it was interrupted before its seal; raises `NotTrusted`.

    Its place in the chain is not looked at: that needs the whole archive.
    """
    statement = _statement(place, archive, keys)
    if statement is None:
        return None
    _files(place, archive, statement, may_be_gone=False)
    return statement.predicate


def sealed_content(
    place: RunPlace, archive: Path, keys: Mapping[str, Any], names: Sequence[str]
) -> tuple[Predicate, dict[str, bytes]] | None:
    """Return the facts of one record and the content of some of its files, just as it was sealed.

    None where it was interrupted before its seal; raises `NotTrusted` where anything in it is not what was sealed. The
    very bytes that are returned were compared: who changes a file meanwhile changes nothing of them.
    """
    statement = _statement(place, archive, keys)
    if statement is None:
        return None
    _files(place, archive, statement, may_be_gone=False)
    found = {}
    for name in names:
        try:
            found[name] = (place.folder / name).read_bytes()
        except OSError as error:
            raise NotTrusted(f"{place.run_id}/{name} cannot be read: {error.strerror}") from error
        if digest(found[name]) != statement.subjects.get(name):
            raise NotTrusted(f"{place.run_id}/{name} is not what was sealed: its content was changed")
    return statement.predicate, found


def _statement(place: RunPlace, archive: Path, keys: Mapping[str, Any]) -> Statement | None:
    """Return what is sealed of a run; None where it has no seal."""
    path = place.folder / SEAL_FILE
    shown = str(path.relative_to(archive))
    if path.is_symlink():
        raise NotTrusted(f"{shown} is a symbolic link: the archive holds none of its own")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotTrusted(f"{shown} cannot be read: {error.strerror}") from error
    statement = opened(content, keys, shown)
    if statement.predicate.run_id != place.run_id:
        raise NotTrusted(f"{shown} seals another run, {statement.predicate.run_id}: it was copied or renamed")
    return statement


def _files(place: RunPlace, archive: Path, statement: Statement, *, may_be_gone: bool) -> bool:
    """Check a run's files against its seal; tell whether all of them were pruned."""
    there = set()
    for path in sorted(place.folder.rglob("*")):
        shown = str(path.relative_to(archive))
        name = str(path.relative_to(place.folder))
        kind = path.lstat().st_mode
        if stat.S_ISLNK(kind):
            raise NotTrusted(f"{shown} is a symbolic link: the archive holds none of its own")
        if stat.S_ISDIR(kind) and name == DATA_FOLDER:
            continue
        if not stat.S_ISREG(kind):
            raise NotTrusted(f"{shown} is no file: something was put there")
        if name == SEAL_FILE:
            continue
        if name not in statement.subjects:
            raise NotTrusted(f"{shown} was not there when the run was sealed: a file was added or renamed")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise NotTrusted(f"{shown} cannot be read: {error.strerror}") from error
        if digest(content) != statement.subjects[name]:
            raise NotTrusted(f"{shown} is not what was sealed: its content was changed")
        if name == RECORD_FILE and read_json(content, shown).get("run_id") != place.run_id:
            raise NotTrusted(f"{shown} is the record of another run")
        there.add(name)
    missing = sorted(set(statement.subjects) - there)
    if missing and not may_be_gone:
        shown = str((place.folder / missing[0]).relative_to(archive))
        raise NotTrusted(f"{shown} was sealed and is not there any more")
    return bool(missing)


def _whole_chains(verified: Verified, archive: Path) -> None:
    """Check that the seals of each writer follow one another without a gap."""
    chains: dict[str, list[tuple[str, SealedRun]]] = {}
    for run_id, run in verified.runs.items():
        chains.setdefault(run.facts.writer, []).append((run_id, run))
    own = read_archive_id(archive / ARCHIVE_FILE) if verified.runs and (archive / ARCHIVE_FILE).exists() else None
    if verified.runs and own is None:
        raise NotTrusted(f"{ARCHIVE_FILE} is not there, so it cannot be told which archive these runs belong to")
    for writer, links in sorted(chains.items()):
        before, before_id = "", ""
        for place, (run_id, run) in enumerate(sorted(links, key=lambda link: (link[1].facts.seq, link[0])), start=1):
            if run.facts.archive != own:
                raise NotTrusted(f"{run_id} was sealed for another archive, {run.facts.archive}: it was copied here")
            if run.facts.seq < place:
                raise NotTrusted(f"{run_id} and {before_id} both have place {run.facts.seq} in the chain of {writer}")
            if run.facts.seq > place:
                raise NotTrusted(
                    f"run {place} of the chain of {writer} is missing: it came before {run_id}"
                    + (f" and after {before_id}" if before_id else "")
                )
            if run.facts.prev != before:
                after = before_id or "nothing"
                raise NotTrusted(f"{run_id} does not follow on {after}: the chain was put together anew")
            before, before_id = run.digest, run_id


def _noted(verified: Verified, archive: Path) -> None:
    """Check that each chain ends where its writer noted, or just behind: a death may have come before the note."""
    last = verified.heads()
    for writer, head in heads(archive).items():
        run = last.get(writer)
        seq, end = 0, Head()
        if run is not None:
            seq, end = run.facts.seq, Head(seq=run.facts.seq, digest=run.digest, run_id=run.facts.run_id)
        behind = run is not None and (head.pending, head.seq + 1, head.digest) == (end.run_id, seq, run.facts.prev)
        at_end = msgspec.structs.replace(head, pending="") == end and head.pending not in verified.runs
        if not (behind or at_end):
            raise NotTrusted(
                f"{CHAINS_FOLDER}/{writer}/{HEAD_FILE} notes run {head.seq} as the last, the chain ends at run {seq}: "
                + ("its tail was cut off" if head.seq > seq else "the note was changed")
            )


def _reaches(verified: Verified, line: str) -> None:
    """Check that a published head is in its chain."""
    archive, writer, seq, sha = parse_head(line)
    for run_id, run in verified.runs.items():
        if (run.facts.archive, run.facts.writer, run.facts.seq) == (archive, writer, seq):
            if run.digest != sha:
                raise NotTrusted(f"{run_id} is not the run whose seal was published as number {seq} of {writer}")
            return
    raise NotTrusted(f"the chain of {writer} ends before its published head, run {seq}: its tail was cut off")
