"""Do the standbys follow, and are they all there?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import as_bytes, counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.lag import judge_lag
from runbook.postgres.privileges import seeing_all
from runbook.postgres.receiver import judge_receiver, receiver_of

SQL = read_sql(__package__, "replication")
SLOT = read_sql(__package__, "slot_there")
_NEXT_MISSING = (
    "see whether it runs and what its log says last; its slot holds WAL meanwhile (postgres.replication_slots)"
)
_WORDS = (("sent_bytes", "sent"), ("write_bytes", "written"), ("flush_bytes", "flushed"), ("replay_bytes", "replayed"))


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each standby that is connected, and for each that is expected and is not (by `standbys` of the
    profile, or as its [standby], once that has a slot here): side ("downstream"), name, client, state ("absent": not
    connected), sync_state, sent_bytes, write_bytes, flush_bytes and replay_bytes (behind the server's own position),
    seconds (behind, None: idle), synchronous (the server's synchronous_standby_names), pid.

    Where the server is a standby itself, one more row tells of its receiver (see `runbook.postgres.receiver`), with
    side "upstream". Raises `CouldNotFindOut` with the missing grant.
    """
    connection = seeing_all(asking)
    found = connection.rows(SQL)
    rows: list[dict[Any, Any]] = []
    if found["in_recovery"].any():
        rows.append({"side": "upstream", "name": "this server", **receiver_of(connection)})
    connected = found[found["pid"].notna()].drop(columns="in_recovery")
    rows += [{"side": "downstream", **row} for row in connected.to_dict("records")]
    missing = [name for name in _expected(asking, connection) if name not in set(connected["name"])]
    rows += [{"side": "downstream", "name": name, "client": "", "state": "absent"} for name in missing]
    if not rows:
        rows.append({"side": "none", "name": "", "state": ""})
    frame = pd.DataFrame(rows)
    frame["synchronous"] = found["synchronous"].iloc[0]
    return frame


def _expected(asking: Asking, connection: PostgresConnection) -> list[str]:
    """Return the names of the standbys that are to be there."""
    names = list(asking.target.postgres.standbys if asking.target.postgres else ())
    standby = asking.target.standby
    if standby is not None and standby.name not in names:
        names += [standby.name] if connection.rows(SLOT, {"slot": standby.slot}).iloc[0, 0] else []
    return names


def check(
    frame: pd.DataFrame,
    *,
    warning: float = 5,
    critical: float = 60,
    warning_mib: float = 16,
    critical_mib: float = 1024,
) -> list[Finding]:
    """Judge each standby by how far it is behind, in seconds *and* in MiB of WAL, and by whether it is there at all.

    5 s is the limit that managed services' runbooks and check_postgres' users set for a lag; 16 MiB is one file of WAL,
    1024 MiB the default max_wal_size, beyond which a primary throws away what no slot holds. Bytes, since the usual
    formula of seconds gives 0 where the receiver has gone. One that is expected and that is not connected is
    CRITICAL, and so are commits that wait for a synchronous standby when none is there.
    """
    limits = {"warning": warning, "critical": critical, "warning_mib": warning_mib, "critical_mib": critical_mib}
    findings = [_judged(row, limits) for row in frame.to_dict("records") if row["side"] != "none"]
    findings += _synchronous(frame)
    if not findings:
        message = "no standby is connected, and the profile expects none"
        return [Finding(object="standbys", status=Status.OK, message=message, value=0, unit="standbys")]
    bad = sorted((f for f in findings if f.status is not Status.OK), key=lambda f: f.status is not Status.CRITICAL)
    well = [finding for finding in findings if finding.status is Status.OK]
    more = [] if len(bad) <= 10 else [_rest(bad[10:])]
    return [*bad[:10], *more, *well[:10]]


def _judged(row: Mapping[Any, Any], limits: dict[str, float]) -> Finding:
    if row["side"] == "upstream":
        return judge_receiver("this server", row, **limits)
    name = f"standby {row['name']}"
    if row["state"] == "absent":
        message = "is expected by the profile and not connected: nothing is sent to it"
        return Finding(object=name, status=Status.CRITICAL, message=message, value="absent", next=_NEXT_MISSING)
    where = f"{row['client']}, {row['state']}, {row['sync_state']}"
    if row["state"] == "backup":
        return Finding(object=name, status=Status.OK, message=f"{where}: a base backup is being taken")
    told = ", ".join(f"{word} {as_bytes(row[column])}" for column, word in _WORDS if pd.notna(row[column]))
    message = f"{where}; behind by: {told or 'nothing is told yet'}"
    judged = judge_lag(name, row["replay_bytes"], row["seconds"], message=message, **limits)
    if judged.status is Status.OK and row["state"] != "streaming":
        return Finding(object=name, status=Status.WARNING, message=message, value=row["state"], threshold="streaming")
    return judged


def _synchronous(frame: pd.DataFrame) -> list[Finding]:
    names = frame["synchronous"].iloc[0]
    there = frame["sync_state"] if "sync_state" in frame else pd.Series(dtype=object)
    if not names or there.isin(["sync", "quorum"]).any():
        return []
    message = f"synchronous_standby_names is {names}, and no synchronous standby is connected: every commit waits"
    after = "bring the standby back; or, giving up its safety, empty synchronous_standby_names and reload"
    return [Finding(object="synchronous standbys", status=Status.CRITICAL, message=message, value=0, next=after)]


def _rest(findings: list[Finding]) -> Finding:
    message = f"{counted(len(findings), 'more standby is', 'more standbys are')} not well"
    return Finding(object="more standbys", status=findings[0].status, message=message, value=len(findings))


replication = Question(
    name="postgres.replication",
    title="Do the standbys follow?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="see the standby's log, and what its queries hold back: a long query on it delays the replay",
    explained_by=EXPLAINED_BY,
)
