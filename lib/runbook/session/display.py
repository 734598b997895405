"""How a run, an answer and a summary show themselves: plain text for the terminal and nbval, HTML for the reader."""

import html
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from runbook.model import Answer, Finding, Findings, Question, Status
from runbook.model.protocol import FINDINGS_MIME, Message, encode
from runbook.model.text import printable, shortened
from runbook.model.units import counted
from runbook.redaction import Redactor
from runbook.session.plots import COLOURS
from runbook.target import Target

if TYPE_CHECKING:
    import pandas as pd

    from runbook.session.dependencies import Dependencies

# A table longer than this is read as data, not in a notebook; the Parquet file beside it has every row.
ROWS_SHOWN = 50
CELL_CHARACTERS = 300


@dataclass(frozen=True)
class ShownAnswer(Answer):
    """An answer that shows its verdict, its findings and its table."""

    run_id: str = ""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        message = Message(
            kind="answer",
            run_id=self.run_id,
            check=self.question.name,
            asked_at=self.asked_at,
            seconds=self.seconds,
            findings=list(self.findings),
            data=self.data,
        )
        title = html.escape(self.question.title)
        asked = dict.fromkeys(finding.source for finding in self.findings if finding.source)
        table = details_html(self.frame, list(asked))
        return {
            "text/plain": "\n".join([f"{self.verdict}: {self.question.title}", *lines(self.findings)]),
            "text/html": f"<p>{badge(self.verdict)} <b>{title}</b></p>{findings_html(self.findings)}{table}",
            FINDINGS_MIME: encode(message),
        }


@dataclass(frozen=True)
class Summary:
    """All findings of a run, the most severe first, and the verdict last."""

    run_id: str
    notebook: str
    target: Target
    findings: Findings
    opened_at: datetime
    closed_at: datetime
    executed: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> Status:
        """Return the verdict of the run."""
        return self.findings.verdict

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        ordered = self.findings.worst_first()
        message = Message(
            kind="summary",
            run_id=self.run_id,
            check="",
            asked_at=self.closed_at,
            seconds=(self.closed_at - self.opened_at).total_seconds(),
            findings=list(self.findings),
            executed=self.executed,
        )
        counted = ", ".join(f"{n} {status}" for status, n in _count(ordered).items())
        verdict = f"verdict: {self.verdict} ({counted or 'no findings'})"
        calls = self._calls()
        first = self._first(ordered)
        body = findings_html(ordered, with_check=True)
        return {
            "text/plain": "\n".join([*lines(ordered, with_check=True), *first, *calls, verdict]),
            "text/html": f"{body}{''.join(f'<p>{html.escape(line)}</p>' for line in (*first, *calls))}"
            f"<p>{badge(self.verdict)} <b>{html.escape(verdict)}</b></p>",
            FINDINGS_MIME: encode(message),
        }

    @staticmethod
    def _first(ordered: Sequence[Finding]) -> list[str]:
        """Return in one sentence what is wrong first, and what to do; nothing where all is well."""
        bad = [finding for finding in ordered if finding.bad and finding.counts and not finding.explained_by]
        if not bad:
            return []
        # What is known to be wrong is a better lead than what could not be asked.
        first = next((finding for finding in bad if finding.status is not Status.UNKNOWN), bad[0])
        then = f"; {first.next}" if first.next else ""
        unasked = sum(finding.status is Status.UNKNOWN for finding in bad if finding is not first)
        more = f" ({counted(unasked, 'thing')} could not be found out)" if unasked else ""
        return [f"begin here: {first.check} {shortened(first.object)}: {first.message}{then}{more}"]

    def _calls(self) -> list[str]:
        if self.verdict is Status.OK:
            return []
        return [
            f"call: {contact.name}, by {contact.how}" + (f" ({contact.when})" if contact.when else "")
            for contact in self.target.contacts
        ]


@dataclass(frozen=True)
class TargetShown:
    """The target as the run found it: prove it before touching it."""

    run_id: str
    target: Target
    incident: str
    opened_at: datetime
    dependencies: "Dependencies"

    def bundle(self, redactor: Redactor) -> dict[str, Any]:
        """Return the target's identity as text and HTML, scrubbed."""
        clocks = self.dependencies.clocks()
        rows = []
        for name, identity, error in self.dependencies.identities():
            told = ", ".join(f"{key} {value}" if key != "what" else value for key, value in identity.items())
            clock = clocks.get(name)
            if clock is not None:
                told += f", clock {clock.offset:+.1f} s"
            rows.append((name, redactor.text(f"NOT OPEN: {error}" if error else told)))
        head = f"target {self.target.name}, {self.opened_at:%Y-%m-%d %H:%M:%S} UTC, {self.run_id}"
        if self.incident:
            head += f", incident {redactor.text(self.incident)}"
        width = max((len(name) for name, _ in rows), default=0)
        table = "".join(
            f'<tr><th style="text-align:left">{html.escape(name)}</th>'
            f'<td style="text-align:left">{html.escape(told)}</td></tr>'
            for name, told in rows
        )
        message = Message(
            kind="opened",
            run_id=self.run_id,
            check="",
            asked_at=self.opened_at,
            seconds=0.0,
            findings=[],
            identity={
                name: identity if error is None else {"not open": str(error)}
                for name, identity, error in self.dependencies.identities()
            },
            clock_offsets={name: round(clock.offset, 3) for name, clock in clocks.items()},
        )
        return {
            "text/plain": "\n".join([head, *(f"  {name:<{width}}  {told}" for name, told in rows)]),
            "text/html": f"<p><b>{html.escape(head)}</b></p><table>{table}</table>",
            FINDINGS_MIME: redactor.data(encode(message)),
        }


def explain(findings: Findings, questions: Mapping[str, Question], not_asked: Set[str]) -> Findings:
    """Return the findings, each that another CRITICAL finding explains pointing to that one and saying why.

    ``not_asked`` names the checks whose questions could not be asked. Where several explain it, the one that is not
    itself explained is named: the root, not a step on the way.
    """
    critical = {finding.check for finding in findings if finding.status is Status.CRITICAL and finding.counts}
    causes = {finding.key: _causes(finding, questions, critical, not_asked) for finding in findings}
    roots = {finding.check for finding in findings if finding.check in critical and not causes[finding.key]}
    explained = []
    for finding in findings:
        root = next((cause for cause in causes[finding.key] if cause in roots), None)
        if root is None:
            explained.append(finding)
        else:
            depends = "what fails here depends on it"
            first = f"first {root}: {questions[finding.check].explained_by.get(root, depends)}"
            explained.append(msgspec.structs.replace(finding, explained_by=root, next=first))
    return Findings(explained)


def _causes(finding: Finding, questions: Mapping[str, Question], critical: Set[str], not_asked: Set[str]) -> list[str]:
    question = questions.get(finding.check)
    if question is None or not finding.bad:
        return []
    said = f"{finding.object} {finding.message}"
    caused = [cause for cause, words in question.caused_by.items() if any(word in said for word in words)]
    # Else only what could not be asked, or was answered with an error that says nothing, can have its cause elsewhere;
    # what was measured stands for itself.
    failed = (
        finding.unit == "HTTP status" and isinstance(finding.value, int | float) and finding.value in (500, 502, 504)
    )
    if finding.check in not_asked or failed:
        caused += question.explained_by
    return [cause for cause in caused if cause in critical]


def lines(findings: Iterable[Finding], *, with_check: bool = False) -> list[str]:
    """Return a line of text for each finding, and under one that is not well what to do next."""
    told = []
    for finding in findings:
        named = shortened(finding.object)
        subject = f"{finding.check}: {named}" if with_check else named
        told.append(f"  {finding.status:<8} {subject}: {finding.message}")
        if finding.acknowledged is not None:
            accepted = finding.acknowledged
            told.append(f"           acknowledged until {accepted.until}: {accepted.reason}")
        elif finding.next:
            told.append(f"           next: {finding.next}")
    return told


def badge(status: Status) -> str:
    """Return a status as a coloured word of HTML."""
    return (
        f'<span style="background:{COLOURS[status]};color:#fff;padding:1px 7px;border-radius:3px;'
        f'font-weight:600">{status}</span>'
    )


def findings_html(findings: Sequence[Finding], *, with_check: bool = False) -> str:
    """Return findings as an HTML table; every text in it is escaped."""
    if not findings:
        return ""
    advised = any(finding.next or finding.acknowledged for finding in findings)
    rows = []
    for finding in findings:
        after = finding.next
        if finding.acknowledged is not None:
            after = f"acknowledged until {finding.acknowledged.until}: {finding.acknowledged.reason}"
        cells = [finding.check] if with_check else []
        cells += [shortened(finding.object), finding.message, *([after] if advised else [])]
        rows.append(
            f"<tr><td>{badge(finding.status)}</td>"
            + "".join(f'<td style="text-align:left">{html.escape(cell)}</td>' for cell in cells)
            + "</tr>"
        )
    names = ["status", *(["check"] if with_check else []), "object", "finding", *(["next"] if advised else [])]
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in names)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def details_html(frame: "pd.DataFrame | None", sources: Sequence[str]) -> str:
    """Return, folded away, the rows behind an answer and what to run to get them again; every text escaped.

    At most `ROWS_SHOWN` rows are shown, and long texts are cut; the Parquet file beside the notebook has them all.
    """
    rows = 0 if frame is None else len(frame)
    asked = "".join(f"<pre>{html.escape(source)}</pre>" for source in sources)
    more = f", the first {ROWS_SHOWN} of them" if rows > ROWS_SHOWN else ""
    table = _frame_html(frame) if frame is not None and rows else ""
    counted = f"data: {rows} row{'' if rows == 1 else 's'}{more}; asked by"
    return f"<details><summary>{counted}</summary>{asked}{table}</details>"


def _frame_html(frame: "pd.DataFrame") -> str:
    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in frame.columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in row) + "</tr>"
        for row in frame.head(ROWS_SHOWN).itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else printable(str(value))
    return text if len(text) <= CELL_CHARACTERS else f"{text[:CELL_CHARACTERS]}… ({len(text)} characters)"


def _count(findings: Iterable[Finding]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for finding in findings:
        key = "acknowledged" if finding.acknowledged is not None else str(finding.status)
        counted[key] = counted.get(key, 0) + 1
    return counted
