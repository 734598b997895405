"""Is a user whose access was revoked kept out: its log-in, and the token that it had?"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import ApiConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.users.can_log_in import GIVE
from runbook.users.explanations import EXPLAINED_BY
from runbook.users.handed_over import at_hand, read
from runbook.users.held import held
from runbook.users.log_in import REFUSED, log_in


def probe(asking: Asking, name: str, credentials: str = "") -> pd.DataFrame:
    """Return a row for the log-in and one for the token that the user had before: way, tried, status, enters, problem,
    worked (whether it was seen to let the user in before).
    """
    api = asking.connection(ApiConnection)
    reference = at_hand(asking.target.name, name, credentials)
    token = held(asking.target.name, name)
    row: dict[str, Any] = {
        "name": name,
        "tried": False,
        "status": 0,
        "enters": False,
        "problem": "",
        "worked": bool(token),
    }
    by_word, by_token = {**row, "way": "log-in"}, {**row, "way": "token"}
    if reference:
        came = log_in(api, name, read(reference))
        by_word |= {"tried": True, "status": came.status, "enters": bool(came.token), "problem": came.problem}
    if token:
        response = api.send("GET", "/auth/me", token=token)
        by_token |= {"tried": True, "status": response.status}
        try:
            by_token["enters"] = response.status == 200 and response.mapping().get("username") == name
        except CouldNotFindOut as problem:
            by_token["problem"] = str(problem)
    return pd.DataFrame([by_word, by_token])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge both ways in: one that is still open is CRITICAL; one that nobody saw open before proves nothing."""
    return [_judged(row) for row in frame.to_dict("records")]


def _judged(row: Mapping[Any, Any]) -> Finding:
    way, name, status = row["way"], row["name"], int(row["status"])
    subject = f"{way} of {name}"
    if not row["tried"]:
        lacks = "its password is not at hand" if way == "log-in" else "nobody holds a token that was good before"
        message = f"whether it is refused is not known: {lacks}"
        return Finding(object=subject, status=Status.UNKNOWN, message=message, next=GIVE)
    if row["enters"]:
        what = "can still log in" if way == "log-in" else "is still let in with the token that it had before"
        after = "its access is NOT revoked: stop the service or block it at the proxy, and change the signing key"
        return Finding(object=subject, status=Status.CRITICAL, message=f"{name} {what}", value=status, next=after)
    if status not in REFUSED:
        message = f"whether it is refused is not known: {row['problem'] or f'the service answered {status}'}"
        return Finding(object=subject, status=Status.UNKNOWN, message=message, value=status)
    if not row["worked"]:
        message = f"it is refused ({status}), but nobody saw this password let {name} in before: that proves nothing"
        return Finding(object=subject, status=Status.UNKNOWN, message=message, value=status, next=GIVE)
    return Finding(object=subject, status=Status.OK, message=f"refused ({status})", value=status, unit="HTTP status")


is_refused = Question(
    name="users.is_refused",
    title="Is the user kept out: its log-in, and the token that it had?",
    probe=probe,
    check=check,
    source=(
        "curl -sS {api}/auth/login -H 'content-type: application/json' -d @-   # the user's name and password\n"
        'curl -sS {api}/auth/me -H "Authorization: Bearer $TOKEN"   # a token from before'
    ),
    needs=(ApiConnection,),
    deadline=15.0,
    explained_by=EXPLAINED_BY,
    next="see by hand whether it is let in; where it is, take the service off the network, or change its signing key",
)
