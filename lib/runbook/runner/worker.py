"""What a worker of a Dask cluster does: it enlists, carries out the runs that it is sent, and is dismissed.

An order is for one process, and is begun there once or never: whatever the scheduler makes of a task whose worker it
has lost, nothing is run twice behind the back of who sent it. Each thread of a worker has a lane: a folder for the run
at work, and a chain of its own that the archive of who asked goes on with.
"""

import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import msgspec

from runbook.evidence.archive import name_archive, state_folder
from runbook.evidence.chain import Chain
from runbook.evidence.facts import host
from runbook.evidence.keys import public_text, signer
from runbook.evidence.merging import Packed, forget, pack
from runbook.evidence.only_one import only_one
from runbook.evidence.statement import digest
from runbook.kernels import FORK
from runbook.kernels.owner import Template
from runbook.model import RunbookError
from runbook.model.collection import find_notebook
from runbook.model.layout import make_private
from runbook.model.protocol import RunRecord
from runbook.runner.release import release
from runbook.runner.run import Stop, run_notebook
from runbook.target import read_profile

FOLDER = "fleet"
# Who enlisted a worker and has sent nothing for so long is gone.
IDLE_SECONDS = 1800.0
MOST_LANES = 1000


class Refused(RunbookError):
    """An order that is not begun here; nothing of it has happened."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks for workers: by which release, for which archive and with which notebooks (digests by name).

    ``heads`` are the place and the digest up to which the archive has each worker's chain.
    """

    id: str
    release: str
    archive: str
    heads: dict[str, tuple[int, str]]
    notebooks: dict[str, str]
    kernel: str


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One run, for one lane of one process. ``delivered`` is the run of that lane that was taken over meanwhile."""

    id: str
    call: str
    process: str
    lane: str
    notebook: str
    target: str
    profile: str
    parameters: dict[str, Any]
    deadline: float | None
    cell_deadline: float | None
    delivered: str = ""


class Delivery(msgspec.Struct, frozen=True):
    """What became of an order: the run's record, and its files where it was sealed."""

    record: RunRecord
    packed: Packed | None


class _Lane:
    """A chain that this process alone goes on with, and the folder in which its runs are made."""

    def __init__(self, name: str, folder: Path, writer: str, held: ExitStack) -> None:
        self.name, self.folder, self.writer, self.held = name, folder, writer, held


class _Station:
    """What this process holds for one call."""

    def __init__(self, call: Call, threads: int) -> None:
        self.stop = Stop()
        self.lanes = {lane.writer: lane for lane in _lanes(call, threads)}
        self.template = Template(threads + 1) if call.kernel == FORK else None
        self.begun: set[str] = set()
        self.at_work = 0
        self.used = time.monotonic()

    def close(self) -> None:
        if self.template is not None:
            self.template.close()
        for lane in self.lanes.values():
            lane.held.close()


_stations: dict[str, _Station] = {}
_alone = threading.Lock()
_own: list[tuple[int, str]] = []


def process() -> str:
    """Return the name of this process: another one never has it, whatever its address."""
    with _alone:
        if not _own or _own[0][0] != os.getpid():
            _own[:] = [(os.getpid(), f"{os.getpid()}-{secrets.token_hex(8)}")]
        return _own[0][1]


def enlist(call: bytes, threads: int) -> dict[str, Any]:
    """Make ready for a call, and tell which release this is, its key and its lanes.

    What is asked and told is plain data: the other side may be of another release, which is told no more than that.
    """
    told: dict[str, Any] = {"release": release(), "host": host()}
    asked = msgspec.json.decode(call)
    if asked["release"] != release():
        return told
    wanted = msgspec.convert(asked, Call)
    other = [name for name, sha in wanted.notebooks.items() if _digest(name) != sha]
    if other:
        return told | {"other_notebooks": sorted(other)}
    _dismiss_idle()
    here = process()
    with _alone:
        station = _stations.get(wanted.id)
        if station is None:
            station = _stations[wanted.id] = _Station(wanted, threads)
    return told | {"process": here, "key": public_text(signer().public_key), "lanes": sorted(station.lanes)}


def carry_out(order: Order) -> Delivery:
    """Run what was ordered; raises `Refused` where it is for another process or was begun before."""
    if order.process != process():
        raise Refused("it is for a process that is gone")
    with _alone:
        station = _stations.get(order.call)
        if station is None or order.lane not in station.lanes:
            raise Refused("this worker was dismissed")
        if order.id in station.begun:
            raise Refused("it was begun before")
        station.begun.add(order.id)
        station.at_work += 1
    lane = station.lanes[order.lane]
    profiles = Path(tempfile.mkdtemp(prefix="rb-"))
    try:
        if order.delivered:
            forget(lane.folder, order.delivered)
        (profiles / f"{order.target}.toml").write_text(order.profile, encoding="utf-8")
        found = [str(profiles), os.environ.get("RUNBOOK_TARGETS", "")]
        record = run_notebook(
            find_notebook(order.notebook),
            read_profile(profiles / f"{order.target}.toml"),
            order.parameters,
            archive=lane.folder,
            deadline=order.deadline,
            cell_deadline=order.cell_deadline,
            stop=station.stop,
            template=station.template,
            lane=lane.name,
            environment={"RUNBOOK_TARGETS": os.pathsep.join(filter(None, found))},
        )
        return Delivery(record, pack(lane.folder, record.run_id) if record.run_id else None)
    finally:
        shutil.rmtree(profiles, ignore_errors=True)
        with _alone:
            station.at_work -= 1
            station.used = time.monotonic()


def end_runs(call: str, reason: str) -> None:
    """End what runs here for a call; it is sealed and delivered all the same."""
    station = _stations.get(call)
    if station is not None:
        station.stop.request(reason)


def dismiss(call: str, delivered: Mapping[str, str]) -> None:
    """Let go of what is held for a call; ``delivered`` are the last runs that were taken over, by their lanes."""
    with _alone:
        station = _stations.pop(call, None)
    if station is not None:
        for writer, run_id in delivered.items():
            if writer in station.lanes:
                forget(station.lanes[writer].folder, run_id)
        station.close()


def _dismiss_idle() -> None:
    with _alone:
        idle = [
            call
            for call, station in _stations.items()
            if not station.at_work and time.monotonic() - station.used > IDLE_SECONDS
        ]
    for call in idle:
        dismiss(call, {})


def _digest(notebook: str) -> str:
    try:
        return digest(find_notebook(notebook).path.read_bytes())
    except (OSError, RunbookError):
        return ""


def _lanes(call: Call, count: int) -> list[_Lane]:
    """Return as many lanes as are asked for, each held until it is let go.

    A chain is gone on with where the archive has it just as far as it goes here. One whose last run never arrived, as
    that of a worker that was killed, stays as it is there.
    """
    found: list[_Lane] = []
    key = signer()
    top = state_folder() / FOLDER / call.archive
    for number in range(1, MOST_LANES):
        name = f"w{number}"
        writer = Chain(top, call.archive, key, name).writer
        folder = top / writer
        make_private(folder)
        with suppress(BlockingIOError), ExitStack() as held:
            held.enter_context(only_one(folder / "lock", seconds=0))
            name_archive(folder, call.archive)
            head = Chain(folder, call.archive, key, name).head()
            if (head.seq, head.digest) == tuple(call.heads.get(writer, (0, ""))):
                found.append(_Lane(name, folder, writer, held.pop_all()))
        if len(found) == count:
            return found
    return found
