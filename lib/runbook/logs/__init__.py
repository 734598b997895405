"""Questions to the service's log, and to PostgreSQL's and Redis' own: all answered from one pass over the files."""

from runbook.logs.comparing import compared
from runbook.logs.coverage import coverage
from runbook.logs.durations import durations
from runbook.logs.errors import errors
from runbook.logs.following import recent
from runbook.logs.logins import failed_logins
from runbook.logs.plots import HourMap, Timeline
from runbook.logs.refused import authentication, rate_limited, server_errors
from runbook.logs.searching import around, matching
from runbook.logs.secrets import secrets
from runbook.logs.servers import postgres_log, redis_log
from runbook.logs.suspicious import suspicious_requests
from runbook.logs.timeline import timeline
from runbook.logs.unusual import unusual_messages
from runbook.logs.window import Window, window

questions = (
    coverage,
    errors,
    timeline,
    authentication,
    server_errors,
    rate_limited,
    suspicious_requests,
    durations,
    unusual_messages,
    failed_logins,
    postgres_log,
    redis_log,
    compared,
    matching,
    around,
    recent,
    secrets,
)

__all__ = [
    "HourMap",
    "Timeline",
    "Window",
    "around",
    "authentication",
    "compared",
    "coverage",
    "durations",
    "errors",
    "failed_logins",
    "matching",
    "postgres_log",
    "questions",
    "rate_limited",
    "recent",
    "redis_log",
    "secrets",
    "server_errors",
    "suspicious_requests",
    "timeline",
    "unusual_messages",
    "window",
]
