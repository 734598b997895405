"""Vacuum one table, or renew its statistics."""

from collections.abc import Mapping
from typing import Any

from psycopg import sql

from runbook.connections import OperatorDatabase, PostgresConnection
from runbook.model import Change, DoesNotApply, Draft, Step
from runbook.model.units import as_bytes, counted
from runbook.postgres.acts import composed
from runbook.postgres.tables import WATCHED, observe, refuse

# How long the statistics may take to tell what was done.
PATIENCE = 10.0
_GOES_ON = "reads and writes of the table go on; what changes its definition waits, and so does autovacuum of it"


def _statement(command: str, arguments: Mapping[str, Any]) -> sql.Composed:
    table = sql.Identifier(arguments["schema"], arguments["name"])
    return sql.SQL("{command} {table}").format(command=sql.SQL(command), table=table)


def _vacuuming(arguments: Mapping[str, Any]) -> sql.Composed:
    return _statement("VACUUM (ANALYZE)", arguments)


def _analyzing(arguments: Mapping[str, Any]) -> sql.Composed:
    return _statement("ANALYZE", arguments)


def _arguments(facts: Mapping[str, Any], minutes: float) -> dict[str, Any]:
    return {**{name: facts[name] for name in ("oid", "schema", "name")}, "seconds": 60 * minutes}


def draft_vacuum(facts: Mapping[str, Any], table: str, minutes: float) -> Draft:
    """Write out the VACUUM (ANALYZE) of a table, which may take so many ``minutes``."""
    refuse(facts, table, minutes, "vacuum")
    if facts["holder"]:
        raise DoesNotApply(
            f"the last vacuum of {facts['table_name']} could not remove its {facts['dead']:,} dead rows, held back by "
            f"{facts['holder']}: another one would not either; end that first"
        )
    arguments = _arguments(facts, minutes)
    dead = f"{counted(facts['dead'], 'dead row')} of {facts['dead'] + facts['live']:,}"
    return Draft(
        summary=f"vacuum {facts['table_name']}",
        steps=(Step(act="vacuum", shown=_vacuuming(arguments).as_string(), arguments=arguments),),
        blast_radius=(
            _GOES_ON,
            f"it reads {as_bytes(facts['bytes'])} and its indexes, writes what it cleans ({dead}), and is ended after "
            f"{minutes:g} min: what it has cleaned until then stays so",
            "at its end it may lock the table for a moment, to give empty pages back; it gives up when others wait",
        ),
        expected={"oid": facts["oid"], "vacuums": facts["vacuums"] + 1},
        irreversible="dead rows do not come back, and nobody misses them",
    )


def draft_analyze(facts: Mapping[str, Any], table: str, minutes: float) -> Draft:
    """Write out the ANALYZE of a table, which may take so many ``minutes``."""
    refuse(facts, table, minutes, "analyze")
    arguments = _arguments(facts, minutes)
    return Draft(
        summary=f"analyze {facts['table_name']}",
        steps=(Step(act="analyze", shown=_analyzing(arguments).as_string(), arguments=arguments),),
        blast_radius=(
            _GOES_ON,
            "it reads some 30,000 rows by default; plans of queries on the table may change, mostly for the better",
        ),
        expected={"oid": facts["oid"], "analyzes": facts["analyzes"] + 1},
        irreversible="the former statistics are not kept",
    )


vacuum = Change(
    name="postgres.vacuum",
    title="Vacuum a table and renew its statistics",
    observe=observe,
    draft=draft_vacuum,
    acts={"vacuum": composed(_vacuuming, happened="vacuumed_since")},
    needs=(PostgresConnection, OperatorDatabase),
    partial=True,
    watched=(*WATCHED, "vacuums"),
    patience=PATIENCE,
)

analyze = Change(
    name="postgres.analyze",
    title="Renew a table's statistics",
    observe=observe,
    draft=draft_analyze,
    acts={"analyze": composed(_analyzing, happened="analyzed_since")},
    needs=(PostgresConnection, OperatorDatabase),
    partial=True,
    watched=(*WATCHED, "analyzes"),
    patience=PATIENCE,
)
