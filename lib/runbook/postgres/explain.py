"""How would PostgreSQL carry out a statement?"""

from typing import Any

import pandas as pd

from runbook.connections import ApplicationDatabase, PostgresConnection, read_sql
from runbook.model import Answer, Asking, CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.model.units import as_bytes
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.prepared import STATEMENT, execute, nodes, prepared
from runbook.postgres.query_text import masked
from runbook.postgres.statements import shortened, statements

RELATIONS = read_sql(__package__, "planned_relations")
COLUMNS = ["depth", "node", "schema", "relation", "filter", "rows", "cost", "table_rows", "table_bytes"]
_SCANS = ("Seq Scan", "Index Scan", "Bitmap Heap Scan")
# An index that narrows little down costs about as much as reading the whole table: this part of it counts as much.
_A_LOT = 0.25


def probe(asking: Asking, *, statement: int = 0) -> pd.DataFrame:
    """Return a row for each node of the plan of a statement, which is not executed: depth, node, schema, relation,
    filter (without literals), rows and cost (both the planner's estimates, cost in its own units), table_rows,
    table_bytes.

    ``statement`` is a query id of pg_stat_statements, in this database; 0 is that of those which have cost the
    application the most that can be planned: of some the constants' types cannot be told. The plan is the generic one,
    for any values, as the application's role gets it. No row says that there is no such statement yet. The frame's
    attrs hold ``queryid``, ``query`` (shortened), ``role``.

    Raises `CouldNotFindOut` where it has no plan (a utility statement), or the role may not plan it.
    """
    application = asking.connection(ApplicationDatabase)
    role = application.identity["role"].removesuffix(" (superuser)")
    with statements(asking.connection(PostgresConnection)) as (rows, _):
        found = masked(rows(STATEMENT, {"queryid": statement, "role": role}), "shown")
    if found.empty:
        if statement:
            raise CouldNotFindOut(f"no statement {statement} is recorded in this database")
        frame = pd.DataFrame(columns=COLUMNS)
        frame.attrs = {"queryid": 0, "query": "", "role": role}
        return frame
    refused = []
    for row in found.to_dict("records"):
        try:
            frame = _planned(application, row["query"])
        except Unreachable:
            raise
        except CouldNotFindOut as reason:
            told = f"statement {row['queryid']} has no plan for {role}: {reason}; {shortened(row['shown'])}"
            refused.append(told)
            continue
        frame.attrs = {"queryid": int(row["queryid"]), "query": row["shown"], "role": role}
        return frame
    raise CouldNotFindOut(refused[0])


def _planned(application: PostgresConnection, text: str | None) -> pd.DataFrame:
    if text is None:
        raise CouldNotFindOut("the server has not kept its text")
    with prepared(application, text) as (rows, parameters):
        rows("SELECT set_config('plan_cache_mode', 'force_generic_plan', true)")
        plan = rows(execute("FORMAT JSON, VERBOSE", [None] * parameters)).iloc[0, 0]
        frame = nodes(plan)
        tables = frame.loc[frame["relation"] != "", ["schema", "relation"]].drop_duplicates()
        wanted = {"schemas": list(tables["schema"]), "relations": list(tables["relation"])}
        sizes = rows(RELATIONS, wanted)
    frame = masked(frame, "filter")
    return frame.merge(sizes, on=["schema", "relation"], how="left")[COLUMNS]


def check(frame: pd.DataFrame, *, rows: float = 10_000, kept: float = 10) -> list[Finding]:
    """Judge each table that is read for most of its rows: WARNING where it has ``rows`` and no more than ``kept`` % of
    them pass its filter, by the planner's estimate: an index would find them.

    From 10 000 rows on pghero looks for a missing index; a statement that wants much of a table does well to read all
    of it.
    """
    attrs = frame.attrs
    if frame.empty:
        message = f"no statement of {attrs['role']} is recorded yet"
        return [Finding(object="statement", status=Status.OK, message=message)]
    name, cost = f"statement {attrs['queryid']}", float(frame["cost"].iloc[0])
    told = f"estimated cost {cost:,.0f}: {shortened(attrs['query'])}"
    scans = frame[frame["node"].isin(_SCANS) & frame["filter"].ne("") & (frame["table_rows"] >= rows)]
    scans = scans[(100 * scans["rows"] <= kept * scans["table_rows"]) & (scans["cost"] >= _A_LOT * _whole(scans))]
    if scans.empty:
        message = f"it reads much of no table of {rows:,.0f} rows for a few of them; {told}"
        return [Finding(object=name, status=Status.OK, message=message, value=cost, unit="(planner's cost)")]
    return [_scan(row, name, told, rows) for row in scans.drop_duplicates(["schema", "relation"]).to_dict("records")]


def _whole(frame: pd.DataFrame) -> "pd.Series[float]":
    """Return what it costs to read all of each table, by the planner's default costs of a page and of a row."""
    return frame["table_bytes"] / 8192 + 0.01 * frame["table_rows"]


def _scan(row: dict[Any, Any], name: str, told: str, rows: float) -> Finding:
    much = "all" if row["node"] == "Seq Scan" else "much"
    message = f"reads {much} of {row['schema']}.{row['relation']} ({row['table_rows']:,.0f} rows, "
    message += f"{as_bytes(row['table_bytes'])}) for about {row['rows']:,.0f} of them, by the filter "
    message += f"{shortened(row['filter'])}; {told}"
    return Finding(
        object=f"{name} on {row['schema']}.{row['relation']}",
        status=Status.WARNING,
        message=message,
        value=float(row["table_rows"]),
        threshold=rows,
        unit="rows",
    )


def slowest(*answers: Answer) -> int:
    """Return the query id of the worst statement of this database in the first answer that found a slow one; else 0."""
    for answer in answers:
        frame = answer.frame
        named = {finding.object for finding in answer.findings if finding.bad}
        if frame is None or frame.empty:
            continue
        for queryid in frame["queryid"].dropna():
            if f"statement {int(queryid)}" in named:
                return int(queryid)
    return 0


explain = Question(
    name="postgres.explain",
    title="How would PostgreSQL carry out the worst statement?",
    probe=probe,
    check=check,
    source="PREPARE s AS …; SET plan_cache_mode = force_generic_plan; EXPLAIN (VERBOSE) EXECUTE s(NULL, …)",
    needs=(PostgresConnection, ApplicationDatabase),
    next="CREATE INDEX CONCURRENTLY on what the filter names; see first whether one was dropped",
    explained_by=EXPLAINED_BY,
)
