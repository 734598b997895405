"""Does the API server of the cluster answer, and take the credentials?"""

import pandas as pd

from runbook.connections import KubernetesConnection
from runbook.kubernetes.asked import connected
from runbook.model import Asking, Finding, Question, Status, Unreachable

# Then it is not the cluster that is wrong.
_NOT_KNOWN = ("not-configured", "password")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: cluster, answered (bool), version, kind and reason (why not).

    Raises `DoesNotApply` where the profile names no cluster.
    """
    row = {"cluster": "API server", "answered": False, "version": "", "kind": "", "reason": ""}
    try:
        connection = connected(asking)
    except Unreachable as error:
        return pd.DataFrame([{**row, "kind": error.kind, "reason": error.reason}])
    told = {"cluster": f"API server ({connection.cluster})", "version": connection.identity["what"]}
    return pd.DataFrame([{**row, **told, "answered": True}])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge whether the API server answers: without it nothing of the cluster can be seen or changed.

    What runs goes on without it, and serves. Credentials that are missing or refused say nothing about the cluster.
    """
    row = frame.iloc[0]
    if row["answered"]:
        return [Finding(object=row["cluster"], status=Status.OK, message=f"{row['version']} answers")]
    status = Status.UNKNOWN if row["kind"] in _NOT_KNOWN else Status.CRITICAL
    then = "log in to the cluster again, or mend the kubeconfig" if status is Status.UNKNOWN else ""
    return [Finding(object=row["cluster"], status=status, message=row["reason"], value=row["kind"], next=then)]


reachable = Question(
    name="kubernetes.reachable",
    title="Does the API server of the cluster answer?",
    probe=probe,
    check=check,
    source="kubectl version; kubectl cluster-info",
    needs=(KubernetesConnection,),
    next="ask whoever runs the control plane; pods that run go on without it, but nothing mends itself",
)
