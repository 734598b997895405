"""How many people use the service?"""

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "active_users")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row about the users that are active in the table: users, ever (have logged in), hour, day, week (how
    many of them did within it), newest (the last log-in, UTC).

    Raises `CouldNotFindOut` where the table may not be read.
    """
    try:
        return asking.connection(PostgresConnection).rows(SQL)
    except CouldNotFindOut as reason:
        raise CouldNotFindOut(f"{reason}; it takes GRANT SELECT (is_active, last_login) ON users") from reason


def check(frame: pd.DataFrame) -> list[Finding]:
    """Tell how many users logged in. There is no limit to judge by; a table that records no log-in at all is UNKNOWN.

    Each user is one, however often he logged in; one who stays logged in for longer counts by his last log-in.
    """
    row = frame.iloc[0]
    if not row["ever"]:
        message = f"of {row['users']} users none has ever logged in, as the table tells: are log-ins recorded there?"
        after = "as built the service keeps its users in memory: then nobody can tell who is active"
        return [Finding(object="active users", status=Status.UNKNOWN, message=message, next=after)]
    message = f"{row['hour']} of {row['users']} users logged in within the hour, {row['day']} within the day"
    message += f", {row['week']} within the week"
    return [Finding(object="active users", status=Status.OK, message=message, value=int(row["hour"]), unit="users")]


active_users = Question(
    name="postgres.active_users",
    title="How many people use the service?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    explained_by=EXPLAINED_BY,
    next="runbook run daily-security-checks --target {target} tells who logged in",
)
