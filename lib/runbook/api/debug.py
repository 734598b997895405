"""Does the service tell strangers about its insides?"""

import re

import pandas as pd

from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.api.strangers import not_believed, user_path
from runbook.connections import ApiConnection, Response
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status

# What only a program's own insides look like.
_INSIDES = (
    ("a traceback", re.compile(rb"Traceback \(most recent call last\)")),
    ("a traceback", re.compile(rb"""File \\?"[^"\n]{1,300}\.py\\?", line \d""")),
    (
        "a debugger's page",
        re.compile(rb"werkzeug\.debug|__debugger__|DEBUG = True|Request Method:.{0,200}Django", re.S),
    ),
    ("an error of its database", re.compile(rb"psycopg2?\.(?:errors|OperationalError)|sqlalchemy\.exc\.|asyncpg\.exc")),
)
_FOR_PRACTICE = ("dev", "development", "debug", "local", "test", "testing", "staging")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each answer that was looked at: asked, path, status, insides (what of its insides it shows).

    Asked without a token are a path that is not there, the profile's user_request, and the same with a parameter that
    cannot be read. attrs hold ``environment`` and ``debug`` as /health tells them ("" where it does not).
    """
    path = user_path(asking)
    with asking.connection(ApiConnection).stranger() as stranger:
        answers = [
            ("not there", stranger.nowhere()),
            ("as users ask", stranger.get(path)),
            ("not readable", stranger.get(path.partition("?")[0], parameters={"limit": "runbook"})),
        ]
        health = stranger.get("/health")
    rows = [
        {"asked": asked, "path": answer.path, "status": answer.status, "insides": _insides(answer)}
        for asked, answer in [*answers, ("its health", health)]
    ]
    rows[0]["path"] = "a path that nobody serves"
    frame = pd.DataFrame(rows)
    try:
        told = health.mapping()
    except CouldNotFindOut:
        told = {}
    frame.attrs = {name: str(told.get(name, ""))[:60] for name in ("environment", "debug")}
    return frame


def _insides(answer: Response) -> str:
    return next((what for what, sign in _INSIDES if sign.search(answer.body)), "")


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge what an answer shows of the program behind it, and what /health says that it runs as.

    A 500 is not provoked: one that a program's mistake makes may show more than was seen here.
    """
    shown = frame[frame["insides"] != ""]
    findings = [
        Finding(
            object=f"{row['path']} ({row['asked']})",
            status=Status.CRITICAL,
            message=f"answered {row['status']} with {row['insides']}: it tells strangers how to go on",
        )
        for row in shown.to_dict("records")
    ]
    control, statuses = int(frame["status"].iloc[0]), frame["status"]
    if shown.empty and 200 <= control < 300:
        return [not_believed(control)]  # and so is what it says of itself
    if shown.empty and (statuses.eq(429) | statuses.ge(500)).all():
        message = f"every request was answered {', '.join(map(str, sorted(set(statuses))))}: nothing was seen"
        findings.append(Finding(object="answers", status=Status.UNKNOWN, message=message))
    elif shown.empty:
        message = (
            f"none of {len(frame)} answers shows insides (HTTP {', '.join(map(str, sorted(set(frame['status']))))})"
        )
        findings.append(Finding(object="answers", status=Status.OK, message=message))
    return [*findings, _runs_as(frame)]


def _runs_as(frame: pd.DataFrame) -> Finding:
    environment, debug = frame.attrs["environment"], frame.attrs["debug"]
    if debug.lower() in ("true", "1", "on", "yes", "t", "y"):
        return Finding(object="environment", status=Status.CRITICAL, message="/health says that debugging is on")
    if not environment:
        message = "/health does not tell which environment this runs as"
        return Finding(object="environment", status=Status.UNKNOWN, message=message)
    if environment.lower() in _FOR_PRACTICE:
        message = f"/health says that this runs as {environment}: what is for practice only may be switched on"
        return Finding(object="environment", status=Status.WARNING, message=message, value=environment)
    return Finding(object="environment", status=Status.OK, message=f"runs as {environment}", value=environment)


debug = Question(
    name="api.debug",
    title="Does the service tell strangers about its insides?",
    probe=probe,
    check=check,
    source="curl -sS {api}/not-there; curl -sS '{api}/documents?limit=runbook'; "
    "curl -sS {api}/health | jq .environment",
    needs=(ApiConnection,),
    deadline=20.0,  # four requests
    next="switch debugging off (DEBUG=false, ENVIRONMENT=production) and start the service anew",
    explained_by=EXPLAINED_BY_SILENCE,
)
