"""How many requests in a row fail?"""

import time

import pandas as pd

from runbook.api.answers import ask_once, not_answered
from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.connections import ApiConnection
from runbook.model import Asking, Finding, Question, Status, at_most

ENOUGH_SECONDS = 4.0
COLUMNS = ["path", "answered", "kind", "reason", "status", "ms", "problem", "nothing_there"]


def probe(asking: Asking, requests: int = 10) -> pd.DataFrame:
    """Return a row for each of some requests in a row: path, answered, kind, reason, status, ms, problem, and
    nothing_there (as built, "not found" comes back as a 500). After one that kept silent, or 4 s in all, no more are
    sent: slow failures tell as much by three as by ten.
    """
    path = asking.target.api.user_request if asking.target.api else "/"
    api = asking.connection(ApiConnection)
    rows, began = [], time.monotonic()
    for _ in range(requests):
        row, response = ask_once(api, path)
        nothing = response is not None and response.status == 500 and b'"404:' in response.body
        rows.append({**row, "nothing_there": nothing})
        if row["kind"] == "timeout" or time.monotonic() - began > ENOUGH_SECONDS:
            break
    return pd.DataFrame(rows, columns=COLUMNS)


def check(frame: pd.DataFrame, *, warning: float = 0, critical: float = 10) -> list[Finding]:
    """Judge the share of requests that failed (%): no answer, or 5xx. More than 10% is the runbook's P1.

    One request in ten is 10%, so a single one that fails is a WARNING.
    """
    path, asked = str(frame["path"].iloc[0]), len(frame)
    silent = frame[~frame["answered"]]
    if len(silent) == asked:
        last = silent.iloc[-1]
        return [not_answered(path, last["kind"], last["reason"])]
    refused = int((frame["status"] == 429).sum())
    if refused:
        told = f"{refused} of {asked} requests in a row were refused with 429: how many fail is not known"
        return [Finding(object=path, status=Status.UNKNOWN, message=told, value=refused, unit="requests")]
    strange = frame[frame["answered"] & (frame["status"] < 400) & (frame["problem"] != "")]
    if len(strange):
        told = f"{strange.iloc[0]['problem']}; is this the service?"
        return [Finding(object=path, status=Status.UNKNOWN, message=told)]
    failed = frame[~frame["answered"] | ((frame["status"] >= 500) & ~frame["nothing_there"])]
    share = 100 * len(failed) / asked
    message = f"{len(failed)} of {asked} requests in a row failed"
    if len(failed):
        kinds = [f"{row['status']}" if row["answered"] else row["kind"] for row in failed.to_dict("records")]
        message += f" ({', '.join(dict.fromkeys(kinds))})"
    return [at_most(path, share, warning, critical, unit="%", message=message)]


error_rate = Question(
    name="api.error_rate",
    title="How many requests in a row fail?",
    probe=probe,
    check=check,
    source='for i in $(seq 10); do curl -sS -o /dev/null -w "%{http_code}\\n" {api}$USER_REQUEST; done',
    needs=(ApiConnection,),
    deadline=15.0,
    next="some of it fails, some does not: see which replica or dependency, then the service's log",
    explained_by=EXPLAINED_BY_SILENCE,
)
