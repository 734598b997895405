"""Does the server keep passwords so that a stolen one is of no use?"""

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, first_of
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import role_of

SETTING = read_sql(__package__, "password_encryption")
KINDS = read_sql(__package__, "password_kinds")
VIEW = read_sql(__package__, "password_kinds_view")
SCRAM = "scram-sha-256"
_NAME = "role_password_kinds"


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for the setting (role "") and one for each role: role, can_log_in, kind (none, plain, md5,
    scram-sha-256). Of the passwords themselves nothing is read.

    ``attrs`` tell why the roles' could not be read (roles), with the statement that lets the runbook's role see it.
    """
    connection = asking.connection(PostgresConnection)
    kind = str(connection.rows(SETTING).iloc[0, 0])
    rows = pd.DataFrame([{"role": "", "can_log_in": False, "kind": kind}])
    try:
        roles, reason = _kinds(connection), ""
    except Unreachable:
        raise
    except CouldNotFindOut as refused:
        roles, reason = rows.head(0), f"{refused}; {_granting(role_of(connection))}"
    frame = pd.concat([rows, roles], ignore_index=True) if len(roles) else rows
    frame.attrs.update(roles=reason)
    return frame


def _kinds(connection: PostgresConnection) -> pd.DataFrame:
    try:
        return connection.rows(KINDS)
    except Unreachable:
        raise
    except CouldNotFindOut as refused:
        try:
            return connection.rows(VIEW)
        except Unreachable:
            raise
        except CouldNotFindOut:
            raise refused from None  # the view is what mends it, and is told with it


def _granting(role: str) -> str:
    select = KINDS.partition("\n")[2].replace("\n", " ")
    view = f"CREATE VIEW {_NAME} AS {' '.join(select.split())}"
    return f"as a superuser: {view}; GRANT SELECT ON {_NAME} TO {role}"


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the setting and each role's password: md5 can be replayed by whoever reads it, and plain is plain."""
    setting = str(frame.iloc[0]["kind"])
    status = Status.OK if setting == SCRAM else Status.WARNING
    message = f"password_encryption is {setting}" + ("" if status is Status.OK else f": set it to {SCRAM}")
    findings = [Finding(object="setting", status=status, message=message, value=setting)]
    if frame.attrs["roles"]:
        message = f"in which form the roles' passwords are kept could not be read: {frame.attrs['roles']}"
        return [*findings, Finding(object="roles", status=Status.UNKNOWN, message=message)]
    roles = frame.iloc[1:]
    bad = [
        Finding(
            object=f"role {row['role']}",
            status=Status.CRITICAL if row["kind"] == "plain" else Status.WARNING,
            message=f"its password is kept as {row['kind']}: whoever reads it can log in; set it again (\\password)",
            value=row["kind"],
        )
        for row in roles.to_dict("records")
        if row["kind"] in ("plain", "md5")
    ]
    if bad:
        return [*findings, *first_of(bad, "roles")]
    without = int((roles["can_log_in"] & (roles["kind"] == "none")).sum())
    message = (
        f"none of {counted(len(roles), 'role')} has a password kept otherwise; roles that log in without any: {without}"
    )
    return [*findings, Finding(object="roles", status=Status.OK, message=message, value=0, unit="roles")]


password_encryption = Question(
    name="postgres.password_encryption",
    title="Are the passwords of the database's roles kept so that a stolen one is of no use?",
    probe=probe,
    check=check,
    source=f"{SETTING};\n{KINDS}",
    needs=(PostgresConnection,),
    next="password_encryption = scram-sha-256, reload, then set the passwords again: the old form stays until then",
    explained_by=EXPLAINED_BY,
)
