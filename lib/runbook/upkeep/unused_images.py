"""Which images does nobody need: not to run, not to go back to?"""

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.connections.images import KEEP
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import as_bytes, counted

_COLUMNS = ["image", "id", "names", "bytes", "made", "kept"]


def probe(asking: Asking, *, keep: int = KEEP) -> pd.DataFrame:
    """Return a row for each image of the engine, the newest first: image, id, names, bytes, made (UTC), kept (why it
    is, "": nobody needs it). Of each repository the newest ``keep`` are kept.
    """
    rows = [
        (one.label, one.id, ", ".join(one.names), one.bytes, pd.Timestamp(one.made, unit="s", tz="UTC"), one.kept)
        for one in asking.connection(ContainersConnection).images_and_their_use(keep)
    ]
    return pd.DataFrame(rows, columns=_COLUMNS)


def check(frame: pd.DataFrame, *, most_gib: float = 5.0) -> list[Finding]:
    """Judge what nobody needs by the disk that it takes (GiB): it is told, and a WARNING where that is much.

    Layers that images share are counted with each, so that less may come free.
    """
    unused, kept = frame[frame["kept"] == ""], frame[frame["kept"] != ""]
    gib = float(unused["bytes"].sum()) / (1 << 30)
    told = f"{counted(len(unused), 'image')} of {len(frame)} {'is' if len(unused) == 1 else 'are'} needed by nobody"
    told += f", up to {as_bytes(unused['bytes'].sum())}" if len(unused) else ""
    told += f"; {counted(len(kept), 'image')} kept to run or to go back to"
    status = Status.WARNING if gib > most_gib else Status.OK
    finding = Finding(object="images", status=status, message=told, value=round(gib, 3), threshold=most_gib, unit="GiB")
    return [finding]


unused_images = Question(
    name="upkeep.unused_images",
    title="Which images does nobody need: not to run, not to go back to?",
    probe=probe,
    check=check,
    source="docker images --no-trunc; docker ps --all --no-trunc"
    "   # never docker image prune --all: it takes what a rollback needs",
    needs=(ContainersConnection,),
    deadline=15.0,
    next="the plan below removes them one by one; what a container uses, or a rollback needs, stays",
)
