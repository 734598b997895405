"""Send runs to a Dask cluster: one at a time to each thread of its workers, and their evidence back into one archive.

The scheduler is not trusted to know what may happen twice. A run is given to one lane of one worker process and nowhere
else; whether it is sent again when that worker was lost is decided here: only where it cannot change anything.
"""

import logging
import re
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import msgspec

from runbook.evidence.archive import NotTrusted, archive_id
from runbook.evidence.keys import key_of, signer, trusted_keys
from runbook.evidence.merging import merge, worker_heads
from runbook.evidence.statement import digest
from runbook.model import RunbookError, RunFailed, UsageError
from runbook.model.collection import Notebook
from runbook.model.layout import RECORD_FILE
from runbook.model.protocol import RunRecord
from runbook.runner.batch import Task
from runbook.runner.release import release
from runbook.runner.run import Stop, Watcher, failed, not_run
from runbook.runner.unable import unable
from runbook.runner.worker import Call, Delivery, Order, Refused, carry_out, dismiss, end_runs, enlist
from runbook.target import find_profile

SCHEME = "dask://"
CONNECT_SECONDS = 10.0
# How long workers may take to answer at the beginning, and how long a lost one is waited for to come back.
ENLIST_SECONDS, RETURN_SECONDS = 30.0, 30.0
# Beyond its own deadline: for what a run needs before and after, and its way through the network.
ANSWER_SECONDS = 60.0
# After a stop a run has so long to end, be sealed and come back.
STOP_SECONDS = 20.0
# How long a worker may take to hear of a stop, or that it is not needed any more.
END_SECONDS = 3.0
# A run that was lost with so many workers has perhaps ended them.
MOST_SENT = 3
_POLL = 0.5
# How far it is with a worker: asked whether it has this package, asked to enlist, taken in or not.
ASKED, ENLISTED, TAKEN = "asked", "enlisted", "taken"


class Gone(RunbookError):
    """There is nobody left who could carry out a run; the message says why."""


class _Lost(Exception):
    """A run was sent, and nothing comes back; the message says why."""


class _NotTaken(Exception):
    """What came back was not taken into the archive; the message says why."""


@dataclass
class _Slot:
    """A lane of a worker: ``delivered`` is its last run that arrived, which it may forget."""

    address: str
    process: str
    lane: str
    executor: Any
    delivered: str = ""


@dataclass
class _Asked:
    """How far it is with a worker, and the answer that it was asked for last."""

    stage: str
    answer: Future[Any]


def place_of(engine: str) -> str:
    """Return HOST:PORT of an engine ``dask://HOST:PORT``; raises `UsageError` for another one."""
    found = re.fullmatch(re.escape(SCHEME) + r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})/?", engine)
    if found is None or not 0 < int(found[2]) < 65536:
        raise UsageError(
            f"--engine {engine}: an engine is `local`, or dask://HOST:PORT, where a Dask scheduler listens"
        )
    return f"{found[1]}:{found[2]}"


class Cluster:
    """The workers of a Dask cluster that have this runbook, as a place for runs; a context, which lets go of them.

    ``say`` is told in a sentence what is worth knowing, such as a worker that is given no run.
    """

    def __init__(
        self,
        place: str,
        archive: Path,
        notebooks: list[Notebook],
        *,
        kernel: str,
        stop: Stop,
        say: Callable[[str], None],
    ) -> None:
        self._place, self._archive, self._stop, self._say = place, archive, stop, say
        self._digests = {notebook.name: digest(notebook.path.read_bytes()) for notebook in notebooks}
        self._kernel, self._call = kernel, f"call-{secrets.token_hex(8)}"
        self._client: Any = None
        self._change = threading.Condition()
        self._merging, self._mustering = threading.Lock(), threading.Lock()
        self._asked: dict[str, _Asked] = {}
        self._there: dict[str, int] = {}
        self._looked = float("-inf")
        self._free: list[_Slot] = []
        self._out = 0
        self._any_at = time.monotonic()
        self._known: set[tuple[str, str]] = set()
        self._last: dict[str, dict[str, str]] = {}
        self._gone = ""

    @property
    def slots(self) -> int:
        """Return how many runs can go on at a time."""
        return len(self._free) + self._out

    def __enter__(self) -> Self:
        """Connect, and wait until the workers have said who they are.

        Raises `UsageError` without the extra that it needs, `RunFailed` where no scheduler or no worker answers.
        """
        self._client = _connected(self._place)
        try:
            signer()  # where there is no key yet: workers of the same user have it then
            self._keys = trusted_keys([])
            began = time.monotonic()
            self._muster()
            while (not self._asked or any(one.stage != TAKEN for one in self._asked.values())) and (
                time.monotonic() - began < (ENLIST_SECONDS if self._asked else CONNECT_SECONDS)
                and self._stop.reason is None
            ):
                time.sleep(0.05)
                self._muster()
            if not self.slots:
                known = (
                    f"none of its {len(self._asked)} workers can be given a run" if self._asked else "it has no worker"
                )
                raise RunFailed(f"the Dask scheduler at {self._place} is there, but {known}: nothing was run")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the workers, which wait for others then, and of the scheduler."""
        if self._client is None:
            return
        with suppress(Exception):  # whoever is not there any more holds nothing
            if self._client.status != "running":
                raise Gone(self._scheduler_gone())
            there = sorted(set(self._asked) & self._workers(anew=True))
            last = {lane: run_id for lanes in self._last.values() for lane, run_id in lanes.items()}
            self._client.run(dismiss, self._call, last, workers=there, on_error="ignore", callback_timeout=END_SECONDS)
        with suppress(Exception):
            self._client.close(timeout=2)
        self._client = None

    def run(
        self, task: Task, begin: Callable[[], Watcher], *, deadline: float | None, cell_deadline: float | None
    ) -> RunRecord:
        """Have a run carried out by the next lane that is free, and take its evidence over.

        ``begin`` is called when it is sent. What was lost with its worker is sent again, to another one; but not what
        plans changes: that is sent once.
        """
        notebook, target = task.notebook.name, task.target.name
        watcher: Watcher | None = None
        lost = ""
        for _ in range(MOST_SENT):
            try:
                slot = self._taken()
            except Gone as gone:
                if lost or self._stop.reason is None:
                    return failed(notebook, target, f"{lost}; {gone}" if lost else f"not run: {gone}")
                return not_run(notebook, target, self._stop.reason)
            watcher = watcher or begin()
            try:
                record = self._delivered(slot, task, self._sent(slot, task, deadline, cell_deadline))
            except Refused as why:
                self._let_go(slot)
                lost = f"the worker {slot.address} did not begin it: {why}"
            except Gone as gone:
                self._let_go(slot)
                lost = f"{gone} before its result was here"
                if _may_be_sent_again(task):
                    return failed(notebook, target, lost)
                break
            except _Lost as why:
                self._let_go(slot)
                lost = str(why)
                if not _may_be_sent_again(task):
                    lost += "; it may have planned a change, and is not sent again"
                    break
                self._say(f"{notebook} on {target}: {lost}; it is sent again")
            except _NotTaken as why:
                self._let_go(slot)
                return self._unable(task, str(why))
            except Exception as mistake:  # noqa: BLE001 - of one worker: the others keep theirs
                self._let_go(slot)
                return self._unable(task, f"the worker {slot.address} failed ({type(mistake).__name__}: {mistake})")
            else:
                self._back(slot)
                watcher.on_findings(record.findings)
                return record
        else:
            lost += f"; it was sent {MOST_SENT} times"
        return self._unable(task, lost)

    def _unable(self, task: Task, error: str) -> RunRecord:
        incident = str(task.parameters.get("incident", ""))
        return unable(self._archive, task.notebook, task.target.name, error, profile=task.target, incident=incident)

    def _sent(self, slot: _Slot, task: Task, deadline: float | None, cell_deadline: float | None) -> Delivery:
        """Send a run to a lane and wait for what becomes of it; raises `_Lost`, `Gone`, or what was raised there."""
        order = Order(
            id=secrets.token_hex(8),
            call=self._call,
            process=slot.process,
            lane=slot.lane,
            notebook=task.notebook.name,
            target=task.target.name,
            profile=find_profile(task.target.name).read_text(encoding="utf-8"),
            parameters=task.parameters,
            deadline=deadline,
            cell_deadline=cell_deadline,
            delivered=slot.delivered,
        )
        answer: Future[Delivery] = slot.executor.submit(carry_out, order)
        until = time.monotonic() + (deadline or task.target.deadlines.run) + ANSWER_SECONDS
        stopped = False
        try:
            while True:
                with suppress(TimeoutError):
                    return answer.result(timeout=_POLL)
                if answer.done():
                    return answer.result(timeout=0)
                if self._client.status != "running":
                    raise Gone(self._scheduler_gone())
                if slot.address not in self._workers():
                    raise _Lost(f"the worker {slot.address} was lost while it ran")
                if self._stop.reason is not None and not stopped:
                    stopped, until = True, time.monotonic() + STOP_SECONDS
                    self._end_runs(slot.address)
                if time.monotonic() > until:
                    why = self._stop.reason or "its deadline has passed"
                    raise _Lost(f"{why}; the worker {slot.address} does not answer")
        except CancelledError:
            # Futures are lost with the scheduler, also where it is there again.
            raise Gone(self._scheduler_gone()) from None
        except Exception as error:
            if type(error).__name__ == "KilledWorker":
                raise _Lost(f"the worker {slot.address} was lost while it ran") from error
            raise
        finally:
            answer.cancel()

    def _scheduler_gone(self) -> str:
        return f"the Dask scheduler at {self._place} was gone"

    def _delivered(self, slot: _Slot, task: Task, delivery: Delivery) -> RunRecord:
        """Take a run's evidence over and return its record as it was sealed."""
        record, packed = delivery.record, delivery.packed
        if packed is None:
            return self._unable(task, record.error or f"the worker {slot.address} sent no evidence")
        try:
            with self._merging:
                place = merge(self._archive, packed, slot.lane, self._keys)
        except NotTrusted as wrong:
            raise _NotTaken(f"what the worker {slot.address} sent was not taken into the archive: {wrong}") from wrong
        except OSError as full:
            raise _NotTaken(f"its evidence could not be written to the archive: {full.strerror}") from full
        slot.delivered = packed.run_id
        self._last.setdefault(slot.address, {})[slot.lane] = packed.run_id
        sealed = msgspec.json.decode(packed.files[RECORD_FILE], type=RunRecord)
        return msgspec.structs.replace(sealed, evidence=str(place.folder))

    def _taken(self) -> _Slot:
        """Return a free lane, waiting for one; raises `Gone` after a stop, and where there is no worker any more."""
        while True:
            with self._change:
                if self._free and self._stop.reason is None and not self._gone:
                    self._out += 1
                    return self._free.pop(0)
                self._change.wait(0.1)
                if self._out or self._free:
                    self._any_at = time.monotonic()
            if self._gone or self._stop.reason is not None:
                raise Gone(self._gone or self._stop.reason or "")
            if self._client.status != "running":
                self._gone = self._scheduler_gone()
            elif time.monotonic() - self._any_at > RETURN_SECONDS:
                self._gone = f"no worker is left, and none came within {RETURN_SECONDS:g} s"
            else:
                self._muster()

    def _back(self, slot: _Slot) -> None:
        with self._change:
            self._out -= 1
            self._free.append(slot)
            self._change.notify()

    def _let_go(self, slot: _Slot) -> None:
        """Send nothing to a lane any more: what its chain is now is not known."""
        with self._change:
            self._out -= 1
            self._any_at = time.monotonic()
            self._change.notify_all()
        # It is asked anew: another process may have its address by now.
        with self._mustering:
            self._asked.pop(slot.address, None)

    def _workers(self, *, anew: bool = False) -> set[str]:
        """Return the addresses of the workers that the scheduler knows, as it told lately."""
        with self._mustering:
            if self._client.status == "running" and (anew or time.monotonic() - self._looked > _POLL):
                with suppress(Exception):  # as it was told the last time; what has become of it is seen by its status
                    self._there = self._info()
                self._looked = time.monotonic()
            return set(self._there)

    def _info(self) -> dict[str, int]:
        told = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=5)
        return {address: int(worker["nthreads"]) for address, worker in told["workers"].items()}

    def _muster(self) -> None:
        """Ask the workers that are new who they are, and take in those that have answered."""
        there = self._workers()
        with self._mustering:
            gone = set(self._asked) - there
            for address in gone:
                self._asked.pop(address).answer.cancel()
            for address in there - set(self._asked):
                # One that cannot read what it is sent ends: it is asked in words of Python's own first.
                answer = self._only(address).submit(find_spec, enlist.__module__)
                self._asked[address] = _Asked(ASKED, answer)
            answered = [(address, one) for address, one in self._asked.items() if one.answer.done()]
            new = [(address, one) for address, one in answered if one.stage != TAKEN]
            for address, one in new:
                self._asked[address] = self._next(address, one)
        with self._change:
            self._free = [slot for slot in self._free if slot.address in there]
        for address, one in new:
            if self._asked.get(address, one).stage == TAKEN:
                self._take_in(address, one.answer)

    def _only(self, address: str) -> Any:
        """Return an executor whose tasks go to one worker, and to no other when that is lost."""
        return self._client.get_executor(pure=False, retries=0, workers=[address], allow_other_workers=False)

    def _next(self, address: str, asked: "_Asked") -> "_Asked":
        """Return how it goes on with a worker that has answered."""
        answer = asked.answer
        if asked.stage != ASKED or answer.cancelled() or answer.exception() is not None or answer.result() is None:
            return _Asked(TAKEN, answer)
        heads = {writer: (head.seq, head.digest) for writer, head in worker_heads(self._archive).items()}
        call = Call(
            id=self._call,
            release=release(),
            archive=archive_id(self._archive),
            heads=heads,
            notebooks=self._digests,
            kernel=self._kernel,
        )
        return _Asked(ENLISTED, self._only(address).submit(enlist, msgspec.json.encode(call), self._there[address]))

    def _take_in(self, address: str, answer: "Future[Any]") -> None:
        """Take in the lanes of a worker, or say why it is given no run."""
        if answer.cancelled():
            return
        mistake = answer.exception()
        told = answer.result() if mistake is None else None
        if told is None:
            why = f" ({type(mistake).__name__}: {_first_line(mistake)})" if mistake is not None else ""
            self._say(f"the worker {address} is given no run: it has no runbook that could be asked{why}")
            return
        unfit = self._unfit(told)
        if unfit:
            self._say(f"the worker {address} on {told['host']} is given no run: {unfit}")
            return
        executor = self._only(address)
        with self._change:
            lanes = [lane for lane in told["lanes"] if (told["process"], lane) not in self._known]
            self._known |= {(told["process"], lane) for lane in lanes}
            self._free += [_Slot(address, told["process"], lane, executor) for lane in lanes]
            self._change.notify_all()

    def _unfit(self, told: dict[str, Any]) -> str:
        """Return why a worker is given no run; "" where it is."""
        if told["release"] != release():
            return f"it has version {told['release']}, this is {release()}"
        if "other_notebooks" in told:
            return f"of {', '.join(told['other_notebooks'])} it has another notebook, or none"
        if not self._trusted(told["key"]):
            return (
                "the key that it seals with is not trusted here; put what `runbook evidence key` prints there beside "
                "your own key, as runbook/keys/NAME.pub in your state folder"
            )
        return ""

    def _trusted(self, public: str) -> bool:
        with suppress(RunbookError):
            return key_of(public.encode(), "a worker's key").keyid in self._keys
        return False

    def _end_runs(self, address: str) -> None:
        with suppress(Exception):  # it is waited for, and given up
            reason = self._stop.reason
            self._client.run(end_runs, self._call, reason, workers=[address], callback_timeout=END_SECONDS)


def _may_be_sent_again(task: Task) -> bool:
    """Tell whether a run can be carried out twice without harm: it plans nothing and confirms nothing."""
    return task.notebook.metadata.changes == "none" and not task.parameters.get("confirm")


def _connected(place: str) -> Any:
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise UsageError("a Dask cluster needs the extra `fleet` (pip install 'lib[fleet]')") from error
    # What it logs of connections is told here in words.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    scheme = "tls" if dask.config.get("distributed.comm.tls.ca-file", None) else "tcp"
    answer: Future[Any] = Future()

    def connect() -> None:
        try:
            answer.set_result(
                Client(f"{scheme}://{place}", timeout=CONNECT_SECONDS, set_as_default=False, name="runbook")
            )
        except BaseException as error:  # noqa: BLE001 - it is told by who waits
            answer.set_exception(error)

    # Its own bound does not hold where something takes the connection and says nothing.
    threading.Thread(target=connect, daemon=True).start()
    try:
        return answer.result(timeout=CONNECT_SECONDS + 1)
    except Exception as error:
        what = f"no Dask scheduler answers at {place} within {CONNECT_SECONDS:g} s"
        raise RunFailed(f"{what} ({type(error).__name__}): nothing was run") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:200]
