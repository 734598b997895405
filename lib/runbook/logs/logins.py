"""Does somebody guess passwords?"""

from collections import Counter, defaultdict
from datetime import datetime, timedelta

import pandas as pd

from runbook.connections import LogsConnection
from runbook.logs.beside import beside
from runbook.logs.window import DEADLINE, Window, one_pass, require_statuses
from runbook.model import Asking, CouldNotFindOut, Finding, Question, at_most
from runbook.model.units import counted

BRUTE_FORCE_MINUTES = 10
SPRAYING_MINUTES = 60


def probe(asking: Asking, *, window: Window | None = None) -> pd.DataFrame:
    """Return a row for each user and each client with failed logins: by (user, client), name, failed (in the window),
    most (within `BRUTE_FORCE_MINUTES`) since (UTC), users (different ones within `SPRAYING_MINUTES`, of a client)
    users_since (UTC).

    Raises `CouldNotFindOut` where the log records no status, or neither user nor client of any failed
    login.
    """
    reading, tally, _ = one_pass(asking, window)
    require_statuses(reading, tally)
    logins = sorted(tally.failed_logins.items())
    count = sum(n for _, n in logins)
    if count and not any(user or client for (_, user, client), _ in logins):
        raise CouldNotFindOut(
            f"the log records neither user nor client of {counted(count, 'failed login')} (user_id is null, no "
            "address); have both logged, or acknowledge this in the profile"
        )
    rows = []
    for place, by in ((1, "user"), (2, "client")):
        names: dict[str, list[tuple[datetime, int, str]]] = defaultdict(list)
        for key, n in logins:
            if key[place]:
                names[key[place]].append((datetime.fromisoformat(key[0]), n, key[1]))
        rows += [(by, name, *_most(seen, users=by == "client")) for name, seen in names.items()]
    frame = pd.DataFrame(rows, columns=["by", "name", "failed", "most", "since", "users", "users_since"])
    frame = frame.sort_values(["most", "name"], ascending=[False, True], ignore_index=True)
    frame.attrs = {"failed": count, "note": asking.connection(LogsConnection).grep("401")}
    return frame


def _most(seen: list[tuple[datetime, int, str]], *, users: bool) -> tuple[int, int, str, int, str]:
    """Return all failures, the most within the one span and the most users within the other, each with its begin."""
    most = different = failed = first = near = 0
    begun = spread = seen[0][0]
    names: Counter[str] = Counter()
    for moment, n, who in seen:  # in the order of time: what leaves a span at its beginning never comes back
        failed += n
        while moment - seen[first][0] >= timedelta(minutes=BRUTE_FORCE_MINUTES):
            failed -= seen[first][1]
            first += 1
        if failed > most:
            most, begun = failed, seen[first][0]
        if users and who:
            names[who] += 1
        while moment - seen[near][0] >= timedelta(minutes=SPRAYING_MINUTES):
            names[seen[near][2]] -= 1
            if names[seen[near][2]] <= 0:
                del names[seen[near][2]]
            near += 1
        if len(names) > different:
            different, spread = len(names), seen[near][0]
    return sum(n for _, n, _ in seen), most, f"{begun:%Y-%m-%d %H:%M}", different, f"{spread:%Y-%m-%d %H:%M}"


def check(
    frame: pd.DataFrame,
    *,
    warning: float = 9,
    critical: float = 29,
    warning_users: float = 4,
    critical_users: float = 9,
) -> list[Finding]:
    """Judge failed logins of one user or client within ten minutes (brute force), and different users that one client
    failed for within an hour (password spraying).

    People give up or ask for help after a handful of attempts; ten in ten minutes are a machine. Five users behind one
    address can be an office on a Monday morning, ten are not.
    """
    brute = frame[frame["most"] > warning]
    spraying = frame[(frame["by"] == "client") & (frame["users"] > warning_users)]
    findings = []
    for row in brute.to_dict("records"):
        told = f"{counted(row['most'], 'failed login')} within {BRUTE_FORCE_MINUTES} min, since {row['since']} UTC"
        message = f"brute force: {told}"
        subject = f"{row['by']} {row['name']}"
        findings.append(at_most(subject, float(row["most"]), warning, critical, unit="failed logins", message=message))
    for row in spraying.to_dict("records"):
        told = f"{row['users']:,} users within {SPRAYING_MINUTES} min, since {row['users_since']} UTC"
        message = f"password spraying: {told}"
        subject = f"client {row['name']}, users"
        findings.append(
            at_most(subject, float(row["users"]), warning_users, critical_users, unit="users", message=message)
        )
    if not findings:
        most = int(frame["most"].max()) if len(frame) else 0
        message = (
            f"{counted(frame.attrs['failed'], 'failed login')}; at most {most} of one user or client within 10 min"
        )
        findings.append(at_most("logins", float(most), warning, critical, unit="failed logins", message=message))
    return beside(frame.attrs["note"], findings)


failed_logins = Question(
    name="logs.failed_logins",
    title="Does somebody guess passwords?",
    probe=probe,
    check=check,
    source="the entries of the window of POST /auth/login with status_code 401, by user and client",
    needs=(LogsConnection,),
    deadline=DEADLINE,
    next="block the client at the proxy; where a login of that user succeeded afterwards, revoke the user's access",
)
