"""Execute a statement once, to see how it is carried out: what is estimated by `explain`, measured."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from runbook.connections import OperatorDatabase, PostgresConnection
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.postgres.acts import plain
from runbook.postgres.prepared import STATEMENT, execute, prepare, prepared
from runbook.postgres.statements import statements

OPTIONS = "ANALYZE, BUFFERS"
_MOST_SECONDS = 300


def observe(asking: Asking, statement: int, values: str, seconds: float) -> dict[str, Any]:
    """Return the facts about a statement of pg_stat_statements: queryid (as a text), query, calls, mean_ms, parameters
    (how many values it takes, as far as the text tells); only queryid where there is none, or none is named.
    """
    if not statement:
        return {"queryid": "", "query": None}
    with statements(asking.connection(PostgresConnection)) as (rows, _):
        found = rows(STATEMENT, {"queryid": statement, "role": ""})
    if found.empty or not isinstance(found["query"].iloc[0], str):
        return {"queryid": str(statement), "query": None}
    facts = plain(found.drop(columns="shown"))
    return {**facts, "queryid": str(statement), "parameters": _parameters(facts["query"])}


def _parameters(text: str) -> int:
    number = 0
    while f"${number + 1}" in text:
        number += 1
    return number


def draft(facts: Mapping[str, Any], statement: int, values: str, seconds: float) -> Draft:
    """Write out one execution. ``values`` is a JSON list with a text, a number or null for each of its parameters;
    ``seconds`` bounds it.
    """
    if not statement:
        raise DoesNotApply("no statement is named: give the query id of one that only reads")
    if facts["query"] is None:
        raise DoesNotApply(f"no statement {statement} is recorded in this database with its text")
    if not _only_reads(facts["query"]):
        raise NotPlanned(f"statement {statement} is no SELECT: only what reads is executed to see how")
    if not 0 < seconds <= _MOST_SECONDS:
        raise NotPlanned(f"it may take up to {_MOST_SECONDS} s, not {seconds:g} s")
    given = _values(values)
    if len(given) != facts["parameters"]:
        raise NotPlanned(
            f"statement {statement} takes {facts['parameters']} values, and {len(given)} are given: as a JSON list"
        )
    arguments = {"query": facts["query"], "values": given, "seconds": seconds}
    shown = [
        "BEGIN READ ONLY",
        f"SET LOCAL statement_timeout = '{seconds:g}s'",
        prepare(facts["query"]).as_string(),
        execute(OPTIONS, given).as_string(),
        "ROLLBACK",
    ]
    return Draft(
        summary=f"execute statement {statement} once, and roll it back",
        steps=(Step(act="explain_analyze", shown="; ".join(shown), arguments=arguments),),
        blast_radius=(
            f"it costs the server as much as any of its calls: {facts['mean_ms']:,.1f} ms on average; ended after "
            f"{seconds:g} s",
            "what it reads takes the place of other data in the buffers",
            "it cannot write: its transaction is read-only and rolled back; but a function that it calls may act "
            "outside of the database",
        ),
        irreversible="it changes nothing that could be undone",
    )


def _only_reads(text: str) -> bool:
    """Tell whether a statement is a SELECT by its first word; that it does not write is for the transaction to hold."""
    words = [line.split("--")[0] for line in text.splitlines()]
    first = " ".join(words).lstrip("( \t").lower()
    return first.startswith(("select", "with", "table", "values"))


def _values(values: str) -> list[str | None]:
    try:
        told = json.loads(values or "[]")
    except ValueError:
        told = None
    if not isinstance(told, list) or any(isinstance(value, list | dict) for value in told):
        raise NotPlanned('the values are to be a JSON list, such as ["item007", 5, null]')
    return [value if value is None else json.dumps(value) if not isinstance(value, str) else value for value in told]


def _execute(asking: Asking, arguments: Mapping[str, Any]) -> str:
    connection = asking.connection(OperatorDatabase)
    try:
        with prepared(connection, arguments["query"], float(arguments["seconds"])) as (rows, _):
            # With the plan that one call gets, which knows its values.
            rows("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
            rows("SET LOCAL jit TO DEFAULT")
            lines = rows(execute(OPTIONS, arguments["values"])).iloc[:, 0]
    except CouldNotFindOut as refused:
        raise ChangeFailed(str(refused)) from refused
    return "\n".join(map(str, lines))


def _nothing_left(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    # Cut short, it has left nothing behind, and nothing of what it told: it may be executed once more.
    return False


explain_analyze = Change(
    name="postgres.explain_analyze",
    title="Execute a statement once, to see how",
    observe=observe,
    draft=draft,
    acts={"explain_analyze": Act(_execute, _nothing_left)},
    needs=(PostgresConnection,),
    acts_on=(OperatorDatabase,),
    partial=True,
    watched=("queryid", "query"),
    patience=1.0,
)
