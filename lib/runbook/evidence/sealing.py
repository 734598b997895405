"""Seal the folder of a run that has ended, at the next place of its writer's chain."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence import ledger
from runbook.evidence.archive import archive_id
from runbook.evidence.chain import Chain, Head
from runbook.evidence.facts import host, versions
from runbook.evidence.keys import signer
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.statement import Predicate, Source, Statement, digest, findings_digest
from runbook.model.layout import run_folder


class Ended(msgspec.Struct, kw_only=True):
    """What is to be sealed of a run beside its files; everything is scrubbed already.

    ``record`` is its RunRecord as plain data.
    """

    record: dict[str, Any]
    source: Source
    parameters: dict[str, Any]
    identity: dict[str, dict[str, str]]
    clock_offsets: dict[str, float]
    redactions: dict[str, int]
    pruned: list[str] = []


def seal_run(archive: Path, ended: Ended, lane: str = "") -> Head:
    """Seal a run and return where its chain has come to; ``lane`` tells chains of one key and machine apart.

    Raises `RunFailed` where there is no key, OSError where the archive cannot be written: nothing is sealed then.
    """
    key = signer()
    own = archive_id(archive)
    chain = Chain(archive, own, key, lane)
    run_id = str(ended.record["run_id"])
    head = chain.append(run_id, _statement(archive, own, chain.writer, ended, run_id))
    ledger.note(own, run_folder(archive, run_id), ended.record, ended.identity)
    return head


def _statement(archive: Path, own: str, writer: str, ended: Ended, run_id: str) -> Callable[[int, str], Statement]:
    record: Mapping[str, Any] = ended.record
    subjects = files_of(run_folder(archive, run_id))

    def make(seq: int, prev: str) -> Statement:
        told = {name: record[name] for name in ("operator", "incident", "mode", "started", "ended", "status", "exit")}
        return Statement(
            subjects,
            Predicate(
                run_id=run_id,
                archive=own,
                writer=writer,
                seq=seq,
                prev=prev,
                notebook=ended.source,
                parameters=ended.parameters,
                target=str(record["target"]),
                identity=ended.identity,
                clock_offsets=ended.clock_offsets,
                host=host(),
                findings=findings_digest(record["findings"]),
                redactions=ended.redactions,
                versions=versions(),
                pruned=ended.pruned,
                **told,
            ),
        )

    return make


def files_of(folder: Path) -> dict[str, str]:
    """Return the digest of each file of a run by its name in the folder, its seal aside."""
    return {
        str(path.relative_to(folder)): digest(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.name != SEAL_FILE
    }
