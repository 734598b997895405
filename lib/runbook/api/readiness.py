"""Does the service call itself ready to work?"""

import pandas as pd

from runbook.api.answers import ask_once, missing_key
from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.connections import ApiConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status

BREAKER = "breaker "
ONLY_BREAKERS = ", nothing else"


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for the whole (part "ready") and one for each service inside: part, ready, status, ms, reason.

    A critical circuit breaker that is open is a part too, not ready. 503 is an answer: the service says why.
    """
    row, response = ask_once(asking.connection(ApiConnection), "/ready")
    if response is None:
        raise CouldNotFindOut(row["reason"])
    facts = {"status": row["status"], "ms": row["ms"], "reason": ""}
    if row["status"] != 200 and (row["status"] != 503 or row["problem"]):
        return pd.DataFrame([{"part": "ready", "ready": False, **facts}])
    body = response.mapping()
    # FastAPI wraps the reason for a 503 in "detail".
    told = body["detail"] if isinstance(body.get("detail"), dict) else body
    if isinstance(body.get("detail"), str):
        facts["reason"] = body["detail"][:200]
    if "ready" not in told and row["status"] == 200:
        raise missing_key("/ready", "ready", told)
    services, breakers = told.get("services"), told.get("critical_breakers_open")
    parts = {str(k): v is True for k, v in services.items()} if isinstance(services, dict) else {}
    parts["ready"] = row["status"] == 200 and told.get("ready") is True
    parts |= {f"{BREAKER}{name}": False for name in breakers} if isinstance(breakers, list) else {}
    return pd.DataFrame([{"part": name, "ready": ready, **facts} for name, ready in parts.items()])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the whole, and name each part that is not ready."""
    whole = frame[frame["part"] == "ready"].iloc[0]
    inside = frame[frame["part"] != "ready"]
    missing = list(inside[~inside["ready"].astype(bool)]["part"])
    if whole["ready"] and not missing:
        parts_told = f"all {len(inside)} parts inside are ready" if len(inside) else "it tells of no parts inside"
        message = f"/ready answered {whole['status']}; {parts_told}"
        return [Finding(object="service", status=Status.OK, message=message, value=int(whole["status"]))]
    only = missing and all(part.startswith(BREAKER) for part in missing)
    parts = f"; not ready: {', '.join(missing)}{ONLY_BREAKERS if only else ''}" if missing else ""
    reason = f": {whole['reason']}" if whole.get("reason") else ""
    message = f"/ready answered {whole['status']}{reason}{parts}"
    value = int(whole["status"])
    if value == 429:
        status, after = Status.UNKNOWN, "wait a minute and run it again, or let the runbook's own address through"
        message = "/ready answered 429: the rate limit refuses the runbook's own address; readiness is not known"
    else:
        status, after = Status.CRITICAL, ""
    return [Finding(object="service", status=status, message=message, value=value, unit="HTTP status", next=after)]


readiness = Question(
    name="api.readiness",
    title="Is the service ready to work?",
    probe=probe,
    check=check,
    source="curl -sS -i {api}/ready",
    needs=(ApiConnection,),
    next="look at what is named as not ready; an open breaker closes by itself when its back end answers again",
    explained_by=EXPLAINED_BY_SILENCE,
    caused_by={"api.circuit_breakers": (ONLY_BREAKERS,)},
)
