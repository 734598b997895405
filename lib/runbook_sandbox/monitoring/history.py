"""Five weeks of samples, the same for every sandbox of a day, as the text that promtool makes blocks of.

All of it is computed from the time alone: the day's and the week's shape, one known incident (`truth`), a deployment,
a gap. Counts are sums rounded down, not drawn: what is rare in a quiet week comes at even distances, never in a heap.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from runbook_sandbox.monitoring.parts import BACKUP_METRIC, DATABASE, DATABASE_NUMBER, JOBS, SERVER
from runbook_sandbox.monitoring.truth import COARSE_STEP, DENSE_STEP, ERROR_SHARE, REFUSED_SHARE, Truth

Numbers = np.ndarray[Any, Any]
SEED = 23
_MOST = 20_000  # samples of a series
_MEMORY = 98_000_000  # bytes of the service's process
_PEAK = 1.2  # requests/s on a working day's noon
# Of all requests; the time that half of them takes at most, and how widely they spread (sigma of a log-normal).
_PATHS = {
    ("POST", "/auth/login"): (0.03, 0.11, 0.35),
    ("GET", "/documents"): (0.36, 0.03, 0.6),
    ("GET", "/documents/{doc_id}"): (0.16, 0.012, 0.6),
    ("GET", "/triage/queue"): (0.20, 0.04, 0.6),
    ("POST", "/candidates/generate"): (0.25, 0.75, 0.45),
}
_REFUSED = {"/auth/login": ("401", REFUSED_SHARE), "/documents/{doc_id}": ("404", 0.02)}
_SLOWER = 6.0  # as many times as long finding candidates takes during the incident
_EDGES = {
    "http_request_duration_seconds": (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
    "candidate_generation_duration_seconds": (
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0
    ),
}  # fmt: skip
_ROLES = {"annotator": 0.8, "admin": 0.15, "viewer": 0.05}
_DISK = re.compile(r"(z?ram|loop|fd|sr|dm-|md)\d*")
_NETWORK = re.compile(r"(lo|ifb|veth|br-|docker)")


@dataclass(frozen=True)
class Machine:
    """What of this machine names the host's series and gives their sizes, so that past and present fit together."""

    cpus: int
    memory_bytes: int
    device: str
    filesystem: str
    disk_bytes: int
    free_bytes: int
    networks: tuple[str, ...]
    disks: tuple[str, ...]


def machine() -> Machine:
    """Return the facts of this machine; what is free is rounded to a fiftieth of the disk, so that it lasts."""
    root = next((part for part in psutil.disk_partitions(all=True) if part.mountpoint == "/"), None)
    usage = psutil.disk_usage("/")
    fiftieth = usage.total // 50
    blocks = sorted(path.name for path in Path("/sys/block").glob("*")) if Path("/sys/block").is_dir() else []
    return Machine(
        cpus=min(os.cpu_count() or 1, 4),
        memory_bytes=psutil.virtual_memory().total,
        device=root.device if root else "/dev/root",
        filesystem=root.fstype if root else "ext4",
        disk_bytes=usage.total,
        free_bytes=round(usage.free / fiftieth) * fiftieth,
        networks=tuple(sorted(name for name in psutil.net_if_stats() if not _NETWORK.match(name))[:2]),
        disks=tuple([name for name in blocks if not _DISK.match(name)][:2]),
    )


@dataclass(frozen=True)
class Past:
    """The samples of the past until ``until``: `series` yields each series with its values, one for each of `times`.

    The last one is of ``until``, within a minute of the one before: until the first scrape, which takes Prometheus some
    ten seconds, nobody is to miss one.

    A service that is not as ``documented`` has one metric of these: how long finding candidates took. Other ``jobs``
    than those that are scraped have no past.
    """

    truth: Truth
    until: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    documented: bool = True
    jobs: frozenset[str] = frozenset(JOBS)
    machine: Machine = field(default_factory=machine)

    @cached_property
    def times(self) -> Numbers:
        """Return the times of all samples, in seconds."""
        coarse = np.arange(
            self.truth.begins.timestamp(), self.truth.dense_from.timestamp(), COARSE_STEP.total_seconds()
        )
        until = self.until.timestamp()
        dense = np.arange(self.truth.dense_from.timestamp(), until, DENSE_STEP.total_seconds())
        return np.concatenate([coarse, dense, [until]]).astype(np.int64)

    @cached_property
    def scraped(self) -> Numbers:
        """Tell for each time whether there was a scrape."""
        return ~self._between(self.truth.gap_begins, self.truth.gap_ends)

    def _between(self, begins: datetime, ends: datetime) -> Numbers:
        times: Numbers = self.times
        found: Numbers = (times >= begins.timestamp()) & (times < ends.timestamp())
        return found

    @cached_property
    def _seconds(self) -> Numbers:
        """Return how long before each sample the one before it was."""
        return np.diff(self.times, prepend=self.times[0] - int(COARSE_STEP.total_seconds())).astype(float)

    @cached_property
    def _incident(self) -> Numbers:
        # A sample tells of the minute before it.
        step = DENSE_STEP
        return self._between(self.truth.incident.begins + step, self.truth.incident.ends + step)

    @cached_property
    def _busy(self) -> Numbers:
        """Return how busy it is at each time, from 0 to 1: by day, on working days, with a little unrest."""
        hours = self.times / 3600 % 24
        day = np.exp(-(((hours - 12.5) / 4.5) ** 2))
        weekend = (self.times // 86400 + 3) % 7 >= 5  # 1970 began with a Thursday
        unrest = np.random.RandomState(SEED).uniform(-0.06, 0.06, _MOST)[: len(self.times)]
        return np.clip(0.2 + 0.78 * day * np.where(weekend, 0.3, 1.0) + unrest, 0.15, 1.0)

    @cached_property
    def _requests(self) -> dict[tuple[str, str], Numbers]:
        """Return the requests of each path, summed up, not rounded."""
        rate = np.where(self._incident, np.maximum(_PEAK * self._busy, 0.8), _PEAK * self._busy)
        return {path: np.cumsum(rate * share * self._seconds) for path, (share, _, _) in _PATHS.items()}

    def _counted(self, sums: Numbers) -> Numbers:
        """Return a counter: sums rounded down, which begin at 0 again with the deployment."""
        whole: Numbers = np.floor(sums + 1e-6).astype(np.int64)
        again = int(np.searchsorted(self.times, self.truth.deployment.timestamp()))
        if 0 < again < len(whole):
            whole = np.concatenate([whole[:again], whole[again:] - whole[again - 1]])
        return whole

    def series(self) -> Iterator[tuple[str, Mapping[str, str], Numbers]]:
        """Yield the name, the labels without job and instance, and the values of each series, job by job."""
        for job, made in (("shrimp-api", self._service), ("postgres", self._postgres), ("node", self._node)):
            for name, labels, values in made() if job in self.jobs else ():
                yield name, {**labels, "job": job, "instance": JOBS[job][1]}, values
        for job, (_, instance) in JOBS.items():
            if job not in self.jobs:
                continue
            up = np.ones(len(self.times), dtype=np.int64)
            if job == "shrimp-api":
                up[self._between(self.truth.deployment - DENSE_STEP, self.truth.deployment)] = 0
            yield "up", {"job": job, "instance": instance}, up

    def _service(self) -> Iterator[tuple[str, dict[str, str], Numbers]]:
        incident = self.truth.incident
        counted = {}
        for (method, path), (share, _, _) in _PATHS.items() if self.documented else ():
            # Each status is a part of a whole number that the ones before it leave: no counter ever goes back by one.
            left = np.floor(self._requests[method, path] + 1e-6)
            failing = np.where(self._incident & (path == incident.path), (incident.share - ERROR_SHARE) / share, 0.0)
            failed = np.cumsum(np.diff(left, prepend=0.0) * (ERROR_SHARE + failing))
            by_status = {"500": np.floor(failed + 1e-6)}
            left = left - by_status["500"]
            if path in _REFUSED:
                status, part = _REFUSED[path]
                by_status[status] = np.floor(left * part)
                left = left - by_status[status]
            by_status["200"] = left
            counted[path] = by_status
            for status, values in sorted(by_status.items()):
                labels = {"method": method, "path": path, "status": status}
                yield "http_requests_total", labels, self._counted(values)
        for (method, path), (_, median, spread) in _PATHS.items():
            sums = self._requests[method, path]
            slower = np.where(self._incident & (path == incident.path), _SLOWER, 1.0) * (1 + 0.15 * self._busy)
            if self.documented:
                name = "http_request_duration_seconds"
                yield from self._histogram(name, {"path": path}, sums, median * slower, spread)
            if path == incident.path:
                name = "candidate_generation_duration_seconds"
                yield from self._histogram(name, {}, sums, median * slower * 0.97, spread)
        if self.documented:
            for role, share in _ROLES.items():
                values = self._counted(np.floor(counted["/auth/login"]["200"] * share))
                yield "user_login_total", {"role": role}, values
            yield from self._queue()
            # It needs a little more while it is used: what follows the requests up and down is no leak.
            memory = (_MEMORY + 6_000_000 * self._busy).astype(np.int64) // 4096 * 4096
            yield "process_resident_memory_bytes", {}, memory

    def _queue(self) -> Iterator[tuple[str, dict[str, str], Numbers]]:
        since = (self.times - self.truth.incident.begins.timestamp()) / 60
        lasts = (self.truth.incident.ends - self.truth.incident.begins) / timedelta(minutes=1)
        # It grows as long as candidates fail, and is worked off within four hours.
        heap = np.clip(np.where(since < lasts, since / lasts, 1 - (since - lasts) / 240), 0, 1) * 180
        waiting = np.floor(34 + 16 * self._busy + heap).astype(np.int64)
        yield "triage_queue_size", {}, waiting
        # The oldest item waits two to four hours: it is taken, and the next one is the oldest.
        age = 7200 + (self.times % 5400) * 1.2 + heap * 40
        yield "triage_oldest_item_age_seconds", {}, age.astype(np.int64)

    def _histogram(
        self, name: str, labels: dict[str, str], sums: Numbers, median: Numbers, spread: float
    ) -> Iterator[tuple[str, dict[str, str], Numbers]]:
        came = np.diff(sums, prepend=0.0)
        for edge in _EDGES[name]:
            below = _normal((np.log(edge) - np.log(median)) / spread)
            yield f"{name}_bucket", {**labels, "le": str(edge)}, self._counted(np.cumsum(came * below))
        count = self._counted(sums)
        yield f"{name}_bucket", {**labels, "le": "+Inf"}, count
        yield f"{name}_count", labels, count
        mean = median * math.exp(spread**2 / 2)
        total = np.round(np.cumsum(came * mean), 3)
        again = int(np.searchsorted(self.times, self.truth.deployment.timestamp()))
        if 0 < again < len(total):
            total = np.concatenate([total[:again], np.round(total[again:] - total[again - 1], 3)])
        yield f"{name}_sum", labels, total

    def _postgres(self) -> Iterator[tuple[str, dict[str, str], Numbers]]:
        server = {"server": SERVER}
        one = np.ones(len(self.times), dtype=np.int64)
        yield "pg_up", {}, one
        yield "pg_settings_max_connections", server, one * 40
        yield "pg_settings_superuser_reserved_connections", server, one * 3
        requests = np.sum(list(self._requests.values()), axis=0)
        database = {**server, "datname": DATABASE}
        yield "pg_database_size_bytes", database, np.floor(9_500_000 + requests * 0.4).astype(np.int64)
        backends = np.where(self._incident, 5, 1 + np.floor(3.9 * self._busy)).astype(np.int64)
        active = np.where(self._incident, 4, np.floor(1.9 * self._busy)).astype(np.int64)
        states = {"active": active, "idle": backends - active, "idle in transaction": one * 0}
        for state, values in states.items():
            yield "pg_stat_activity_count", {**database, "state": state}, values
            longest = np.where(values > 0, np.where(self._incident, 2.4, 0.03), 0.0) if state == "active" else one * 0
            yield "pg_stat_activity_max_tx_duration", {**database, "state": state}, longest
        database["datid"] = DATABASE_NUMBER
        yield "pg_stat_database_numbackends", database, backends
        for name, per_request in (
            ("xact_commit", 2.0), ("xact_rollback", 0.002), ("tup_fetched", 55.0), ("tup_returned", 240.0),
            ("blks_hit", 90.0), ("blks_read", 0.3), ("tup_inserted", 0.4), ("tup_updated", 0.3), ("tup_deleted", 0.01),
            ("active_time", 6.0), ("deadlocks", 0.0), ("temp_bytes", 0.0), ("conflicts", 0.0),
        ):  # fmt: skip
            yield f"pg_stat_database_{name}", database, np.floor(requests * per_request).astype(np.int64)

    def _node(self) -> Iterator[tuple[str, dict[str, str], Numbers]]:
        here = self.machine
        shares = {
            "iowait": 0.002 + 0.006 * self._busy,
            "system": 0.01 + 0.05 * self._busy,
            "user": 0.03 + np.where(self._incident, 0.45, 0.28 * self._busy),
        }
        shares["idle"] = 1 - np.sum(list(shares.values()), axis=0)
        for cpu in range(here.cpus):
            for mode, share in shares.items():
                values = np.round(np.cumsum(share * self._seconds), 2)
                yield "node_cpu_seconds_total", {"cpu": str(cpu), "mode": mode}, values
        one = np.ones(len(self.times), dtype=np.int64)
        # A backup ends each night at two.
        yield BACKUP_METRIC, {}, (self.times - 7200) // 86400 * 86400 + 7200
        yield "node_load1", {}, np.round(here.cpus * (0.05 + 0.4 * self._busy), 2)
        available = (here.memory_bytes * (0.62 - 0.12 * self._busy)).astype(np.int64) // 4096 * 4096
        yield "node_memory_MemTotal_bytes", {}, one * here.memory_bytes
        yield "node_memory_MemAvailable_bytes", {}, available
        yield "node_memory_MemFree_bytes", {}, available // 3
        root = {"device": here.device, "fstype": here.filesystem, "mountpoint": "/"}
        yield "node_filesystem_size_bytes", root, one * here.disk_bytes
        yield "node_filesystem_readonly", root, one * 0
        # A fiftieth of the disk is filled in these weeks.
        left = (self.truth.day.timestamp() - self.times) / timedelta(weeks=5).total_seconds()
        free = (here.free_bytes + left * here.disk_bytes / 50).astype(np.int64) // 4096 * 4096
        yield "node_filesystem_avail_bytes", root, np.clip(free, 0, here.disk_bytes)
        requests = np.sum(list(self._requests.values()), axis=0)
        for device in here.networks:
            yield "node_network_receive_bytes_total", {"device": device}, np.floor(requests * 2300).astype(np.int64)
            yield "node_network_transmit_bytes_total", {"device": device}, np.floor(requests * 9100).astype(np.int64)
        for device in here.disks:
            yield "node_disk_io_time_seconds_total", {"device": device}, np.round(requests * 0.004, 2)
            yield "node_disk_read_bytes_total", {"device": device}, np.floor(requests * 800).astype(np.int64)
            yield "node_disk_written_bytes_total", {"device": device}, np.floor(requests * 6200).astype(np.int64)


class Text:
    """The samples of a past as OpenMetrics text, from one time to another."""

    def __init__(self, past: Past) -> None:
        self._times, self._scraped = past.times, past.scraped
        self._series = []
        for name, labels, values in past.series():
            told = ",".join(f'{key}="{value}"' for key, value in labels.items())
            self._series.append((f"{name}{{{told}}} ", values))

    def write(self, path: Path, since: float, until: float) -> int:
        """Write what was sampled from ``since`` to before ``until``, in seconds, and return how many samples it is."""
        chosen = self._scraped & (self._times >= since) & (self._times < until)
        ends = [f" {time}\n" for time in self._times[chosen].tolist()]
        if not ends:
            return 0
        with path.open("w") as file:
            for begin, values in self._series:
                lines = [f"{begin}{value}{end}" for value, end in zip(values[chosen].tolist(), ends, strict=True)]
                file.write("".join(lines))
            file.write("# EOF\n")
        return len(ends) * len(self._series)


def _normal(value: Numbers) -> Numbers:
    """Return the normal distribution's share below a value, within 1e-5: logistic forms differ too much at the ends."""
    # Abramowitz and Stegun, 26.2.16.
    size = np.abs(value)
    t = 1 / (1 + 0.33267 * size)
    above = np.exp(-(size**2) / 2) / math.sqrt(2 * math.pi) * t * (0.4361836 + t * (-0.1201676 + t * 0.9372980))
    return np.where(value >= 0, 1 - above, above)
