"""Can the machine that the target lives on be looked at?"""

import pandas as pd

from runbook.connections import Machine
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable

_NAME = "machine"


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: answered (bool), what, where, judged (as the connection proves itself), kind and
    reason (why not).
    """
    empty = dict.fromkeys(("what", "where", "judged", "kind", "reason"), "")
    try:
        machine = asking.connection(Machine)
    except Unreachable as error:
        return pd.DataFrame([{**empty, "answered": False, "kind": error.kind, "reason": error.reason}])
    if machine.watcher is None and machine.engine is None and machine.elsewhere:
        ended = machine.elsewhere[0].call(("true",))
        if ended.status != 0:
            raise CouldNotFindOut(f"{machine.label}: `true` ended with {ended.status}")
    return pd.DataFrame([{**empty, **machine.identity, "answered": True}])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge whether it can be looked at. That it cannot is UNKNOWN: the service may be well all the same.

    A host key that is not the known one is CRITICAL: somebody may have put a machine of their own in its place.
    """
    row = frame.iloc[0]
    if row["answered"]:
        message = f"{row['what']}: {row['where']}; judged is {row['judged']}"
        return [Finding(object=_NAME, status=Status.OK, message=message)]
    status = Status.CRITICAL if row["kind"] == "host-key" and "another host key" in row["reason"] else Status.UNKNOWN
    return [Finding(object=_NAME, status=status, message=row["reason"], value=row["kind"])]


reachable = Question(
    name="host.reachable",
    title="Can the machine be looked at?",
    probe=probe,
    check=check,
    source="ssh AT true   # or, as the profile's [host] says, Prometheus, the Docker engine, this machine",
    needs=(Machine,),
    next="mend the way there, and run this again: until then nothing is known of its disk, memory and load",
)
