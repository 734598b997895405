"""Does the Docker engine answer?"""

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.model import Asking, Finding, Question, Status, Unreachable

_NOT_KNOWN = ("not-configured",)


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: answered (bool), version, kind and reason (why not)."""
    try:
        connection = asking.connection(ContainersConnection)
    except Unreachable as error:
        row = {"answered": False, "version": "", "kind": error.kind, "reason": error.reason}
        return pd.DataFrame([row])
    return pd.DataFrame([{"answered": True, "version": connection.identity["what"], "kind": "", "reason": ""}])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge whether the engine answers: without it no container can be started, restarted or looked at."""
    row = frame.iloc[0]
    if row["answered"]:
        return [Finding(object="Docker engine", status=Status.OK, message=f"{row['version']} answers")]
    status = Status.UNKNOWN if row["kind"] in _NOT_KNOWN else Status.CRITICAL
    return [Finding(object="Docker engine", status=status, message=row["reason"], value=row["kind"])]


reachable = Question(
    name="docker.reachable",
    title="Does the Docker engine answer?",
    probe=probe,
    check=check,
    source="docker version",
    needs=(ContainersConnection,),
    next="systemctl status docker, and start it; containers without a restart policy have to be started as well",
)
