"""Which limits fit what the containers use?"""

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.docker.resources import two_looks
from runbook.model import Asking, Finding, Question, Status
from runbook.model.units import as_bytes
from runbook.procfs.engine import without_cache

COLUMNS = ["part", "container", "used", "peak", "limit", "reservation", "machine", "proposed", "proposed_reservation"]
_MIB = 1 << 20
# Limits are proposed in these steps: finer ones only pretend to be exact.
_STEP = 64 * _MIB


def probe(asking: Asking, seconds: float = 2.0) -> pd.DataFrame:
    """Return a row for each container that runs, in bytes: part, container, used (the most that was seen within
    ``seconds``), peak (since it started, where the kernel keeps that, else used), limit and reservation (0: none),
    machine (its memory), proposed and proposed_reservation (see `propose`).
    """
    connection = asking.connection(ContainersConnection)
    machine, _ = connection.machine()
    rows = []
    for part, name, *looks in two_looks(connection, seconds):
        told = connection.inspect(name) or {}
        memories = [look["memory_stats"] for look in looks]
        used = max(map(without_cache, memories))
        peak = max(used, *(int(memory.get("max_usage", 0)) for memory in memories))
        host = told.get("HostConfig", {})
        limit, reservation = int(host.get("Memory") or 0), int(host.get("MemoryReservation") or 0)
        rows.append((part, name, used, peak, limit, reservation, machine, *propose(used, peak)))
    return pd.DataFrame(rows, columns=COLUMNS)


def propose(used: int, peak: int) -> tuple[int, int]:
    """Return a limit (half as much again as the peak) and a reservation (what is used), in steps of 64 MiB.

    Half as much again leaves the limit at two thirds: below the 80% where `docker.resources` warns, also when a tenth
    more is used on a busy day.
    """
    return _up(1.5 * peak), _up(used)


def _up(size: float) -> int:
    return max(_STEP, -(-int(size) // _STEP) * _STEP)


def check(frame: pd.DataFrame, *, least: float = 1.25, most: float = 8) -> list[Finding]:
    """Judge each limit by how often the peak fits into it: less than ``least`` times is a WARNING, as no limit is.

    More than ``most`` times is told, and well: what is set aside and never used is missed by others only.
    """
    findings = []
    for row in frame.to_dict("records"):
        room = row["limit"] / row["peak"] if row["limit"] and row["peak"] else None
        told = f"uses {as_bytes(row['used'])}, at most {as_bytes(row['peak'])} since it started; "
        told += f"its limit is {as_bytes(row['limit'])}" if row["limit"] else "it has no limit"
        wanted = f"fitting: a limit of {as_bytes(row['proposed'])}, {as_bytes(row['proposed_reservation'])} reserved"
        bad = room is None or room < least
        if bad or (room is not None and room > most):
            told += f"; {wanted}"
        findings.append(
            Finding(
                object=f"{row['part']} ({row['container']})",
                status=Status.WARNING if bad else Status.OK,
                message=told,
                value=round(room, 2) if room is not None else None,
                threshold=least,
                unit="times its peak",
            )
        )
    return findings


sizing = Question(
    name="docker.sizing",
    title="Which limits fit what the containers use?",
    probe=probe,
    check=check,
    source="docker stats --no-stream NAME; docker inspect --format '{{.HostConfig.Memory}}' NAME",
    needs=(ContainersConnection,),
    explained_by=EXPLAINED_BY,
    deadline=15,
    next="the plan below sets the fitting limit",
)
