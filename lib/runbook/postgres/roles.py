"""Which roles does the database have, and does one reach further into the service's tables than it should?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY

SQL = read_sql(__package__, "roles")
EVERYBODY = "PUBLIC"


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each role, and for PUBLIC: role, can_log_in, is_superuser, member_of, owns (tables),
    acts_as_owner, becomes_superuser, writes (tables), reads_passwords (of the service's users), makes_tables.
    """
    return asking.connection(PostgresConnection).rows(SQL)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Name each role that logs in and may become a superuser, write tables that are not its, or read the service's
    password hashes, and what PUBLIC may. What a superuser may is told by `postgres.privileged_roles`.
    """
    findings = [_finding(row, told) for row in frame.to_dict("records") if (told := _beyond(row))]
    if findings:
        return first_of(findings, "roles")
    roles = frame[frame["role"] != EVERYBODY]
    supers = ", ".join(roles[roles["is_superuser"]]["role"].head(10)) or "none"
    owners = ", ".join(roles[roles["acts_as_owner"] & roles["can_log_in"] & ~roles["is_superuser"]]["role"].head(10))
    message = (
        f"{counted(int(roles['can_log_in'].sum()), 'role')} that log in; superusers: {supers}; as the tables' owner: "
        f"{owners or 'none'}; nobody else writes the service's tables or reads its password hashes"
    )
    return [Finding(object="roles", status=Status.OK, message=message, value=len(roles), unit="roles")]


def _beyond(row: Mapping[Any, Any]) -> list[str]:
    everybody = row["role"] == EVERYBODY
    if row["is_superuser"] or not (row["can_log_in"] or everybody):
        return []
    told = ["may become a superuser by SET ROLE"] if row["becomes_superuser"] else []
    foreign = everybody or not row["acts_as_owner"]
    if row["writes"] and foreign:
        told.append(f"may write {counted(int(row['writes']), 'table')} of the service")
    if row["reads_passwords"] and foreign:
        told.append("may read the password hashes of the service's users")
    if row["makes_tables"]:
        told.append("may make tables and functions in the schema public, which others then run")
    return told


def _finding(row: Mapping[Any, Any], told: list[str]) -> Finding:
    by = f", as a member of {row['member_of']}" if row["member_of"] else ""
    who = "every role" if row["role"] == EVERYBODY else "it"
    return Finding(object=f"role {row['role']}", status=Status.WARNING, message=f"{who} {'; '.join(told)}{by}")


roles = Question(
    name="postgres.roles",
    title="Does a role reach further into the service's tables than it should?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="REVOKE what it does not need, or acknowledge it in the profile with the reason",
    explained_by=EXPLAINED_BY,
)
