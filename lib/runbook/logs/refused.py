"""Which requests were answered with an error, by status, path and, where recorded, user and client?"""

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logfiles.empty import EMPTY_AS_500
from runbook.logfiles.tally import Tally
from runbook.logs.beside import beside
from runbook.logs.window import DEADLINE, Window, one_pass, partly_recorded, require_statuses
from runbook.model import Asking, Finding, Question, Status, at_most

COLUMNS = ["status", "method", "path", "user", "client", "count", "first", "last"]


def rows_of(tally: Tally, low: int, high: int) -> pd.DataFrame:
    """Return a row for each status from ``low`` to ``high``, method, path, user and client, the most frequent first."""
    rows = [
        (int(status), method, path, user, client, seen.count, seen.first[:19], seen.last[:19])
        for (status, method, path, user, client), seen in tally.refused.items()
        if status.isdigit() and low <= int(status) <= high
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.sort_values(["count", "path", "user"], ascending=[False, True, True], ignore_index=True)


def _probe(asking: Asking, asked: Window | None, low: int, high: int, grep: str) -> pd.DataFrame:
    reading, tally, about = one_pass(asking, asked)
    require_statuses(reading, tally)
    frame = rows_of(tally, low, high)
    frame.attrs = {
        "hours": about.hours,
        "requests": tally.requests,
        "partly": partly_recorded(tally),
        "note": asking.connection(LogsConnection).grep(grep) if grep else "",
        "recorded": asking.connection(LogsConnection).logs.records_429,
    }
    return frame


def probe_authentication(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return the requests answered 401 and 403: status, method, path, user, client ("" where not recorded), count,
    first, last (UTC).

    Raises `CouldNotFindOut` where the log records no status, as in the text format.
    """
    frame = _probe(asking, window, 401, 403, r"401\|403")
    kept = frame[frame["status"] != 402].reset_index(drop=True)
    kept.attrs = frame.attrs
    return kept


def check_authentication(frame: pd.DataFrame, *, warning: float = 60, critical: float = 600) -> list[Finding]:
    """Judge 401 and 403 per hour; say where neither user nor client is recorded.

    A mistyped password or an expired token is one each; one a minute all day is a client gone wrong or an attack.
    """
    count, hours = int(frame["count"].sum()), float(frame.attrs["hours"])
    by = frame.groupby("status")["count"].sum()
    told = ", ".join(f"{n:,} × {status}" for status, n in by.items()) or "none"
    message = f"{count:,} refused in {hours:g} h: {told}{frame.attrs['partly']}"
    if count:
        paths = frame.groupby("path")["count"].sum().sort_values(ascending=False)
        message += f"; most on {paths.index[0]} ({paths.iloc[0]:,})"
    findings = [at_most("401 and 403", count / hours, warning, critical, unit="refused/h", message=message)]
    for name, why in (("user", "user_id is null"), ("client", "no address is recorded")):
        if count and not frame[name].astype(bool).any():
            told = f"who was refused cannot be told by {name}: {why} in all of these {count:,} entries"
            after = "have the service log it, or acknowledge this in the profile"
            findings.append(Finding(object=f"by {name}", status=Status.UNKNOWN, message=told, next=after))
    return beside(frame.attrs["note"], findings)


def probe_server_errors(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return the requests answered 500 and more, with the columns of `probe_authentication`."""
    return _probe(asking, window, 500, 599, "")


def check_server_errors(frame: pd.DataFrame, *, warning: float = 1, critical: float = 10) -> list[Finding]:
    """Judge 5xx as a share of all requests (%), without the two paths that say "nothing there" by 500.

    Above 10% is the runbook's own P1; 1% is where users begin to notice.
    """
    requests = int(frame.attrs["requests"])
    apart = frame["path"].isin(EMPTY_AS_500) & (frame["status"] == 500)
    count, empty = int(frame.loc[~apart, "count"].sum()), int(frame.loc[apart, "count"].sum())
    message = f"{count:,} of {requests:,} requests answered 5xx{frame.attrs['partly']}"
    if count:
        paths = frame[~apart].groupby("path")["count"].sum().sort_values(ascending=False)
        message += f"; most on {paths.index[0]} ({paths.iloc[0]:,}), the first at {frame[~apart]['first'].min()} UTC"
    if empty:
        message += (
            f"; apart from {empty:,} × 500 of {' and '.join(EMPTY_AS_500)}, which may mean that there was nothing"
        )
    return [at_most("service", 100 * count / requests, warning, critical, unit="%", message=message)]


def probe_rate_limited(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return the requests answered 429, with the columns of `probe_authentication`."""
    return _probe(asking, window, 429, 429, "rate limit exceeded")


def check_rate_limited(frame: pd.DataFrame, *, warning: float = 1, critical: float = 10) -> list[Finding]:
    """Judge 429 as a share of all requests (%); none means nothing where the profile does not say that they are logged.

    One of a hundred refused is a limit that works; one of ten is a limit that users meet, or an attack.
    """
    requests, count = int(frame.attrs["requests"]), int(frame["count"].sum())
    if not count and not frame.attrs["recorded"]:
        message = "the service as built never logs a 429, so that none in the log means nothing"
        after = (
            "see api.rate_limits of morning-health-check for what its metrics count; set logs.records_429 where the "
            "service does log them, or acknowledge this in the profile"
        )
        finding = Finding(object="service", status=Status.UNKNOWN, message=message, next=after)
        return beside(frame.attrs["note"], [finding])
    message = f"{count:,} of {requests:,} requests answered 429{frame.attrs['partly']}"
    if count:
        paths = frame.groupby("path")["count"].sum().sort_values(ascending=False)
        message += f"; most on {paths.index[0]} ({paths.iloc[0]:,})"
    share = 100 * count / (requests or 1)
    return beside(frame.attrs["note"], [at_most("service", share, warning, critical, unit="%", message=message)])


authentication = Question(
    name="logs.authentication",
    title="Who was refused with 401 or 403, and where?",
    probe=probe_authentication,
    check=check_authentication,
    source="the entries of the window with status_code 401 or 403",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="open daily-security-checks: it looks for guessed passwords",
)

server_errors = Question(
    name="logs.server_errors",
    title="Which requests failed with 5xx?",
    probe=probe_server_errors,
    check=check_server_errors,
    source="the entries of the window with status_code 500 to 599",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="read the errors logged at the same time: log-analysis with moment= the first one",
    caused_by={"llm.reachable": ("/candidates",)},  # most are of the path that asks the language model
)

rate_limited = Question(
    name="logs.rate_limited",
    title="Were requests refused for their number?",
    probe=probe_rate_limited,
    check=check_rate_limited,
    source="the entries of the window with status_code 429",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="see in the table which client sends so many",
)
