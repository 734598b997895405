"""Set what the runbook's own command would have shown beside the right figure."""

from collections.abc import Sequence

import msgspec

from runbook.model import Finding


def beside(note: str, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings, the first of them with the note at the end of its message; told once, it is enough."""
    if not note or not findings:
        return list(findings)
    first = msgspec.structs.replace(findings[0], message=f"{findings[0].message}. Beside it, {note}")
    return [first, *findings[1:]]
