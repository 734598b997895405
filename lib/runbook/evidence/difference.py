"""What changed from one run to another: findings by their key, plans, and the versions that they ran with."""

from collections.abc import Iterator
from typing import Any

from runbook.evidence.statement import Predicate
from runbook.model import Finding
from runbook.model.protocol import RunRecord
from runbook.model.units import quantity


def changed_findings(before: RunRecord, after: RunRecord) -> Iterator[str]:
    """Yield a line for each finding that came, went, or has another status, value or message."""
    old = {finding.key: finding for finding in before.findings}
    new = {finding.key: finding for finding in after.findings}
    for key in [*old, *(key for key in new if key not in old)]:
        name = f"{key[0]}: {key[1]}"
        one, other = old.get(key), new.get(key)
        if other is None:
            yield f"- {name}: was {_told(one)}"
        elif one is None:
            yield f"+ {name}: {_told(other)}"
        elif one.status != other.status:
            yield f"! {name}: {one.status} -> {_told(other)}"
        elif (one.value, one.message) != (other.value, other.message):
            yield f"~ {name}: {_value(one)} -> {_value(other)} ({other.status})"


def _told(finding: Finding | None) -> str:
    return f"{finding.status}, {finding.message}" if finding is not None else ""


def _value(finding: Finding) -> str:
    return finding.message if finding.value is None else quantity(finding.value, finding.unit)


def changed_facts(before: Predicate, after: Predicate) -> Iterator[str]:
    """Yield a line for each fact that differs: the notebook, the collection, the target's identity, the versions."""
    pairs: list[tuple[str, Any, Any]] = [
        ("target", before.target, after.target),
        ("incident", before.incident or "none", after.incident or "none"),
        ("host", before.host, after.host),
        ("notebook's digest", before.notebook.sha256[:12], after.notebook.sha256[:12]),
        ("collection's commit", _commit(before), _commit(after)),
    ]
    for what, old, new in (
        ("parameter", before.parameters, after.parameters),
        ("version of", before.versions, after.versions),
        ("identity of", _flat(before.identity), _flat(after.identity)),
    ):
        pairs += [(f"{what} {name}", old.get(name), new.get(name)) for name in sorted({*old, *new})]
    for what, one, other in pairs:
        if one != other:
            yield f"{what}: {one} -> {other}"


def _commit(facts: Predicate) -> str:
    commit = (facts.notebook.commit or "not in git")[:12]
    return f"{commit}, changed since" if facts.notebook.dirty else commit


def _flat(identity: dict[str, dict[str, str]]) -> dict[str, str]:
    return {name: ", ".join(parts.values()) for name, parts in identity.items()}
