"""Does the service's data keep its own rules, whatever the database enforces of them?"""

from dataclasses import dataclass

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.model.units import counted

COLUMNS = read_sql(__package__, "columns")
DEADLINE = 20.0


@dataclass(frozen=True)
class _Rule:
    """A rule: its file in sql/, what breaks it in words, and the columns that it reads of each table."""

    name: str
    one: str
    many: str
    reads: dict[str, tuple[str, ...]]


_RULES = (
    _Rule("sentences_without_document", "sentence is of no document", "sentences are of no document",
          {"sentences": ("id", "doc_id"), "documents": ("doc_id",)}),
    _Rule("candidates_without_sentence", "candidate is of no sentence", "candidates are of no sentence",
          {"candidates": ("id", "sentence_id"), "sentences": ("id",)}),
    _Rule("items_without_candidate", "triage item is about no candidate", "triage items are about no candidate",
          {"triage_items": ("item_id", "candidate_id"), "candidates": ("id",)}),
    _Rule("items_of_other_sentence", "triage item is of another sentence than its candidate",
          "triage items are of another sentence than their candidate",
          {"triage_items": ("item_id", "candidate_id", "sentence_id"), "candidates": ("id", "sentence_id")}),
    _Rule("items_done_without_time", "triage item is completed without a time, or has one and is not",
          "triage items are completed without a time, or have one and are not",
          {"triage_items": ("item_id", "status", "completed_at")}),
    _Rule("offsets_outside_text", "candidate lies outside of its sentence's text",
          "candidates lie outside of their sentence's text",
          {"candidates": ("id", "sentence_id", "start_offset", "end_offset"), "sentences": ("id", "text")}),
)  # fmt: skip
_BY_NAME = {rule.name: rule for rule in _RULES}


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each rule: rule, rows (that break it; NaN: not looked for), first (the key of one of them),
    reason (why it was not looked for, and what that takes).

    A rule about a column that this service does not have is none of its rules: its reason says so, and it is left
    out of the judgement.
    """
    connection = asking.connection(PostgresConnection)
    told = connection.rows(COLUMNS)
    there = {(row["table"], row["column"]): bool(row["readable"]) for row in told.to_dict("records")}
    role = str(told["role"].iloc[0]) if len(told) else "the runbook's role"
    rows = []
    for rule in _RULES:
        reason = _why_not(rule, there, role)
        number, first = None, ""
        if not reason:
            try:
                found = connection.rows(read_sql(__package__, rule.name)).iloc[0]
                number, first = int(found["rows"]), str(found["first"] or "")
            except Unreachable:
                raise
            except CouldNotFindOut as why:
                reason = str(why)
        rows.append((rule.name, number, first, reason))
    frame = pd.DataFrame(rows, columns=["rule", "rows", "first", "reason"])
    return frame.astype({"rows": "float64"})


_ABSENT = "this service has no "


def _why_not(rule: _Rule, there: dict[tuple[str, str], bool], role: str) -> str:
    wanted = [(table, column) for table, columns in rule.reads.items() for column in columns]
    absent = [f"{table}.{column}" for table, column in wanted if (table, column) not in there]
    if absent:
        return _ABSENT + ", ".join(absent)
    closed = {table: columns for table, columns in rule.reads.items() if not all(there[table, c] for c in columns)}
    return "; ".join(f"GRANT SELECT ({', '.join(columns)}) ON {table} TO {role}" for table, columns in closed.items())


def check(frame: pd.DataFrame, *, broken: float = 0) -> list[Finding]:
    """Judge the rows that break a rule: more than ``broken`` is CRITICAL, for the service never writes one.

    A rule that cannot be looked for is UNKNOWN; a table or column that is not there is UNKNOWN only where none is there
    at all: then it is not the service's database.
    """
    findings, left_out = [], []
    for row in frame.to_dict("records"):
        rule = _BY_NAME[row["rule"]]
        name = rule.name.replace("_", " ")
        if pd.isna(row["rows"]):
            if row["reason"].startswith(_ABSENT):
                left_out.append(row["reason"].removeprefix(_ABSENT))
                continue
            message = f"not looked for: {row['reason']}"
            findings.append(Finding(object=name, status=Status.UNKNOWN, message=message))
        elif row["rows"] > broken:
            message = f"{counted(int(row['rows']), rule.one, rule.many)}, {row['first']} among them"
            findings.append(
                Finding(object=name, status=Status.CRITICAL, message=message, value=int(row["rows"]), threshold=broken,
                        unit="rows", source=read_sql(__package__, rule.name))
            )  # fmt: skip
    if len(left_out) == len(frame):
        message = f"the database holds none of the service's tables: there is no {left_out[0]}"
        return [Finding(object="rules", status=Status.UNKNOWN, message=message)]
    if findings:
        return findings
    message = f"{counted(len(frame) - len(left_out), 'rule')} of the service's data hold"
    message += f"; {len(left_out)} were left out: there is no {', no '.join(left_out)}" if left_out else ""
    return [Finding(object="rules", status=Status.OK, message=message, value=0, threshold=broken, unit="rows")]


rules = Question(
    name="annotations.rules",
    title="Does the service's data keep its own rules?",
    probe=probe,
    check=check,
    source="SELECT count(*) FROM sentences s WHERE NOT EXISTS (SELECT FROM documents d WHERE d.doc_id = s.doc_id); and "
    "so on, each in sql/ of the package",
    needs=(PostgresConnection,),
    deadline=DEADLINE,
    next="keep a copy of these rows; find out what wrote them; where rows are lost: data-corruption-recovery",
)
