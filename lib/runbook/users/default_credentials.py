"""Does a well-known default password let anybody in?"""

import secrets
from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import ApiConnection
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import counted
from runbook.users.explanations import EXPLAINED_BY
from runbook.users.log_in import log_in

# The service's own first passwords and the ones that are tried first everywhere. Few: each is a log-in that fails, and
# more of one user within ten minutes are told as an attack.
DEFAULTS = (("admin", "admin"), ("admin", "admin123"), ("admin", "password"), ("annotator1", "annotator123"))
CONTROL = "a random user and password"
PAUSED = 429


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each log-in that was tried, the control first: tried (which), user, status, let_in, problem.

    A token that one gives is thrown away. It stops where the service answers 429, or lets the control in.
    """
    api = asking.connection(ApiConnection)
    nobody = (f"runbook-{secrets.token_hex(6)}", secrets.token_urlsafe(12))
    rows = []
    for number, (user, word) in enumerate((nobody, *DEFAULTS)):
        came = log_in(api, user, word)
        tried = CONTROL if number == 0 else f"default {number} of {len(DEFAULTS)}"
        rows.append((tried, "" if number == 0 else user, came.status, bool(came.token), came.problem))
        if came.status == PAUSED or (number == 0 and not came.refused):
            break
    return pd.DataFrame(rows, columns=["tried", "user", "status", "let_in", "problem"])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge whom a default let in: CRITICAL; where the control got in, everybody does, and nothing else is judged."""
    control, others = frame.iloc[0], frame.iloc[1:]
    if control["let_in"]:
        message = f"{CONTROL} were let in: the service lets everybody in, whatever the password"
        after = "P0, security breach: take it off the network, then see why it asks for no password"
        return [Finding(object="every log-in", status=Status.CRITICAL, message=message, next=after)]
    if control["status"] not in (401, 403):
        message = f"not known: {CONTROL} should have been refused, and {control['problem']}"
        return [Finding(object="log-ins", status=Status.UNKNOWN, message=message, value=int(control["status"]))]
    findings = [_let_in(row) for row in others[others["let_in"]].to_dict("records")]
    unclear = others[~others["let_in"] & ~others["status"].isin([401, 403])]
    if len(unclear) or len(others) < len(DEFAULTS):
        why = unclear.iloc[0]["problem"] if len(unclear) else "it was not gone on with"
        message = f"{counted(len(others) - len(unclear), 'default')} of {len(DEFAULTS)} tried: {why}"
        findings.append(Finding(object="defaults not tried", status=Status.UNKNOWN, message=message))
    if findings:
        return findings
    message = f"none of {counted(len(others), 'default')} lets anybody in, nor do {CONTROL}"
    return [Finding(object="defaults", status=Status.OK, message=message, value=0, unit="users")]


def _let_in(row: Mapping[Any, Any]) -> Finding:
    message = f"{row['user']} was let in with a well-known default password ({row['tried']}): everybody can do that"
    return Finding(object=f"user {row['user']}", status=Status.CRITICAL, message=message)


default_credentials = Question(
    name="users.default_credentials",
    title="Does a well-known default password let anybody in?",
    probe=probe,
    check=check,
    source=(
        "# DEFAULTS in runbook/users/default_credentials.py, and a random one first\n"
        "curl -sS -o /dev/null -w '%{http_code}' {api}/auth/login -H 'content-type: application/json' "
        '-d \'{"username": "admin", "password": "<default>"}\''
    ),
    needs=(ApiConnection,),
    deadline=20.0,
    next="change that password at once, and look in the log for log-ins of that user that nobody remembers",
    explained_by=EXPLAINED_BY,
)
