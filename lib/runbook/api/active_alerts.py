"""What does the service itself raise alarm about?"""

import pandas as pd

from runbook.api.answers import mapping_of, missing_key
from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.connections import ApiConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status

_CRITICAL = ("critical", "error", "fatal", "emergency", "high", "page")
_STATUS = {"info": Status.OK, **dict.fromkeys(_CRITICAL, Status.CRITICAL)}


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each alert: alert, severity, message, triggered_at (as told)."""
    body = mapping_of(asking.connection(ApiConnection), "/alerts")
    alerts = body.get("active_alerts")
    if not isinstance(alerts, dict):
        raise missing_key("/alerts", "active_alerts", body)
    count = body.get("alert_count")
    if isinstance(count, int) and count != len(alerts):
        raise CouldNotFindOut(f"/alerts counts {count} alerts and lists {len(alerts)}; neither can be trusted")
    rows = [
        {"alert": str(name), **{key: str(facts.get(key, ""))[:300] for key in ("severity", "message", "triggered_at")}}
        for name, told in alerts.items()
        # An alert of another shape than expected is an alert all the same.
        for facts in [told if isinstance(told, dict) else {"message": str(told)}]
    ]
    return pd.DataFrame(rows, columns=["alert", "severity", "message", "triggered_at"])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each alert by its own severity; one without a known severity is a WARNING."""
    if frame.empty:
        return [Finding(object="alerts", status=Status.OK, message="no active alerts", value=0, unit="alerts")]
    return [
        Finding(
            object=row["alert"],
            status=_STATUS.get(row["severity"].lower(), Status.WARNING),
            message=f"{row['message'] or 'active'} (since {row['triggered_at'] or 'a time not told'})",
            value=row["severity"],
        )
        for row in frame.to_dict("records")
    ]


active_alerts = Question(
    name="api.active_alerts",
    title="Which alerts are active?",
    probe=probe,
    check=check,
    source="curl -sS {api}/alerts",
    needs=(ApiConnection,),
    next="the alert's own text says what it measures; compare it with the host's figures in this notebook",
    explained_by=EXPLAINED_BY_SILENCE,
)
