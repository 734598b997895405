"""Whom does pg_hba.conf let in from where, and how?"""

import ipaddress
from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, first_of
from runbook.model.units import counted
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import role_of

SQL = read_sql(__package__, "hba")
# What of a connection's kind lets it come without TLS.
_OPEN_KINDS = ("host", "hostnossl")
_NO_MASK = ("0.0.0.0", "::")  # noqa: S104 - looked for, not listened on
_HERE = ("samehost", "localhost", "ip6-localhost")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each line of the file: line_number, type, databases, users, address, netmask, method, error.

    Raises `CouldNotFindOut` with the grant that is missing.
    """
    connection = asking.connection(PostgresConnection)
    try:
        return connection.rows(SQL)
    except Unreachable:
        raise
    except CouldNotFindOut as reason:
        role = role_of(connection)
        raise CouldNotFindOut(
            f"{reason}; as a superuser, in this database: GRANT SELECT ON pg_hba_file_rules TO {role}; "
            f"GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO {role}"
        ) from reason


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each line by itself: trust over the network and passwords in the clear there are CRITICAL, the rest that
    lets in more than it need is WARNING. Of several that fit, the server takes the first.
    """
    findings = [finding for row in frame.to_dict("records") if (finding := _judged(row)) is not None]
    if findings:
        return first_of(sorted(findings, key=lambda one: one.status.severity), "lines")
    message = f"{counted(len(frame), 'line')}: nobody is let in without a password, or over the network without TLS"
    return [Finding(object="lines", status=Status.OK, message=message, value=len(frame), unit="lines")]


def _judged(row: Mapping[Any, Any]) -> Finding | None:
    subject = f"line {int(row['line_number'])}"
    if "cannot match" in row["error"]:
        return None  # hostssl where TLS is off: it lets nobody in
    if row["error"]:
        message = f"the server cannot read it and would not take the file: {row['error']}"
        return Finding(object=subject, status=Status.WARNING, message=message)
    told, far = [], _is_far(row)
    status = Status.WARNING
    if row["method"] == "reject":
        return None
    if row["method"] == "trust":
        told.append("whoever can connect is let in without any password")
        status = Status.CRITICAL if far else Status.WARNING
    elif row["method"] == "password":
        told.append("passwords come in the clear")
        status = Status.CRITICAL if far and row["type"] in _OPEN_KINDS else Status.WARNING
    elif row["method"] == "md5":
        told.append("md5 is taken, too; scram-sha-256 takes nothing weaker")
    elif row["method"] == "ident" and far:
        told.append("the client's own machine is believed who its user is")
    if _is_everywhere(row) and "all" in row["users"].split(",") and "all" in row["databases"].split(","):
        told.append("it fits every role, every database and every address")
    if far and row["type"] in _OPEN_KINDS:
        told.append("without TLS (hostssl asks for it)")
    if not told:
        return None
    return Finding(object=subject, status=status, message=f"{_written(row)}: {'; '.join(told)}", value=row["method"])


def _written(row: Mapping[Any, Any]) -> str:
    where = f"{row['address']}/{row['netmask']}" if row["netmask"] else row["address"]
    return " ".join(filter(None, [row["type"], row["databases"][:60], row["users"][:60], where, row["method"]]))


def _is_far(row: Mapping[Any, Any]) -> bool:
    """Tell whether a line lets in who is on another machine; a name may be anybody's."""
    if row["type"] == "local" or row["address"] in _HERE:
        return False
    try:
        return not ipaddress.ip_address(row["address"]).is_loopback
    except ValueError:
        return True


def _is_everywhere(row: Mapping[Any, Any]) -> bool:
    return row["address"] == "all" or (row["netmask"] in _NO_MASK)


hba = Question(
    name="postgres.hba",
    title="Whom does pg_hba.conf let in from where, and how?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="write the line narrower (hostssl, one role, one address, scram-sha-256), then SELECT pg_reload_conf()",
    explained_by=EXPLAINED_BY,
)
