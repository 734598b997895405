"""Does the service answer at all?"""

import pandas as pd

from runbook.api.answers import ask_once, not_answered
from runbook.api.explanations import EXPLAINED_BY
from runbook.connections import ApiConnection
from runbook.model import Asking, Finding, Question, Status, Unreachable


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: path, answered, kind, reason, status, ms, problem, and told (what /health says of itself)."""
    api: ApiConnection | Unreachable
    try:
        api = asking.connection(ApiConnection)
    except Unreachable as error:
        api = error
    row, response = ask_once(api, "/health")
    told = response.mapping().get("status") if response is not None and not row["problem"] else None
    return pd.DataFrame([{**row, "told": "" if told is None else str(told)}])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the answer itself. "healthy" is a literal in the service: it says nothing on what stands behind it."""
    row = frame.iloc[0]
    if not row["answered"]:
        return [not_answered("service", row["kind"], row["reason"])]
    if row["status"] == 429:
        message = "/health answered 429: the rate limit refuses the runbook's own address; what users see is not known"
        return [Finding(object="service", status=Status.UNKNOWN, message=message, value=429, unit="HTTP status")]
    if row["status"] != 200:
        return [_critical(f"/health answered {row['status']}", int(row["status"]))]
    if row["problem"]:
        return [_critical(f"{row['problem']}; is this the service?", 200)]
    if row["told"] != "healthy":
        return [_critical(f"/health answered 200 and calls itself {row['told'] or 'nothing'!r}", 200)]
    message = f'/health answered 200 in {row["ms"]:.0f} ms (always "healthy", whatever its dependencies do)'
    return [Finding(object="service", status=Status.OK, message=message, value=round(row["ms"], 1), unit="ms")]


def _critical(message: str, status: int) -> Finding:
    return Finding(object="service", status=Status.CRITICAL, message=message, value=status, unit="HTTP status")


liveness = Question(
    name="api.liveness",
    title="Does the service answer?",
    probe=probe,
    check=check,
    source="curl -sS -i {api}/health",
    needs=(ApiConnection,),
    next="see what its log says about the requests that it answers so",
    explained_by=EXPLAINED_BY,
)
