"""Where does the recovery stand: is the service stopped, is its database there, is one restored, one kept?"""

import httpx
import pandas as pd

from runbook.connections import ApiConnection, RestoringDatabase
from runbook.connections.http import Response
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.model.units import as_bytes
from runbook.recovery.cluster import Database, standing

# What a proxy answers while nothing behind it does; the service itself answers /health with JSON, whatever it says.
_OF_A_PROXY = (502, 503, 504)
_COLUMNS = ["what", "name", "there", "bytes", "sessions", "backup", "told"]


def answers(asking: Asking) -> str:
    """Return why the service does not answer, "" where it does: whatever it says, it runs and may write."""
    return _heard(asking)[0]


def may_write(asking: Asking) -> bool:
    """Tell whether the service is not known to be stopped: it answers, or takes the request and keeps silent."""
    why, silent = _heard(asking)
    return not why or silent


def _heard(asking: Asking) -> tuple[str, bool]:
    """Return why the service does not answer, "" where it does, and whether something took the request all the same."""
    try:
        told = asking.connection(ApiConnection).get("/health")
    except Unreachable as why:
        return str(why), why.kind == "timeout" and not isinstance(why.__cause__, httpx.ConnectTimeout)
    except CouldNotFindOut as why:
        return str(why), False
    if told.status in _OF_A_PROXY and not _is_json(told):
        return f"what stands before it answers {told.status}", told.status == 504
    return "", False


def _is_json(told: Response) -> bool:
    try:
        return bool(told.mapping())
    except CouldNotFindOut:
        return False


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for the service and for each database of the recovery: what (service, database, other, restored,
    kept), name, there, bytes, sessions, backup (that it was restored from), told (why it does not answer, or "").
    """
    found = standing(asking)
    why = answers(asking)
    rows = [("service", asking.target.name, not why, 0, 0, "", why)]
    own = found.own
    rows.append(("database", found.name, own is not None, own.bytes if own else 0, own.sessions if own else 0,
                 own.backup if own else "", ""))  # fmt: skip
    if own is None and found.others:
        rows += [("other", one, True, 0, 0, "", "") for one in found.others[:20]]
    rows += [_row("restored", one) for one in found.restored] + [_row("kept", one) for one in found.kept]
    return pd.DataFrame(rows, columns=_COLUMNS)


def _row(what: str, one: Database) -> tuple[str, str, bool, int, int, str, str]:
    return (what, one.name, True, one.bytes, one.sessions, one.backup, "")


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge service and database, and tell what of a recovery is there: a restored one waits for the swap."""
    findings = []
    for row in frame.to_dict("records"):
        what, name, size = row["what"], row["name"], as_bytes(row["bytes"])
        if what == "service":
            status = Status.OK if row["there"] else Status.CRITICAL
            message = "it runs and answers" if row["there"] else f"it does not answer: {row['told']}"
        elif what == "database":
            status = Status.OK if row["there"] else Status.CRITICAL
            message = f"{name} is there, {size}" if row["there"] else f"{name} is not there"
            others = list(frame.loc[frame["what"] == "other", "name"])
            message += f"; the cluster has {', '.join(others)}: was it renamed?" if others else ""
            message += f"; it was restored from {row['backup']}" if row["backup"] else ""
        elif what == "other":
            continue
        elif what == "restored":
            status, message = (
                Status.WARNING,
                f"{name} ({size}, from {row['backup']}) was restored and waits for the swap",
            )
        else:
            status, message = Status.OK, f"{name} ({size}) is the former database, kept until a plan drops it"
        findings.append(Finding(object=what if what != "kept" else f"kept {name}", status=status, message=message))
    return findings


position = Question(
    name="recovery.position",
    title="Where do service, database and recovery stand?",
    probe=probe,
    check=check,
    source="curl -sS {api}/health; psql -d postgres -c '\\l+'",
    needs=(ApiConnection, RestoringDatabase),
    deadline=15.0,
    next="run this again with recover = True, and carry out one plan each time, in their order",
)
