"""May any web site read what the service tells its users?"""

import pandas as pd

from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.api.strangers import catches_all, not_believed, shortened, user_path
from runbook.connections import ApiConnection
from runbook.model import Asking, Finding, Question, Status

# Names that nobody can own: RFC 2606 keeps .invalid free.
FOREIGN = "https://runbook-audit.invalid"

# Of a path that is not there, of one that knows no such method, of too many requests.
_NO_ANSWER = (404, 405, 410, 429)
# What a browser would send along: no session of anybody.
_KEPT = "runbook-audit=1"


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each request with a foreign Origin: method, path, origin, status, allowed (the origin that the
    answer lets in; "" for none), credentials (whether with cookies).

    Asked are the profile's user_request, by GET and by a browser's preflight of a POST, and the former once more as a
    page without an origin ("null"). A cookie is sent along: some services let in everybody only then. attrs hold
    ``control`` (the status of a path that nobody serves) and ``catches_all``.
    """
    path = user_path(asking)
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    rows = []
    with asking.connection(ApiConnection).stranger() as stranger:
        for method, origin, more in (("GET", FOREIGN, {}), ("OPTIONS", FOREIGN, preflight), ("GET", "null", {})):
            headers = {"origin": origin, "cookie": _KEPT, **more}
            answer = stranger.get(path, headers=headers, method="OPTIONS" if method == "OPTIONS" else "GET")
            told = answer.headers
            rows.append(
                {
                    "method": method,
                    "path": path,
                    "origin": origin,
                    "status": answer.status,
                    "allowed": told.get("access-control-allow-origin", "").strip()[:200],
                    "credentials": told.get("access-control-allow-credentials", "").strip().lower() == "true",
                }
            )
        control = stranger.nowhere()
    frame = pd.DataFrame(rows)
    frame.attrs = {"control": control.status, "catches_all": catches_all(control)}
    return frame


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge what a foreign site is let in with: as every site and with cookies CRITICAL, without WARNING."""
    let_in = frame[frame["allowed"].eq("*") | frame["allowed"].eq(frame["origin"])]
    if let_in.empty and (frame["status"].isin(_NO_ANSWER) | frame["status"].ge(500)).all():
        # An error may be answered before anything sets the headers of an ordinary answer; what is not there has none.
        statuses = ", ".join(map(str, sorted(set(frame["status"]))))
        message = f"every request was answered {statuses}: what other sites may read is not known"
        message += f"; is {frame['path'].iloc[0]} (api.user_request of the profile) right?"
        return [Finding(object="other sites", status=Status.UNKNOWN, message=message)]
    if let_in.empty and frame.attrs.get("catches_all"):
        return [not_believed(frame.attrs["control"])]
    if let_in.empty:
        others = sorted({shortened(one) for one in frame["allowed"] if one})
        message = f"no foreign site is let in{'; it names ' + ', '.join(others) if others else ''}"
        return [Finding(object="other sites", status=Status.OK, message=message)]
    worst = let_in.sort_values("credentials", ascending=False, kind="stable").iloc[0]
    how = "every site (*)" if worst["allowed"] == "*" else f"whatever site asks ({worst['origin']} was)"
    asked = f"{worst['method']} {worst['path']}"
    if worst["credentials"]:
        message = f"{asked} lets in {how}, with cookies: any page that a user opens may act as this user"
        return [Finding(object="other sites", status=Status.CRITICAL, message=message, value=str(worst["allowed"]))]
    message = f"{asked} lets in {how}: any page may read what its visitor's browser can reach here"
    return [Finding(object="other sites", status=Status.WARNING, message=message, value=str(worst["allowed"]))]


cors = Question(
    name="api.cors",
    title="May any web site read what the service tells its users?",
    probe=probe,
    check=check,
    source=f"curl -sS -D - -o /dev/null -H 'Origin: {FOREIGN}' -b runbook-audit=1 {{api}}$USER_REQUEST",
    needs=(ApiConnection,),
    deadline=15.0,  # four requests
    next="name the front end's own origins in the service's CORS setting, in place of * or a reflected one",
    explained_by=EXPLAINED_BY_SILENCE,
)
