"""Which large indexes does no query use?"""

from typing import Any

import pandas as pd

from runbook.connections import PostgresConnection, read_sql
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import as_bytes, counted
from runbook.postgres.duplicate_indexes import drop_index
from runbook.postgres.explanations import EXPLAINED_BY
from runbook.postgres.index_statistics import counted_since

SQL = read_sql(__package__, "unused_indexes")
MOST = 10
_MIB = 1 << 20


def probe(asking: Asking, *, mebibytes: float = 10) -> pd.DataFrame:
    """Return a row for each index of ``mebibytes`` and more that was never scanned since the statistics began: schema,
    table, index, is_partitioned, bytes (as of the last vacuum), supports (the foreign key that it leads with, or null).

    Unique and primary ones, those of constraints and of replica identity are not among them: they are used without a
    scan. The frame's attrs hold what `counted_since` returns, and ``mebibytes``.
    """
    connection = asking.connection(PostgresConnection)
    frame = connection.rows(SQL, {"bytes": round(mebibytes * _MIB)})
    frame.attrs.update(counted_since(connection), mebibytes=mebibytes)
    return frame


def check(frame: pd.DataFrame, *, days: float = 7) -> list[Finding]:
    """Judge each index that was never used: WARNING, since each write pays for it.

    The size from which on it is worth it is pghero's and the managed services' (10 MiB). In less than ``days``, which
    is one week with its reports, it cannot be told yet: OK, with the reason, since nothing breaks for it. One on the
    columns of a foreign key is of use whenever a row that it refers to is deleted, and stays.
    """
    attrs, least = frame.attrs, frame.attrs["mebibytes"]
    unused = frame[frame["supports"].isna()]
    if unused.empty:
        message = f"every index of {least:g} MiB or more was used, is unique, or supports a constraint"
        return [Finding(object="indexes", status=Status.OK, message=message, value=0, unit="indexes")]
    if attrs["days"] is None or attrs["days"] < days:
        sizes = as_bytes(float(unused["bytes"].sum()))
        those = counted(len(unused), f"index of {sizes} was", f"indexes of {sizes} together were")
        message = f"{those} not used, but their statistics began only {attrs['since']}"
        later = f"ask again when they are {days:g} days old"
        return [Finding(object="indexes", status=Status.OK, message=message, value=len(unused), next=later)]
    findings = [_unused(row, attrs) for row in unused.head(MOST).to_dict("records")]
    if len(unused) > MOST:
        message = counted(len(unused) - MOST, "more was never used", "more were never used")
        findings.append(Finding(object="other indexes", status=Status.WARNING, message=message))
    return findings


def _unused(row: dict[Any, Any], attrs: Any) -> Finding:
    message = f"{as_bytes(row['bytes'])} on {row['schema']}.{row['table']}, never used since the statistics began "
    message += attrs["since"]
    if attrs["replicas"]:
        message += f"; {counted(attrs['replicas'], 'replica is', 'replicas are')} connected, whose counts are their own"
    if attrs["is_replica"]:
        message += "; this is a replica, and the primary has counts of its own"
    return Finding(
        object=f"index {row['schema']}.{row['index']}",
        status=Status.WARNING,
        message=message,
        value=round(float(row["bytes"]) / _MIB, 1),
        unit="MiB",
        next=f"see its scans on every replica too, each of which counts for itself; then {drop_index(row)}",
    )


unused_indexes = Question(
    name="postgres.unused_indexes",
    title="Which large indexes does no query use?",
    probe=probe,
    check=check,
    source=SQL,
    needs=(PostgresConnection,),
    next="see its scans on every replica too, each of which counts for itself; then DROP INDEX CONCURRENTLY",
    explained_by=EXPLAINED_BY,
)
