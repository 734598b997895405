"""Are requests limited, and how many are refused for it?"""

import pandas as pd

from runbook.api.answers import mapping_of, missing_key
from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.connections import EXPOSITION, ApiConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable, at_most

METRIC = "http_requests_total"
NOT_TOLD = "not told"


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: enabled, per_minute, per_hour, and refused and requests since the service started.

    The last two are NaN where the service counts no requests by status.
    """
    api = asking.connection(ApiConnection)
    health = mapping_of(api, "/health")
    limits = health.get("rate_limiting")
    if not isinstance(limits, dict) or not isinstance(limits.get("enabled"), bool):
        raise missing_key("/health", "rate_limiting.enabled", health)
    refused, requests = _count(api)
    return pd.DataFrame(
        [
            {
                "enabled": limits["enabled"],
                "per_minute": str(limits.get("per_minute", NOT_TOLD)),
                "per_hour": str(limits.get("per_hour", NOT_TOLD)),
                "refused": refused,
                "requests": requests,
            }
        ]
    )


def _count(api: ApiConnection) -> tuple[float | None, float | None]:
    """Return the refused and all requests that the service counts; None, None where it counts none."""
    try:
        samples = [one for one in api.exposition() if one.name == METRIC and "status" in one.labels]
    except Unreachable:
        raise
    except CouldNotFindOut:
        return None, None
    if not samples:
        return None, None
    return sum(one.value for one in samples if one.labels["status"] == "429"), sum(one.value for one in samples)


def check(frame: pd.DataFrame, *, warning: float = 1, critical: float = 50) -> list[Finding]:
    """Judge whether limits are on, and the share of requests refused (%).

    The counters run since the start of the service, so a share says little of now: half of all refused is an outage,
    less is worth a look.
    """
    row = frame.iloc[0]
    limits = [f"{row[f'per_{span}']} per {span}" for span in ("minute", "hour") if row[f"per_{span}"] != NOT_TOLD]
    if not row["enabled"]:
        findings = [Finding(object="limits", status=Status.WARNING, message="rate limiting is off")]
    elif limits:
        findings = [Finding(object="limits", status=Status.OK, message=f"on: {', '.join(limits)}")]
    else:
        message = "it is said to be on, but no limit is told, per minute or per hour: is this the service?"
        findings = [Finding(object="limits", status=Status.UNKNOWN, message=message)]
    if pd.isna(row["requests"]):
        message = f"how many requests are refused is not told: {METRIC} with a status is not in {EXPOSITION}"
        after = "have the service count its requests by status, or acknowledge this in the profile"
        return [*findings, Finding(object="refused requests", status=Status.UNKNOWN, message=message, next=after)]
    requests, refused = float(row["requests"]), float(row["refused"])
    share = 100 * refused / requests if requests else 0.0
    message = f"{refused:.0f} of {requests:.0f} requests refused (429) since the service started"
    return [*findings, at_most("refused requests", share, warning, critical, unit="% of requests", message=message)]


rate_limits = Question(
    name="api.rate_limits",
    title="Are requests limited, and how many are refused?",
    probe=probe,
    check=check,
    source=f"curl -sS {{api}}/health | jq .rate_limiting; curl -sS {{api}}{EXPOSITION} | grep '{METRIC}{{'",
    needs=(ApiConnection,),
    deadline=10.0,  # two requests
    next="find out who sends the refused requests before raising a limit",
    explained_by=EXPLAINED_BY_SILENCE,
)
