"""Questions to the service over HTTP."""

from runbook.api.active_alerts import active_alerts
from runbook.api.circuit_breakers import circuit_breakers
from runbook.api.error_rate import error_rate
from runbook.api.liveness import liveness
from runbook.api.rate_limits import rate_limits
from runbook.api.readiness import readiness
from runbook.api.user_request import user_request

questions = (liveness, readiness, user_request, circuit_breakers, active_alerts, rate_limits, error_rate)

__all__ = [
    "active_alerts",
    "circuit_breakers",
    "error_rate",
    "liveness",
    "questions",
    "rate_limits",
    "readiness",
    "user_request",
]
