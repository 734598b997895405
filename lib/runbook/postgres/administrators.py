"""Has somebody become an administrator of the service, or of the database?"""

from datetime import UTC, datetime

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY

ADMINISTRATORS = read_sql(__package__, "administrators")
PRIVILEGED_ROLES = read_sql(__package__, "privileged_roles")


def probe_administrators(asking: Asking) -> pd.DataFrame:
    """Return a row for each administrator: username, is_active, created_at, last_login, days (since it was made).

    Raises `CouldNotFindOut` where the table may not be read.
    """
    try:
        frame = asking.connection(PostgresConnection).rows(ADMINISTRATORS)
    except CouldNotFindOut as reason:
        columns = "username, role, is_active, created_at, last_login"
        raise CouldNotFindOut(f"{reason}; it takes GRANT SELECT ({columns}) ON users TO the runbook's role") from reason
    now = datetime.now(UTC)
    frame["days"] = [(now - created).total_seconds() / 86400 for created in frame["created_at"]]
    return frame


def check_administrators(frame: pd.DataFrame, *, days: float = 30) -> list[Finding]:
    """Name each administrator that is younger than ``days``: somebody should remember having made it.

    A change of an older user's role leaves no time in this table: the list itself is to be compared with who should be.
    """
    names = ", ".join(frame["username"].head(10)) or "none"
    new = frame[frame["days"] < days]
    findings = [
        Finding(
            object=f"user {row['username']}",
            status=Status.WARNING,
            message=f"an administrator made {row['days']:.1f} days ago ({row['created_at']:%Y-%m-%d %H:%M} UTC)",
            value=float(row["days"]),
            threshold=days,
            unit="days",
        )
        for row in new.to_dict("records")
    ]
    if findings:
        return findings
    message = f"{counted(len(frame), 'administrator')}, none made within {days:g} days: {names}"
    return [Finding(object="administrators", status=Status.OK, message=message, value=len(frame), unit="users")]


def probe_roles(asking: Asking) -> pd.DataFrame:
    """Return a row for each privileged role of the server: role, can_log_in, powers, made_at_initdb."""
    return asking.connection(PostgresConnection).rows(PRIVILEGED_ROLES)


def check_roles(frame: pd.DataFrame) -> list[Finding]:
    """Name each privileged role that can log in, but for the one that every server begins with.

    PostgreSQL keeps no time of a GRANT: acknowledge in the profile what is expected, and what is new stands out.
    """
    others = frame[frame["can_log_in"] & ~frame["made_at_initdb"]]
    if others.empty:
        message = "no role but the server's first one can do more than it was given"
        return [Finding(object="roles", status=Status.OK, message=message)]
    return [
        Finding(object=f"role {row['role']}", status=Status.WARNING, message=f"can log in, and is {row['powers']}")
        for row in others.to_dict("records")
    ]


administrators = Question(
    name="postgres.administrators",
    title="Has somebody become an administrator of the service?",
    probe=probe_administrators,
    check=check_administrators,
    source=ADMINISTRATORS,
    needs=(PostgresConnection,),
    next="ask who made it; where nobody did: deactivate it at once (P0, security breach)",
    explained_by=EXPLAINED_BY,
)

privileged_roles = Question(
    name="postgres.privileged_roles",
    title="Which roles of the database can do more than they should?",
    probe=probe_roles,
    check=check_roles,
    source=PRIVILEGED_ROLES,
    needs=(PostgresConnection,),
    next="take the power away (ALTER ROLE … NOSUPERUSER), or acknowledge it in the profile with the reason",
    explained_by=EXPLAINED_BY,
)
