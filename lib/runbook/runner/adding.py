"""Archive a notebook that a person ran by hand, and say plainly how it was run."""

import ast
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.statement import digest
from runbook.model import Findings, UsageError
from runbook.model.layout import BASELINE_NAME, ENTRY_NAME, is_run_id, new_run_id
from runbook.model.protocol import FINDINGS_MIME, Message, PlanRecord, ProtocolError, RunRecord, decode
from runbook.redaction import Redactor, redact_notebook
from runbook.runner.folder import RunFolder
from runbook.runner.leaving import leave
from runbook.runner.run import operator, take_plans, utc
from runbook.target import Target


class _Metadata(msgspec.Struct):
    tags: list[str] = []


class _Output(msgspec.Struct):
    data: dict[str, Any] = {}


class _Cell(msgspec.Struct):
    """What is read of a cell, whoever has written the file."""

    cell_type: str
    source: str | list[str]
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    outputs: list[_Output] = []
    execution_count: int | None = None


def read_notebook(path: Path) -> dict[str, Any]:
    """Return a notebook file as JSON; raises `UsageError` where it is none."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is no notebook: it is no JSON") from error
    if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
        raise UsageError(f"{path} is no notebook: it has no list of cells")
    try:
        msgspec.convert(document["cells"], list[_Cell])
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is no notebook: {error}, counted from `$`, its list of cells") from error
    return document


def target_of(document: dict[str, Any]) -> str:
    """Return the target that a notebook's parameters name; "" where none does."""
    return parameter_of(document, "target")


def parameter_of(document: dict[str, Any], name: str) -> str:
    """Return the text that a notebook's parameters give a name; the last cell that sets it counts. "" for none."""
    named = ""
    for cell in document["cells"]:
        tags = cell.get("metadata", {}).get("tags", [])
        if cell.get("cell_type") != "code" or not {"parameters", "injected-parameters"} & set(tags):
            continue
        try:
            lines = ast.parse("".join(cell["source"])).body
        except SyntaxError:
            continue
        for line in lines:
            names = [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
            value = getattr(line, "value", None)
            if any(isinstance(other, ast.Name) and other.id == name for other in names):
                named = value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else named
    return named


def add_notebook(
    path: Path, document: dict[str, Any], target: Target, archive: Path, *, incident: str = "", remark: str = ""
) -> RunRecord:
    """Archive a notebook as it was run by hand, scrubbed and sealed; return its record. It belongs to ``incident``.

    Its findings are those in its outputs; its remarks say what was run out of order, not at all, or changed after it
    was run. Raises `RunFailed` where the archive cannot be written.
    """
    redactor = Redactor(target.secret_values(), allow=target.redaction.allow)
    now = datetime.now(UTC)
    messages = _messages(document)
    findings = Findings()
    plans: dict[str, PlanRecord] = {}
    not_planned: dict[str, str] = {}
    for message in messages:
        if message.kind == "answer":
            findings.replace(message.check, message.findings)
        elif message.kind == "plan":
            take_plans(message, findings, plans, not_planned)
        elif message.kind == "summary":
            findings = Findings(message.findings)
    name = _name(path, messages)
    folder = RunFolder(archive, new_run_id(name, now), redactor)
    verdict = findings.verdict
    record = RunRecord(
        notebook=name,
        target=target.name,
        run_id=folder.path.name,
        status=str(verdict),
        exit=verdict.exit_status,
        error=None,
        seconds=round((messages[-1].asked_at - messages[0].asked_at).total_seconds(), 2) if messages else 0.0,
        evidence=str(folder.path),
        findings=list(findings),
        plans=list(plans.values()),
        not_planned=not_planned,
        started=utc(messages[0].asked_at) if messages else "",
        ended=utc(messages[-1].asked_at) if messages else "",
        operator=operator(),
        mode="interactive",
        incident=incident,
        remarks=[*remarks(document, messages, redactor), *filter(None, [remark])],
    )
    folder.create(record)
    scrubbed = redact_notebook(document, redactor)
    folder.write_notebook(json.dumps(scrubbed, ensure_ascii=False, indent=1) + "\n")
    opened = [message for message in messages if message.kind == "opened"]
    leave(
        archive,
        folder,
        record,
        notebook=path,
        redactor=redactor,
        identity=opened[-1].identity if opened else {},
        clock_offsets=opened[-1].clock_offsets if opened else {},
    )
    return record


def _name(path: Path, messages: list[Message]) -> str:
    """Return how a notebook calls itself, whatever its file was named; one in which nothing was run has told nothing.

    Raises `UsageError` for the name of what else lies among the runs.
    """
    own = [message.run_id for message in messages if is_run_id(message.run_id)]
    name = own[-1][21:-7] if own else path.stem
    if name in (ENTRY_NAME, BASELINE_NAME):
        raise UsageError(f"{path}: {name} is no name of a notebook: so the archive calls something else")
    return name


def _messages(document: dict[str, Any]) -> list[Message]:
    """Return what the library told in a notebook's outputs, in the order in which it was asked, wherever that stands.

    What was asked after the summary has not changed what that shows.
    """
    found = []
    for cell in document["cells"]:
        for output in cell.get("outputs", []):
            told = output.get("data", {}).get(FINDINGS_MIME)
            if told is not None:
                try:
                    found.append(decode(told))
                except ProtocolError as error:
                    raise UsageError(f"an output of the notebook cannot be read: {error}") from error
    return sorted(found, key=lambda message: message.asked_at)


def remarks(document: dict[str, Any], messages: list[Message], redactor: Redactor) -> Iterator[str]:
    """Yield a sentence for each thing about how a notebook was run that a reader must know."""
    code = [cell for cell in document["cells"] if cell.get("cell_type") == "code" and "".join(cell["source"]).strip()]
    counts = [cell.get("execution_count") for cell in code]
    never = [number for number, count in enumerate(counts, start=1) if count is None]
    if never:
        yield f"never run: code {_cells(never)} of {len(code)}"
    ran = [(number, count) for number, count in enumerate(counts, start=1) if count is not None]
    late = [number for (_, before), (number, count) in itertools.pairwise(ran) if count < before]
    if late:
        yield f"out of order: code {_cells(late)} was run before the one above it"
    most = max((count for _, count in ran), default=0)
    if most > len(ran):
        yield f"cells were run more than once, or removed after they ran: {most} runs of {len(ran)} cells"
    executed = {count: sha for message in messages for count, sha in message.executed.items()}
    now = {number: source_digest(code[number - 1], redactor) for number, _ in ran}
    edited = [number for number, count in ran if executed.get(str(count), now[number]) != now[number]]
    if edited:
        yield f"changed after it was run: code {_cells(edited)}; its output is that of another source"
    unknown = [number for number, count in ran if str(count) not in executed]
    if unknown:
        yield f"whether it was changed after it was run is not known: code {_cells(unknown)}"


def source_digest(cell: dict[str, Any], redactor: Redactor) -> str:
    """Return the digest of a cell's scrubbed source; blank lines around it do not count."""
    return digest(redactor.text("".join(cell["source"]).strip()).encode())


def _cells(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")
    return f"cell {shown}" if len(numbers) == 1 else f"cells {shown}"
