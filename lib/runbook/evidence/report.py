"""One run as one page: what is wrong, how bad, what to do; then how it was found out. It opens for ever and offline."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.cells import Cell, cells_of
from runbook.evidence.incidents import page_of
from runbook.evidence.page import counted, part, policy, style_class, template
from runbook.model import Finding, Findings, RunbookError
from runbook.model.incident import is_incident_id
from runbook.model.layout import DATA_FOLDER, NOTEBOOK_FILE, RECORD_FILE
from runbook.model.plan_text import journal_lines, plan_lines
from runbook.model.protocol import RunRecord
from runbook.model.units import as_bytes, quantity

DID_NOT_END = "DID NOT END"


class ReportError(RunbookError):
    """A run's folder whose record cannot be read: there is nothing to make a page of."""


class ReportExporter:
    """Makes pages of runs; the first one takes the time that its parts need to load."""

    def render(self, folder: Path) -> bytes:
        """Return the page of the run in a folder of the archive, made of its record and its notebook.

        The same folder gives the same bytes. A notebook that is not there, or damaged, is said to be so on the page.
        Raises `ReportError` where the record cannot be read.
        """
        record = read_record(folder)
        notebook, missing = _read_notebook(folder / NOTEBOOK_FILE)
        style = part("common.css") + part("report.css")
        page: str = template("report.html").render(
            record=record,
            status=shown_status(record),
            title=_title(notebook),
            groups=_groups(record.findings),
            counts=counted(_counted_as(finding) for finding in record.findings),
            facts=_facts(record),
            incident=f"../../../{page_of(record.incident)}" if is_incident_id(record.incident) else "",
            cells=_not_empty(cells_of(notebook)),
            missing=missing,
            data=_data_files(folder / DATA_FOLDER),
            plans=[(plan, [*plan_lines(plan), *journal_lines(plan)]) for plan in record.plans],
            style=style,
            policy=policy(style),
            style_class=style_class,
            quantity=quantity,
        )
        return page.encode(errors="replace")


_exporter = ReportExporter()


def render_report(folder: Path) -> bytes:
    """Return the page of the run in a folder; as `ReportExporter.render`, with one exporter for all calls."""
    return _exporter.render(folder)


def read_record(folder: Path) -> RunRecord:
    """Return the record in a run's folder; raises `ReportError`."""
    try:
        return msgspec.json.decode((folder / RECORD_FILE).read_bytes(), type=RunRecord)
    except OSError as error:
        raise ReportError(f"{folder.name}: its {RECORD_FILE} cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ReportError(f"{folder.name}: its {RECORD_FILE} is not the record of a run: {error}") from error


def shown_status(record: RunRecord) -> str:
    """Return a run's status, or that it did not end (records of before they told times do not say that)."""
    return DID_NOT_END if record.started and not record.ended else record.status


@dataclass(frozen=True)
class Row:
    """A finding in the table, and where it stands in it: ``kind`` "cause", "explained", "acknowledged" or "well"."""

    finding: Finding
    kind: str


@dataclass(frozen=True)
class Groups:
    """The findings in the order in which they are read."""

    wrong: list[Row]
    acknowledged: list[Row]
    well: list[Row]


def _groups(findings: Iterable[Finding]) -> Groups:
    """Return what is wrong with what it explains under it, what is accepted, and what is well."""
    ordered = Findings(findings).worst_first()
    bad = [finding for finding in ordered if finding.bad]
    explained: dict[str, list[Finding]] = {}
    for finding in bad:
        if finding.explained_by:
            explained.setdefault(finding.explained_by, []).append(finding)
    wrong = []
    for finding in bad:
        if not finding.explained_by:
            wrong.append(Row(finding, "cause"))
            wrong += [Row(other, "explained") for other in explained.pop(finding.check, [])]
    wrong += [Row(finding, "explained") for others in explained.values() for finding in others]
    return Groups(
        wrong,
        [Row(finding, "acknowledged") for finding in ordered if finding.acknowledged is not None],
        [Row(finding, "well") for finding in ordered if not finding.bad and finding.acknowledged is None],
    )


def _counted_as(finding: Finding) -> str:
    return "acknowledged" if finding.acknowledged is not None else finding.status.value


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    facts = [
        ("target", record.target),
        ("notebook", record.notebook),
        ("incident", record.incident),
        ("started", _moment(record.started)),
        ("ended", _moment(record.ended) if record.ended or not record.started else "it did not end"),
        ("took", f"{record.seconds:.1f} s" if record.ended or not record.started else ""),
        ("operator", record.operator),
        ("mode", "interactive: a person ran it and added it" if record.mode == "interactive" else "headless"),
        ("exit status", str(record.exit)),
        ("run", record.run_id),
    ]
    return [(name, value) for name, value in facts if value]


def _moment(stamp: str) -> str:
    return stamp.replace("T", " ").replace("Z", " UTC") if stamp else "not recorded"


def _title(notebook: Any) -> str:
    """Return the question that the notebook answers, as its metadata say; "" where they do not."""
    at: Any = notebook
    for key in ("metadata", "runbook", "title"):
        at = at.get(key) if isinstance(at, dict) else None
    return at if isinstance(at, str) else ""


def _read_notebook(path: Path) -> tuple[Any, str]:
    """Return a notebook's document and "", or None and why there is none."""
    try:
        return json.loads(path.read_bytes()), ""
    except FileNotFoundError:
        return None, "The run left no notebook: it was ended before its first cell was written."
    except OSError as error:
        return None, f"The notebook cannot be read: {error.strerror}."
    except (ValueError, RecursionError) as error:
        return None, f"The notebook is damaged: {type(error).__name__}."


def _not_empty(cells: list[Cell]) -> list[Cell]:
    """Return the cells without those that hold nothing."""
    return [cell for cell in cells if cell.prose or cell.code or cell.outputs]


def _data_files(folder: Path) -> list[tuple[str, str]]:
    """Return the names and sizes of the data behind the answers."""
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.is_file())
        return [(path.name, as_bytes(path.stat().st_size)) for path in files]
    except OSError:
        return []
