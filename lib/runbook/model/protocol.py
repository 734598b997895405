"""What a kernel tells its runner, and what a run's JSON looks like: typed, versioned, strictly read."""

import math
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from runbook.model.errors import RunbookError
from runbook.model.finding import Finding
from runbook.model.plan import Entry, Helped, Plan, PlanState

SCHEMA = 1
FINDINGS_MIME = "application/vnd.runbook.findings+json"


class ProtocolError(RunbookError):
    """A message that claims to carry findings and does not."""


class DataFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Parquet file behind a table or plot: its name in the run's ``data`` folder, digest and size."""

    file: str
    sha256: str
    rows: int
    columns: list[str]


class PlanRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan as a run made, showed or carried it out.

    ``steps`` are the commands as one would give them by hand. ``journal`` is what became of it until then; ``before``
    and ``after`` are the findings around it, and ``helped`` compares them. ``told`` has a sentence for each thing that
    is worth knowing. ``token`` is "" wherever this is written down.
    """

    id: str
    summary: str
    steps: list[str]
    state: PlanState
    plan: Plan
    token: str = ""
    journal: list[Entry] = []
    before: list[Finding] = []
    after: list[Finding] = []
    helped: Helped | None = None
    told: list[str] = []


# What stands in the place of a version that a part of the target did not tell.
NO_VERSION = "not told"


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One display of a run: the target that it found (``kind`` "opened"), an answer's findings ("answer"), a plan and
    what became of it ("plan"), or all findings again ("summary").

    ``identity`` proves each part of the target in a few words by name, ``clock_offsets`` says how many seconds its
    clock is ahead of this machine's. ``executed`` holds, in a summary, the digest of each scrubbed source that was run
    by its execution count: so a cell that was changed afterwards is known. ``not_planned`` says why there is no plan.
    ``to_copy`` is the text by which a person does by hand what was not carried out.
    """

    schema: int = SCHEMA
    kind: Literal["opened", "answer", "plan", "summary"]
    run_id: str
    check: str
    asked_at: Annotated[datetime, msgspec.Meta(tz=True)]
    seconds: float
    findings: list[Finding]
    data: DataFile | None = None
    identity: dict[str, dict[str, str]] = {}
    clock_offsets: dict[str, float] = {}
    executed: dict[str, str] = {}
    plans: "list[PlanRecord]" = []
    not_planned: str = ""
    to_copy: str = ""


def encode(message: Message) -> dict[str, Any]:
    """Return the message as plain JSON data for a MIME bundle.

    JSON has no infinity: a limit that is never reached, or a value without end, is told in words.
    """
    built: dict[str, Any] = msgspec.to_builtins(message, enc_hook=plain)
    for finding in built.get("findings", []):
        for key in ("value", "threshold"):
            if isinstance(finding.get(key), float) and not math.isfinite(finding[key]):
                finding[key] = str(finding[key])
    return built


def plain(value: Any) -> Any:
    """Return the Python number in a scalar of a DataFrame."""
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"a finding holds a {type(value).__name__}, which is no plain data")


def decode(data: object) -> Message:
    """Return the message in a MIME bundle; raises `ProtocolError` for another schema or shape."""
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        raise ProtocolError(f"findings of schema {data.get('schema')!r}; this runner reads schema {SCHEMA}")
    try:
        return msgspec.convert(data, Message)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"a message of findings does not have the agreed shape: {error}") from error


# How the error of a run begins that somebody ended: it says nothing of the target.
INTERRUPTED = "interrupted by "


class RunRecord(msgspec.Struct, kw_only=True):
    """One run as `run --json` prints it and as ``run.json`` in its folder keeps it.

    ``exit`` is the exit status that this run alone would give; ``error`` says why the run itself failed, else None.
    ``not_planned`` says, by the name of a change, why there is no plan of it; ``to_copy`` holds, by it, the text by
    which a person does the same by hand.
    ``started`` and ``ended`` are UTC times of ISO form ("" where it was never begun, or did not end); ``mode`` is
    "headless", or "interactive" for a notebook that a person ran and added; ``remarks`` say how that was run.
    """

    notebook: str
    target: str
    run_id: str
    status: str
    exit: int
    error: str | None
    seconds: float
    evidence: str
    findings: list[Finding]
    plans: list[PlanRecord] = []
    not_planned: dict[str, str] = {}
    to_copy: dict[str, str] = {}
    started: str = ""
    ended: str = ""
    operator: str = ""
    incident: str = ""
    mode: Literal["headless", "interactive"] = "headless"
    remarks: list[str] = []


class RunsDocument(msgspec.Struct, kw_only=True):
    """The one document that ``run --json`` prints."""

    schema: int = SCHEMA
    runs: list[RunRecord]
