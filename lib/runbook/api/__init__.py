"""Questions to the service over HTTP."""

from runbook.api.active_alerts import active_alerts
from runbook.api.circuit_breakers import circuit_breakers
from runbook.api.cors import cors
from runbook.api.debug import debug
from runbook.api.error_rate import error_rate
from runbook.api.liveness import liveness
from runbook.api.open_documentation import open_documentation
from runbook.api.rate_limits import rate_limits
from runbook.api.readiness import readiness
from runbook.api.security_headers import security_headers
from runbook.api.tls_redirect import tls_redirect
from runbook.api.user_request import user_request

questions = (
    liveness,
    readiness,
    user_request,
    circuit_breakers,
    active_alerts,
    rate_limits,
    error_rate,
    security_headers,
    cors,
    open_documentation,
    debug,
    tls_redirect,
)

__all__ = [
    "active_alerts",
    "circuit_breakers",
    "cors",
    "debug",
    "error_rate",
    "liveness",
    "open_documentation",
    "questions",
    "rate_limits",
    "readiness",
    "security_headers",
    "tls_redirect",
    "user_request",
]
