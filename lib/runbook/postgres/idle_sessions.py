"""End the idle sessions of one application: those that were idle for long, outside of a transaction."""

from collections.abc import Mapping
from typing import Any

from runbook.connections import OperatorDatabase, PostgresConnection, read_sql
from runbook.model import Asking, Change, DoesNotApply, Draft, NotPlanned, Step
from runbook.model.units import counted
from runbook.postgres.acts import packaged, written
from runbook.postgres.privileges import against_signalling, operator_of, seeing_all

SQL = read_sql(__package__, "idle_sessions")
# Idle for less may be a pause between two requests of somebody.
SHORTEST = 60.0


def observe(asking: Asking, application: str, older: float) -> dict[str, Any]:
    """Return application, and sessions: of each that has been idle for ``older`` seconds or longer, the longest first,
    pid, backend_start, session_role, client, idle_seconds, session_is_superuser, operator (its role), operator_may (end
    it; None: not known). ``(role NAME)`` are those that give no application, as `postgres.connections` names them.
    """
    values = {"application": application, "seconds": max(older, 0.0), "operator": operator_of(asking)}
    frame = seeing_all(asking).rows(SQL, values).astype({"pid": int, "operator_may": object})
    return {"application": application, "sessions": frame.to_dict("records")}


def draft(facts: Mapping[str, Any], application: str, older: float) -> Draft:
    """Write out the end of every session that was idle for ``older`` seconds."""
    if not application:
        raise DoesNotApply("no application is named: give the one that holds the connections")
    if older < SHORTEST:
        raise NotPlanned(f"idle for {older:g} s may be a pause between two requests: {SHORTEST:g} s at least")
    if application.startswith("runbook "):
        raise NotPlanned("these are sessions of the runbook itself")
    sessions = facts["sessions"]
    if not sessions:
        raise DoesNotApply(f"no session of {application} has been idle for {older:g} s outside of a transaction")
    if against := against_signalling(sessions):
        raise NotPlanned(against)
    arguments = {
        "pids": [session["pid"] for session in sessions],
        "backend_starts": [session["backend_start"] for session in sessions],
        "idle_seconds": older,
    }
    roles = ", ".join(sorted({str(session["session_role"]) for session in sessions}))
    longest, shortest = sessions[0]["idle_seconds"], sessions[-1]["idle_seconds"]
    return Draft(
        summary=f"end {counted(len(sessions), 'idle session')} of {application}",
        steps=(Step(act="terminate_idle", shown=written("terminate_idle", arguments), arguments=arguments),),
        blast_radius=(
            f"sessions of {roles}, idle for {shortest:.0f} to {longest:.0f} s; none has a transaction open",
            "a pool that does not test its connections gives the next request a dead one: it fails once",
            "one that works again by then is left alone: the statement asks once more",
            "what leaks goes on leaking until its application is mended",
        ),
        irreversible="a session does not come back; its application opens another when it needs one",
    )


terminate_idle = Change(
    name="postgres.terminate_idle",
    title="End the idle sessions of an application",
    observe=observe,
    draft=draft,
    acts={
        "terminate_idle": packaged("terminate_idle", none="none of these sessions is idle any more: nothing was done")
    },
    needs=(PostgresConnection,),
    acts_on=(OperatorDatabase,),
    # Not the sessions: they come and go, and the statement ends only those that were looked at and are idle still.
    partial=True,
    watched=("application",),
    repairs=True,
    patience=15.0,
)
