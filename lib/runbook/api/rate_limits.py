"""Are requests limited, and how many are refused for it?"""

import pandas as pd
from prometheus_client.parser import text_string_to_metric_families

from runbook.api.answers import mapping_of, missing_key
from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.connections import ApiConnection
from runbook.model import Asking, Finding, Question, Status, at_most

METRIC = "http_requests_total"


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: enabled, per_minute, per_hour, and refused and requests since the service started.

    The last two are NaN where the service counts no requests by status.
    """
    api = asking.connection(ApiConnection)
    health = mapping_of(api, "/health")
    limits = health.get("rate_limiting")
    if not isinstance(limits, dict) or not isinstance(limits.get("enabled"), bool):
        raise missing_key("/health", "rate_limiting.enabled", health)
    response = api.get("/metrics/prometheus")
    refused, requests = _count(response.body) if response.status == 200 and not response.cut else (None, None)
    return pd.DataFrame(
        [
            {
                "enabled": limits["enabled"],
                "per_minute": str(limits.get("per_minute", "not told")),
                "per_hour": str(limits.get("per_hour", "not told")),
                "refused": refused,
                "requests": requests,
            }
        ]
    )


def _count(exposition: bytes) -> tuple[float | None, float | None]:
    """Return the refused and all requests that the exposition counts; None, None where it counts none."""
    try:
        families = list(text_string_to_metric_families(exposition.decode("utf-8", "replace")))
    except ValueError:
        return None, None
    samples = [s for family in families for s in family.samples if s.name == METRIC and "status" in s.labels]
    if not samples:
        return None, None
    return sum(s.value for s in samples if s.labels["status"] == "429"), sum(s.value for s in samples)


def check(frame: pd.DataFrame, *, warning: float = 1, critical: float = 50) -> list[Finding]:
    """Judge whether limits are on, and the share of requests refused (%).

    The counters run since the start of the service, so a share says little of now: half of all refused is an outage,
    less is worth a look.
    """
    row = frame.iloc[0]
    limits = f"{row['per_minute']} per minute, {row['per_hour']} per hour"
    status, message = (Status.OK, f"on: {limits}") if row["enabled"] else (Status.WARNING, "rate limiting is off")
    findings = [Finding(object="limits", status=status, message=message)]
    if pd.isna(row["requests"]):
        message = f"how many requests are refused is not told: {METRIC} with a status is not in /metrics/prometheus"
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
    source="curl -sS {api}/health | jq .rate_limiting; curl -sS {api}/metrics/prometheus | grep 'http_requests_total{'",
    needs=(ApiConnection,),
    deadline=10.0,  # two requests
    next="find out who sends the refused requests before raising a limit",
    explained_by=EXPLAINED_BY_SILENCE,
)
