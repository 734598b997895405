"""End one session, or what it does: by its process id and the moment it began, since process ids are used again."""

from collections.abc import Mapping
from typing import Any

from runbook.connections import OperatorDatabase, PostgresConnection, read_sql
from runbook.model import Asking, Change, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import counted
from runbook.postgres import privileges
from runbook.postgres.acts import packaged, plain, written
from runbook.postgres.blocking import PREPARED, probe, trees
from runbook.postgres.query_text import masked

SESSION = read_sql(__package__, "session")
# The server's own processes: ending one of them is none of a runbook's business.
_CLIENTS = ("client backend", "parallel worker")


def observe(asking: Asking, pid: int) -> dict[str, Any]:
    """Return the facts about a session; pid 0 is the one that keeps the most others waiting.

    Of a session that there is: pid, backend_start, session_role, application, database, client, backend_type, state,
    xact_start, transaction_seconds, state_seconds, query, victims (how many wait for it, directly or not),
    session_is_superuser, operator (its role), operator_may (end it; None: not known). Otherwise only pid, 0 where
    nobody keeps anybody waiting.
    """
    connection = asking.connection(PostgresConnection)
    roots = trees(probe(asking))
    if not pid:
        pid = roots[0].pid if roots else 0
    frame = masked(connection.rows(SESSION, {"pid": pid, "operator": privileges.operator_of(asking)}))
    if frame.empty:
        return {"pid": pid, "backend_start": None}
    row = plain(frame)
    behind = next((len(tree.victims) for tree in roots if tree.pid == pid), 0)
    return {**row, "pid": pid, "victims": behind}


def _wanted(facts: Mapping[str, Any], pid: int) -> None:
    """Raise where there is no such session, or it is none that may be ended."""
    if facts["backend_start"] is None:
        if facts["pid"] == PREPARED and pid == 0:
            raise DoesNotApply("no session keeps another one waiting; give a pid to end one for another reason")
        raise DoesNotApply(f"there is no session with pid {facts['pid']}")
    if facts["backend_type"] not in _CLIENTS:
        raise NotPlanned(f"pid {facts['pid']} is the server's own {facts['backend_type']}, not a client's session")
    if str(facts["application"] or "").startswith("runbook "):
        raise NotPlanned(f"pid {facts['pid']} is a session of the runbook itself")
    if against := privileges.against_signalling([facts]):
        raise NotPlanned(f"pid {facts['pid']}: {against}")


def _who(facts: Mapping[str, Any]) -> str:
    application = facts["application"] or "no application name"
    return f"pid {facts['pid']} ({application}, {facts['session_role']}@{facts['database']} from {facts['client']})"


def draft_terminate(facts: Mapping[str, Any], pid: int) -> Draft:
    """Write out the end of a session."""
    _wanted(facts, pid)
    arguments = {"pid": facts["pid"], "backend_start": facts["backend_start"]}
    does = f"it has been {facts['state']} for {facts['state_seconds']:.0f} s: {facts['query']}"
    behind = counted(facts["victims"], "session that waits", "sessions that wait")
    work = "nothing: it has no transaction open"
    if facts["xact_start"]:
        work = f"its transaction, open for {facts['transaction_seconds']:.0f} s, is rolled back: its work is lost"
    return Draft(
        summary=f"end the session {_who(facts)}",
        steps=(Step(act="terminate", shown=written("terminate", arguments), arguments=arguments),),
        blast_radius=(
            does,
            work,
            f"{behind} for it, directly or not, may go on",
        ),
        irreversible="a session that was ended does not come back with its work; its application may open another",
    )


def draft_cancel(facts: Mapping[str, Any], pid: int) -> Draft:
    """Write out the cancelling of what a session does."""
    _wanted(facts, pid)
    if facts["state"] != "active":
        raise DoesNotApply(
            f"{_who(facts)} does nothing that could be cancelled: it is {facts['state']}; only ending it helps"
        )
    arguments = {name: facts[name] for name in ("pid", "backend_start", "xact_start")}
    return Draft(
        summary=f"cancel what the session {_who(facts)} does",
        steps=(Step(act="cancel", shown=written("cancel", arguments), arguments=arguments),),
        blast_radius=(
            f"its statement ends with an error: {facts['query']}",
            "its session goes on; a transaction that it is part of is to be rolled back by its application",
        ),
        irreversible="what was cancelled is to be asked again by its application",
    )


_GONE = "the session that was looked at is not there any more, or does something else by now: nothing was done"
_WATCHED = ("pid", "backend_start", "session_role", "application", "state", "xact_start")

terminate = Change(
    name="postgres.terminate",
    title="End a session of the database",
    observe=observe,
    draft=draft_terminate,
    acts={"terminate": packaged("terminate", none=_GONE, happened="session_is_gone")},
    needs=(PostgresConnection,),
    acts_on=(OperatorDatabase,),
    partial=True,
    watched=_WATCHED,
    repairs=True,
    patience=15.0,
)

cancel = Change(
    name="postgres.cancel",
    title="Cancel what a session of the database does",
    observe=observe,
    draft=draft_cancel,
    acts={"cancel": packaged("cancel", none=_GONE, happened="transaction_is_over")},
    needs=(PostgresConnection,),
    acts_on=(OperatorDatabase,),
    partial=True,
    watched=_WATCHED,
    repairs=True,
    patience=15.0,
)
