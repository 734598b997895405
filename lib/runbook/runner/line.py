"""What `run` tells a scheduler in its last line: how it ended, and where the evidence is. It holds no token."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from runbook.model.layout import REPORT_FILE, page_of
from runbook.model.protocol import SCHEMA, RunRecord

_TOLD = ("notebook", "target", "run_id", "status", "exit", "error")


def as_line(status: int, records: Sequence[RunRecord], served: Mapping[str, str | None], error: str = "") -> str:
    """Return how a call ended as one line of JSON: its exit ``status``, its runs, and why nothing was run.

    The ``report`` of a run is a link to its page: where the archive of its target is ``served``, else to the file.
    """
    runs = [
        {name: getattr(one, name) for name in _TOLD} | {"report": _link(one, served.get(one.target))} for one in records
    ]
    return msgspec.json.encode({"schema": SCHEMA, "exit": status, "error": error or None, "runs": runs}).decode()


def _link(record: RunRecord, served: str | None) -> str:
    if not record.run_id or not record.evidence:
        return ""
    if served:
        return page_of(record.run_id, served)
    page = Path(record.evidence, REPORT_FILE)
    return (page if page.exists() else page.parent).as_uri()
