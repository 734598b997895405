"""Does a request that a user makes succeed, and fast enough?"""

import msgspec
import pandas as pd

from runbook.api.answers import ask_once, not_answered
from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.connections import ApiConnection
from runbook.model import Asking, Finding, Question, Status, Unreachable, at_most
from runbook.model.text import to_run

NAME = "api.user_request"
_SLOW = f"see where the time goes: {to_run('api-performance')}"
_SILENT = ("no answer within",)
_LIMITED = f"wait a minute and run it again; who sends so much: {to_run('daily-security-checks')}"


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: path, answered, kind, reason, status, ms, problem, and detail (what an error says)."""
    path = asking.target.api.user_request if asking.target.api else "/"
    api: ApiConnection | Unreachable
    try:
        api = asking.connection(ApiConnection)
    except Unreachable as error:
        if NAME not in error.reason:
            raise
        api = error  # it was this very request that was not answered in time: that is what is asked
    row, response = ask_once(api, path)
    detail = ""
    if response is not None and response.status >= 400 and not row["problem"]:
        body = response.mapping()
        detail = str(body.get("detail", body.get("error", "")))[:200]
    return pd.DataFrame([{**row, "detail": detail}])


def check(frame: pd.DataFrame, *, warning_ms: float = 2000, critical_ms: float = 5000) -> list[Finding]:
    """Judge the status and the time taken; 2 s is the runbook's own limit for a high response time."""
    row = frame.iloc[0]
    obj, status = str(row["path"]), int(row["status"])
    if not row["answered"]:
        return [not_answered(obj, row["kind"], row["reason"])]
    told = f"answered {status} in {row['ms']:.0f} ms"
    detail = f": {row['detail']}" if row["detail"] else ""
    if status == 500 and str(row["detail"]).startswith("404:"):
        # As built, "nothing there" comes back as a 500 with a 404 in its text: no outage.
        message = f"{told}{detail} (nothing there yet, told as a 500: no outage)"
        return [Finding(object=obj, status=Status.OK, message=message, value=status, unit="HTTP status")]
    if status in (401, 403):
        message = f"{told}{detail}: the request needs a token; the profile's api.token is missing or not good enough"
        return [_finding(obj, Status.UNKNOWN, message, status)]
    if status == 429:
        return [
            _finding(
                obj,
                Status.WARNING,
                f"{told}{detail}: the rate limit refuses the runbook's own request",
                status,
                _LIMITED,
            )
        ]
    if status >= 500:
        return [_finding(obj, Status.CRITICAL, f"{told}{detail}", status)]
    if status >= 300:
        return [_finding(obj, Status.UNKNOWN, f"{told}{detail}: is the profile's api.user_request right?", status)]
    if row["problem"] and "expected" in row["problem"]:
        return [_finding(obj, Status.CRITICAL, f"{row['problem']}; is this the service?", status)]
    judged = at_most(obj, round(float(row["ms"]), 1), warning_ms, critical_ms, unit="ms", message=told)
    return [judged if judged.status is Status.OK else msgspec.structs.replace(judged, next=_SLOW)]


def _finding(obj: str, status: Status, message: str, http_status: int, after: str = "") -> Finding:
    return Finding(object=obj, status=status, message=message, value=http_status, unit="HTTP status", next=after)


user_request = Question(
    name=NAME,
    title="Does a request that users make succeed?",
    probe=probe,
    check=check,
    source="curl -sS -i -w '%{time_total}' {api}$USER_REQUEST   # the profile's api.user_request",
    needs=(ApiConnection,),
    deadline=10.0,
    next=f"see what it needs and does not have: {to_run('api-down')}",
    explained_by=EXPLAINED_BY_SILENCE,
    caused_by=dict.fromkeys(("api.liveness", "postgres.reachable", "redis.reachable", "postgres.blocking"), _SILENT),
)
