"""Does a transaction stay open that should have ended?"""

import msgspec
import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status, at_most
from runbook.model.text import to_run
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.privileges import seeing_all
from runbook.postgres.query_text import masked

SQL = read_sql(__package__, "longest_transaction")


def probe(asking: Asking) -> pd.DataFrame:
    """Return the oldest transactions, at most 20: pid, application, state, seconds, query (shortened), role, since."""
    return masked(seeing_all(asking).rows(SQL))


def check(frame: pd.DataFrame, *, warning: float = 300, critical: float = 600) -> list[Finding]:
    """Judge each transaction's age in seconds: 5 and 10 minutes.

    An open transaction keeps vacuum from removing dead rows everywhere, and its locks; one that is idle most of all.
    """
    if frame.empty:
        message = "no transaction is open besides this one"
        return [Finding(object="transactions", status=Status.OK, message=message, value=0, unit="s")]
    judged = [
        at_most(
            f"pid {row['pid']:.0f} ({row['application'] or row['session_role']})",
            float(row["seconds"]),
            warning,
            critical,
            unit="s",
            message=f"transaction open for {row['seconds']:.0f} s, {row['state']}: {row['query']}",
        )
        for row in frame.to_dict("records")
    ]
    owned = [
        msgspec.structs.replace(finding, next=f"ask its owner; then: {to_run('database-issues', pid=pid)}")
        for finding, pid in zip(judged, frame["pid"].astype(int), strict=True)
    ]
    bad = [finding for finding in owned if finding.status is not Status.OK]
    oldest = float(frame["seconds"].max())
    message = f"{len(frame)} open, the oldest for {oldest:.0f} s"
    return bad or [Finding(object="transactions", status=Status.OK, message=message, value=oldest, unit="s")]


longest_transaction = Question(
    name="postgres.longest_transaction",
    title="Does a transaction stay open too long?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="ask its application's owner; ending it loses its work",
    explained_by=EXPLAINED_BY,
)
