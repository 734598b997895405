"""The page of one incident in the archive: what was noted and what was run, in order. Its address stays.

It is derived, as the index is: the entries and the runs are what was sealed.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from runbook.evidence.incidents import Incident, page_of
from runbook.evidence.page import part, policy, style_class, template

if TYPE_CHECKING:
    from runbook.evidence.index import Entry

# What a browser still shows at once; the rest is on the list of runs.
ROWS_SHOWN = 5_000
REPORT_PAGE, REPORT_PDF = "post-mortem.html", "post-mortem.pdf"


@dataclass(frozen=True)
class IncidentPage:
    """An incident and its runs, the oldest first, as the index knows them."""

    incident: Incident
    runs: "list[Entry]"


@dataclass(frozen=True)
class Row:
    """A line of the page: when, what kind of thing it was, what it says, and where it is."""

    at: str
    kind: Literal["opened", "note", "closed", "report", "run"]
    who: str
    says: str
    href: str
    status: str = ""
    name: str = ""
    target: str = ""


def incident_page(told: IncidentPage) -> bytes:
    """Return the page of an incident; the same incident gives the same bytes."""
    incident = told.incident
    rows = sorted([*_noted(incident), *map(_run, told.runs)], key=lambda row: row.at)
    reports = [row for row in rows if row.kind == "report"]
    style = part("common.css") + part("incident.css")
    page: str = template("incident.html").render(
        incident=incident,
        rows=rows[:ROWS_SHOWN],
        more=max(0, len(rows) - ROWS_SHOWN),
        runs=len(told.runs),
        targets=sorted({*incident.targets, *(run.target for run in told.runs if run.target)}),
        report=reports[-1] if reports else None,
        style=style,
        policy=policy(style),
        style_class=style_class,
        readable=readable,
    )
    return page.encode(errors="replace")


def readable(moment: str) -> str:
    """Return a time of ISO form as people read it, UTC."""
    return f"{moment[:19].replace('T', ' ')} UTC" if moment else ""


def _noted(incident: Incident) -> list[Row]:
    rows = []
    for noted in incident.notes:
        entry = noted.entry
        place = f"../runs/{noted.place.folder.parent.name}/{noted.place.run_id}"
        href = f"{place}/{REPORT_PAGE}" if entry.kind == "report" else f"{place}/incident.json"
        changed = [
            f"severity {entry.severity}" if entry.severity and entry.kind == "note" else "",
            f"owner {entry.owner}" if entry.owner and entry.kind == "note" else "",
            f"began at {readable(entry.began)}" if entry.began else "",
        ]
        says = "\n".join([entry.title or entry.text, *filter(None, changed)]).strip()
        rows.append(Row(at=entry.at, kind=entry.kind, who=entry.author, says=says, href=href))
    return rows


def _run(run: "Entry") -> Row:
    return Row(
        at=f"{run.day}T{run.clock}Z",
        kind="run",
        who=run.operator,
        says="\n".join(filter(None, [run.worst, *(f"plan: {plan}" for plan in run.plans)])),
        href=f"../{run.href}",
        status=run.status,
        name=run.notebook,
        target=run.target,
    )


__all__ = ["REPORT_PAGE", "REPORT_PDF", "IncidentPage", "incident_page", "page_of", "readable"]
