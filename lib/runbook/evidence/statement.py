"""What is sealed of a run: an in-toto Statement whose subjects are the run's files and whose predicate is its facts."""

import hashlib
import json
import re
from typing import Any, Literal

import msgspec

from runbook.evidence.archive import NotTrusted, read_json

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "urn:shrimp-runbook:run:v1"
_SUBJECT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Source(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The notebook that was run: its name and digest, and where the collection stood (``commit`` None outside git)."""

    name: str
    sha256: str
    commit: str | None = None
    dirty: bool | None = None


class Predicate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The facts of a run.

    ``seq`` and ``prev`` chain the runs of one ``writer`` in one ``archive``: its place, counted from 1, and the digest
    of the seal before ("" for the first). ``findings`` is the digest of the findings; ``redactions`` counts what was
    removed, by kind; ``pruned`` names the runs whose files this one, a pruning, removed. Times are UTC.
    """

    run_id: str
    archive: str
    writer: str
    seq: int
    prev: str
    notebook: Source
    parameters: dict[str, Any]
    target: str
    identity: dict[str, dict[str, str]]
    clock_offsets: dict[str, float]
    operator: str
    host: str
    incident: str
    mode: Literal["headless", "interactive"]
    started: str
    ended: str
    status: str
    exit: int
    findings: str
    redactions: dict[str, int]
    versions: dict[str, str]
    pruned: list[str] = []


class Statement(msgspec.Struct, frozen=True):
    """A statement that was read: the digest of each file by its name, and the facts."""

    subjects: dict[str, str]
    predicate: Predicate


def digest(content: bytes) -> str:
    """Return the sha256 of what is in the archive."""
    return hashlib.sha256(content).hexdigest()


def findings_digest(findings: list[dict[str, Any]]) -> str:
    """Return the digest of findings as plain data, whatever the order of their keys."""
    return digest(json.dumps(findings, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode())


def as_payload(statement: Statement) -> bytes:
    """Return a statement as it is sealed."""
    subjects = [{"name": name, "digest": {"sha256": sha}} for name, sha in sorted(statement.subjects.items())]
    told = {
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": msgspec.to_builtins(statement.predicate),
    }
    return json.dumps(told, ensure_ascii=False, sort_keys=True).encode()


def read_payload(payload: bytes, what: str) -> Statement:
    """Return the statement of a payload whose signature holds; raises `NotTrusted` for another shape."""
    told = read_json(payload, f"the statement in {what}")
    if set(told) != {"_type", "subject", "predicateType", "predicate"} or told["_type"] != STATEMENT:
        raise NotTrusted(f"{what} seals something else than an in-toto statement")
    if told["predicateType"] != PREDICATE:
        raise NotTrusted(f"{what} seals something else than a run: {told['predicateType']!r}")
    try:
        predicate = msgspec.convert(told["predicate"], Predicate)
    except msgspec.ValidationError as error:
        raise NotTrusted(f"the facts sealed in {what} have another shape: {error}") from error
    return Statement(_subjects(told["subject"], what), predicate)


def _subjects(told: Any, what: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for subject in told if isinstance(told, list) else [None]:
        name = subject.get("name") if isinstance(subject, dict) else None
        sha = subject.get("digest", {}).get("sha256") if isinstance(subject, dict) else None
        if not isinstance(name, str) or not isinstance(sha, str) or not _DIGEST.fullmatch(sha):
            raise NotTrusted(f"{what} names a file without its digest")
        if not _SUBJECT.fullmatch(name):
            raise NotTrusted(f"{what} names a file outside of its run: {name!r}")
        if name in found:
            raise NotTrusted(f"{what} names the file {name} twice")
        found[name] = sha
    return found
