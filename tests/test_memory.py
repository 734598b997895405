"""Who has the memory, whether it grows, and why: known shapes, what the kernel tells, and a stack that leaks."""

import math
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from monitoring import line as sample
from monitoring import prometheus
from running import only
from ssh_server import folder_of_its_own, sshd

from runbook import memory
from runbook.connections.service import listening_at
from runbook.memory.count_objects import _started
from runbook.memory.groups import Held
from runbook.memory.growing import JUMP, LATELY, LEAK, LEVELS_OFF, LOAD, STEADY, UNDECIDED, growth
from runbook.memory.growth import _since_restart
from runbook.memory.kills import _forgotten, _of_container
from runbook.model import ChangeFailed, CouldNotFindOut, Finding, NotPlanned, Status, UsageError
from runbook.model.plan import PlanState
from runbook.plans.token import token_of
from runbook.procfs.cgroup import Group, NotAGroup, folder_of, group, of_engine
from runbook.procfs.pressure import pressure
from runbook.procfs.processes import processes
from runbook.session import Run
from runbook_sandbox import faults
from runbook_sandbox.load import load
from runbook_sandbox.place import Place, SandboxError

OK, WARNING, CRITICAL, UNKNOWN, SKIPPED = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN, Status.SKIPPED
MIB = 1 << 20
Open = Callable[..., Run]


def found(run: Run, question: Any, **more: Any) -> dict[str, Finding]:
    return {one.object: one for one in run.ask(question, **more).findings}


# --- what makes it grow

HOUR = np.arange(60) * 60.0
RAMP = 5 + HOUR / HOUR[-1] * 20


def shape(name: str, seed: int) -> tuple[Any, Any]:
    """Return memory, and requests a second, of an hour that grew in a known way."""
    random = np.random.default_rng(seed)
    base = 100 * MIB + random.normal(0, 0.5 * MIB, 60)
    rate = 10 + random.normal(0, 1, 60)
    swing = 10 + 6 * np.sin(HOUR / 700) + random.normal(0, 0.3, 60)
    noisy = base.copy()
    noisy[::7] += 40 * MIB
    return {
        STEADY: (base, rate),
        "steady with outliers": (noisy, rate),
        "falls": (base - HOUR / 3600 * 30 * MIB, rate),
        LEAK: (base + HOUR / 3600 * 10 * MIB, rate),
        "leak by request": (base + np.cumsum(swing * 60) * 1024, swing),
        "leak, nobody counts": (base + HOUR / 3600 * 10 * MIB, None),
        LOAD: (base + (swing - 16 + 16 * HOUR / HOUR[-1] * 0.6) * 3 * MIB, swing + 10 * HOUR / HOUR[-1]),
        LEVELS_OFF: (base + 50 * MIB * (1 - np.exp(-HOUR / 600)), rate),
        LATELY: (base + np.clip(HOUR - 3240, 0, None) / 60 * 15 * MIB, rate),
        "lately, a little": (base + np.where(HOUR > 3300, 20 * MIB, 0), rate),
        JUMP: (base + np.where(HOUR > 1800, 20 * MIB, 0), rate),
        UNDECIDED: (base + RAMP * 3 * MIB, RAMP + random.normal(0, 0.5, 60)),
    }[name]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("name", "kind"),
    [(STEADY, STEADY), ("steady with outliers", STEADY), ("falls", STEADY), (LEAK, LEAK), ("leak by request", LEAK),
     ("leak, nobody counts", LEAK), (LEVELS_OFF, LEVELS_OFF), (JUMP, JUMP), (UNDECIDED, UNDECIDED), (LATELY, LATELY),
     ("lately, a little", STEADY)],
)  # fmt: skip
def test_what_makes_memory_grow_is_told_apart(name: str, kind: str, seed: int) -> None:
    values, rate = shape(name, seed)
    assert growth(HOUR, values, rate).kind == kind


@pytest.mark.parametrize("seed", range(4))
def test_memory_that_follows_the_requests_is_load_and_no_leak(seed: int) -> None:
    random = np.random.default_rng(seed)
    rate = np.clip(5 + 20 * HOUR / 2400, 0, 25) - np.clip((HOUR - 2700) / 60, 0, None) + random.normal(0, 0.3, 60)
    values = 100 * MIB + rate * 3 * MIB + random.normal(0, 0.5 * MIB, 60)
    assert growth(HOUR, values, rate).kind == LOAD
    assert growth(HOUR, values, None).kind != LOAD


@pytest.mark.parametrize("seed", range(6))
def test_the_interval_holds_the_true_growth_and_the_time_until_the_limit(seed: int) -> None:
    values, rate = shape(LEAK, seed)
    told = growth(HOUR, values, rate)
    assert told.line.low * 3600 <= 10.5 * MIB and told.line.high * 3600 >= 9.5 * MIB
    assert told.per_request == pytest.approx(10 * MIB / 36_000, rel=0.1)
    likely, earliest = told.seconds_until(160 * MIB)
    assert earliest <= likely == pytest.approx(5 * 3600, rel=0.1)
    assert growth(HOUR, values[::-1].copy(), rate).seconds_until(160 * MIB)[0] == math.inf


def frame(name: str, limit: float = math.nan) -> pd.DataFrame:
    values, rate = shape(name, 1)
    given = rate if rate is not None else math.nan
    return pd.DataFrame(
        {"subject": "api", "at": HOUR, "memory": values, "rate": given, "limit": limit, "source": "s"}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "limit", "status", "says"),
    [
        (STEADY, 512, OK, "it does not grow: "),
        (LEAK, math.nan, WARNING, "it leaks: "),
        (LEAK, 512, WARNING, "its limit of 512.0 MiB is reached in"),
        (LEAK, 130, CRITICAL, "for each request; its limit of 130.0 MiB is reached in 2 h"),
        (LEAK, 90, CRITICAL, "is reached in 0 s"),
        ("leak, nobody counts", 512, WARNING, "how many requests it answered meanwhile is not known"),
        (LEVELS_OFF, 151, OK, "it fills up, ever slower"),
        (JUMP, 151, OK, "it rose once, by "),
        (LATELY, 512, WARNING, "too short to tell why; before that: "),
        (UNDECIDED, 10_000, WARNING, "it grows while the requests do"),
    ],
)
def test_growth_is_judged_by_what_makes_it_and_by_the_limit(name: str, limit: float, status: Status, says: str) -> None:
    (told,) = memory.growth.check(frame(name, limit * MIB), hours=6)
    assert told.status is status and says in told.message, told.message


def test_too_few_samples_are_unknown() -> None:
    (told,) = memory.growth.check(frame(LEAK).head(5))
    assert told.status is UNKNOWN and "only 5 samples" in told.message


# --- by Prometheus


def past(values: Any, requests: Any = None, instance: str = "api:8000") -> str:
    """Return an hour of the service's memory, and of its requests, until now."""
    now = datetime.now(UTC)
    at = [now - timedelta(seconds=float(HOUR[-1] - one)) for one in HOUR]
    labels = {"job": "shrimp-api", "instance": instance}
    told = [sample("process_resident_memory_bytes", labels, float(v), t) for v, t in zip(values, at, strict=True)]
    text = "# TYPE process_resident_memory_bytes gauge\n" + "\n".join(told)
    if requests is not None:
        sums = np.floor(np.cumsum(requests * 60))
        counted = [
            sample("http_requests_total", {**labels, "status": "200"}, float(v), t)
            for v, t in zip(sums, at, strict=True)
        ]
        text += "\n# TYPE http_requests counter\n" + "\n".join(counted)
    return text


def test_growth_is_read_from_prometheus_beside_the_requests_and_since_the_last_restart(
    opened: Open, tmp_path: Path
) -> None:
    values, rate = shape(LEAK, 2)
    restarted = np.concatenate([values[:20] + 300 * MIB, values[20:] - values[20] + 60 * MIB])
    gone = past(values, instance="api:8001").splitlines()[1:31]  # it has ended half an hour ago
    told_of = past(restarted, rate).replace("\n# TYPE http", "\n" + "\n".join(gone) + "\n# TYPE http")
    with prometheus(tmp_path / "p", past=told_of) as running:
        run = opened("prometheus", text=f'[prometheus]\nurl = "{running.url}"\n')
        (told,) = run.ask(memory.growth).findings
        assert told.object == "api:8000"
        assert told.status is WARNING and told.message.startswith("it leaks: ") and "for each request" in told.message
        assert isinstance(told.value, float) and 8 < told.value < 12, told
        assert told.source == 'process_resident_memory_bytes{job="shrimp-api"}'
        with pytest.raises(UsageError, match="1 minute to 14 days"):
            run.ask(memory.growth, minutes=0)


def test_a_process_that_has_just_begun_is_not_judged_by_those_before_it() -> None:
    leaks = np.linspace(100, 500, 18) * MIB
    assert _since_restart(np.concatenate([leaks, leaks, leaks[:5]])) == 36 and _since_restart(leaks) == 0


def test_a_service_that_does_not_tell_its_memory_is_unknown(opened: Open, tmp_path: Path) -> None:
    with prometheus(tmp_path / "p") as running:
        (told,) = opened("prometheus", text=f'[prometheus]\nurl = "{running.url}"\n').ask(memory.growth).findings
    assert told.status is UNKNOWN and "does not tell its memory" in told.message


def test_processes_that_are_all_gone_are_unknown(opened: Open, tmp_path: Path) -> None:
    gone = "\n".join(past(shape(LEAK, 2)[0]).splitlines()[:31])
    with prometheus(tmp_path / "p", past=gone) as running:
        (told,) = opened("prometheus", text=f'[prometheus]\nurl = "{running.url}"\n').ask(memory.growth).findings
    assert told.status is UNKNOWN and "no process of the service has told its memory since" in told.message


# --- control groups, as the kernel tells of them

# Version 2, in the layout of Linux 6.1: written, not recorded, since no machine that counts by it was at hand.
V2 = {
    "memory.current": "419430400\n", "memory.max": "536870912\n", "memory.high": "max\n", "memory.peak": "530579456\n",
    "memory.swap.current": "4096\n",
    "memory.events": "low 0\nhigh 0\nmax 35\noom 1\noom_kill 1\noom_group_kill 0\n",
    "memory.pressure": "some avg10=12.50 avg60=7.25 avg300=1.00 total=123456\nfull avg10=3.00 avg60=1.50 avg300=0.25 "
    "total=4567\n",
    "memory.stat": "anon 314572800\nfile 94371840\nkernel 8388608\nkernel_stack 1048576\npagetables 2097152\n"
    "sock 4096\ninactive_anon 300000000\nactive_anon 14000000\ninactive_file 83886080\nactive_file 10485760\n"
    "slab 3145728\n",
}  # fmt: skip
V1 = {
    "memory.usage_in_bytes": "419430400\n", "memory.limit_in_bytes": "536870912\n",
    "memory.max_usage_in_bytes": "530579456\n", "memory.failcnt": "35\n", "memory.kmem.usage_in_bytes": "8388608\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "memory.stat": "cache 1\nrss 2\ntotal_cache 94371840\ntotal_rss 314572800\ntotal_swap 4096\n"
    "total_inactive_file 83886080\n",
}  # fmt: skip


def facts(told: Group) -> tuple[Any, ...]:
    names = ("current", "limit", "peak", "anonymous", "cache", "inactive", "kernel", "swap", "at_limit", "kills")
    return tuple(getattr(told, name) for name in names)


def test_both_versions_tell_the_same_by_the_same_names() -> None:
    two, one = group(V2), group(V1)
    assert facts(two) == facts(one) == (
        419430400, 536870912, 530579456, 314572800, 94371840, 83886080, 8388608, 4096, 35, 1
    )  # fmt: skip
    assert (two.version, one.version, two.used) == (2, 1, 419430400 - 83886080)
    assert two.pressure is not None and two.pressure.some == (12.5, 7.25, 1.0) and one.pressure is None


def test_what_a_kernel_does_not_tell_is_not_nothing() -> None:
    old = group({"memory.current": "5\n", "memory.max": "max\n"})
    assert facts(old) == (5, None, None, None, None, None, None, None, None, None)
    assert group({**V1, "memory.limit_in_bytes": "9223372036854771712\n"}).limit is None
    assert group({**V2, "memory.stat": "anon 1\nkernel_stack 2\nslab 3\n"}).kernel == 5, "before Linux 5.18"


@pytest.mark.parametrize("files", [{}, {"memory.stat": "anon 1"}, {"memory.current": "much\n"}])
def test_what_is_no_group_is_refused(files: dict[str, str]) -> None:
    with pytest.raises(NotAGroup):
        group(files)


def test_the_engine_tells_of_either_version_and_less() -> None:
    two = of_engine({"usage": 100, "limit": 200, "stats": {"anon": 60, "file": 30, "inactive_file": 20}})
    assert (two.version, two.used, two.anonymous, two.peak, two.kills) == (2, 80, 60, None, None)
    one = of_engine(
        {"usage": 100, "max_usage": 150, "failcnt": 3, "limit": 200,
         "stats": {"total_rss": 60, "total_cache": 30, "total_inactive_file": 20}}
    )  # fmt: skip
    assert (one.version, one.used, one.anonymous, one.peak, one.at_limit) == (1, 80, 60, 150, 3)
    with pytest.raises(NotAGroup):
        of_engine({})


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        ("0::/system.slice/docker-abc.scope\n", "/sys/fs/cgroup/system.slice/docker-abc.scope"),
        ("5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n", "/sys/fs/cgroup/memory/docker/abc"),
        ("4:memory:/\n", "/sys/fs/cgroup/memory"),
    ],
)
def test_the_folder_of_a_group_is_found_in_either_version(text: str, folder: str) -> None:
    assert folder_of(text) == folder
    with pytest.raises(NotAGroup):
        folder_of("5:cpu:/x\n")


def row(**more: Any) -> pd.DataFrame:
    empty = dict.fromkeys(("peak", "anonymous", "cache", "inactive", "kernel", "swap", "at_limit", "limit"), math.nan)
    usual = {
        "container": "api (c)",
        "version": 2,
        "used": 90.0 * MIB,
        "current": 95.0 * MIB,
        "source": "s",
        "problem": "",
    }
    return pd.DataFrame([{**empty, **usual, **more}])


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({"limit": 200.0 * MIB}, OK, "its limit is 200.0 MiB"),
        ({"limit": 110.0 * MIB}, WARNING, "90.0 MiB in use"),
        ({"limit": 95.0 * MIB, "at_limit": 7.0, "anonymous": 80.0 * MIB}, CRITICAL, "it stood at its limit 7 times"),
        ({}, WARNING, "nothing limits it but the machine"),
        ({"problem": "it does not run"}, UNKNOWN, "cannot be looked at: it does not run"),
    ],
)
def test_a_container_is_judged_by_its_limit_and_by_having_one(more: Any, status: Status, says: str) -> None:
    (told,) = memory.containers.check(row(**more))
    assert told.status is status and says in told.message and "nan" not in told.message


def test_a_cache_that_fills_the_limit_is_well() -> None:
    full = row(used=50.0 * MIB, current=200.0 * MIB, cache=150.0 * MIB, inactive=150.0 * MIB, limit=200.0 * MIB)
    (told,) = memory.containers.check(full)
    assert told.status is OK and "150.0 MiB cache" in told.message


@pytest.mark.parametrize(("some", "status"), [(0.0, OK), (12.0, WARNING), (60.0, CRITICAL)])
def test_waiting_is_judged_by_the_last_minute(some: float, status: Status) -> None:
    rows = [{"whose": "m", "some_60": some, "full_60": 0.0, "source": "", "problem": ""}]
    (told,) = memory.waiting.check(pd.DataFrame(rows))
    assert told.status is status


def test_a_kernel_without_pressure_tells_none() -> None:
    assert pressure("") is None and pressure("cat: /proc/pressure/memory: No such file") is None


KILLED = {"whose": "api (c)", "kills": 2.0, "what": "a process in it", "runs": True, "source": "", "problem": ""}


@pytest.mark.parametrize(
    ("ago", "more", "status"),
    [
        (60, {}, WARNING), (60, {"runs": False}, CRITICAL), (3 * 86400, {}, OK), (None, {}, WARNING),
        (None, {"kills": 0.0}, OK), (None, {"kills": math.nan, "problem": "it may not be read"}, UNKNOWN),
    ],
)  # fmt: skip
def test_kills_are_judged_by_when_they_were_and_whether_it_came_back(
    ago: float | None, more: Any, status: Status
) -> None:
    now = pd.Timestamp.now("UTC")
    last = now - pd.Timedelta(seconds=ago) if ago is not None else pd.NaT
    (told,) = memory.kills.check(pd.DataFrame([{**KILLED, "last": last, "now": now, **more}]))
    assert told.status is status


@pytest.mark.parametrize(
    ("kills", "state", "counted", "last"),
    [
        (0, {"OOMKilled": True, "Running": True}, 1, True),  # killed and started again: its group counts anew
        (1, {"OOMKilled": True, "Running": True}, 1, False),  # in the life that goes on, nobody remembers when
        (None, {"OOMKilled": True, "Running": False}, 1, True),
        (0, {"OOMKilled": False, "Running": True}, 0, False),
    ],
)
def test_a_kill_that_the_engines_events_have_forgotten_is_known_by_the_container(
    kills: int | None, state: Any, counted: int, last: bool
) -> None:
    told = {"State": {"FinishedAt": "2026-01-01T12:00:00.5Z", **state}}
    of = group({**V2, "memory.events": f"oom_kill {kills}\n"}) if kills is not None else None
    row = _of_container(Held("api", "shrimp-api", told, of), [])
    assert row["kills"] == counted and (row["last"] is not None) is last


def test_where_nothing_counts_and_the_engine_has_forgotten_a_kill_is_unknown() -> None:
    now = datetime.now(UTC)
    for remembers, known in ((None, True), (now - timedelta(days=2), True), (now - timedelta(minutes=5), False)):
        engine: Any = SimpleNamespace(remembered_since=lambda remembers=remembers: remembers)
        assert (_forgotten(engine, now - timedelta(days=1)) == "") is known


# --- processes


def test_a_process_that_goes_while_it_is_read_is_left_out_and_shared_memory_counts_once() -> None:
    text = (
        "/proc/7/status:Name:\tpostgres: wri\n/proc/7/status:VmRSS:\t  4000 kB\n/proc/7/status:Threads:\t3\n"
        "/proc/7/smaps_rollup:Pss:     1000 kB\n/proc/7/limits:Max open files            20    40     files\n"
        "/proc/8/status:Name:\tgone\n/proc/9/smaps_rollup:Pss: 5 kB\n/proc/2/status:Name:\tkthreadd\n"
        "/proc/10/status:Name:\tlarge\n/proc/10/status:VmRSS:\t 9000 kB\nnonsense\n"
    )
    large, small = processes(text, "/proc/7/fd/0\n/proc/7/fd/1\n/proc/x/fd/1\n")
    assert (large.name, large.size, large.proportional) == ("large", 9000 * 1024, None)
    assert (small.name, small.size, small.open_files, small.open_limit, small.threads) == (
        "postgres: wri", 1000 * 1024, 2, 20, 3
    )  # fmt: skip


def test_a_process_that_has_nearly_all_its_files_open_is_found(opened: Open, tmp_path: Path) -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50)); "
        "held = [open('/dev/null') for _ in range(40)]; print(1, flush=True); input()"
    )
    held = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert held.stdin and held.stdout and held.stdout.readline()
    share = f'folder = "{tmp_path}"\ndisk_bytes = 1\nfiles = 1\nmemory_bytes = {64 * MIB}\ncpus = 1\n'
    run = opened("host", text=f'[host]\nwhere = "here"\nname = "box"\n[host.share]\n{share}')
    told = run.ask(memory.processes)
    held.stdin.close()
    held.wait()
    by_object = {one.object: one for one in told.findings}
    full = next(one for name, one in by_object.items() if name.endswith("open files"))
    assert full.status is WARNING and f"(pid {held.pid})" in full.object and full.value and float(full.value) > 80
    assert by_object["box processes"].message.startswith("1 process, ")


def test_a_machine_over_ssh_tells_its_processes_its_pressure_and_its_kills(opened: Open) -> None:
    with sshd(folder_of_its_own() / "sshd") as server:
        run = opened("host", text=f'[host]\nwhere = "ssh"\nname = "far"\n{server.section}')
        told = run.ask(memory.processes)
        assert told.frame is not None and server.process.pid not in (None, 0)
        assert told.frame["size"].is_monotonic_decreasing and set(told.frame["host"]) == {"far"}
        assert found(run, memory.waiting)["far"].status in (OK, WARNING, CRITICAL)
        (kills,) = run.ask(memory.kills).findings
        assert kills.object == "far" and kills.status is not UNKNOWN
        run.ask(memory.growth_now, seconds=1)


def test_exporters_tell_what_waited_and_what_was_killed(opened: Open, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    text = ""
    for name, each in (
        ("node_pressure_memory_waiting_seconds_total", 3.0),
        ("node_pressure_memory_stalled_seconds_total", 0.5),
        ("node_vmstat_oom_kill_total", 0.0),
    ):
        labels = {"job": "node", "instance": "db-1:9100"}
        at = [(n, now - timedelta(seconds=15 * (40 - n))) for n in range(41)]
        told = [sample(name, labels, each * n + 7 + (2 if each == 0 and n > 20 else 0), moment) for n, moment in at]
        text += f"# TYPE {name.removesuffix('_total')} counter\n" + "\n".join(told) + "\n"
    text = text.replace("node_vmstat_oom_kill_total", "node_vmstat_oom_kill").replace(
        "# TYPE node_vmstat_oom_kill counter", "# TYPE node_vmstat_oom_kill unknown"
    )
    with prometheus(tmp_path / "p", past=text) as running:
        run = opened("host", text=f'[prometheus]\nurl = "{running.url}"\n[host]\nwhere = "prometheus"\n')
        waited, killed = found(run, memory.waiting)["db-1:9100"], found(run, memory.kills)["db-1:9100"]
    assert waited.status is WARNING and "waited for memory 20.0% of the last minute, everything 3.3%" in waited.message
    assert killed.status is WARNING and killed.message.startswith("2 kills for want of memory")
    assert 'node_vmstat_oom_kill{job="node",instance=~".+"}[1440m]' in killed.source


def test_hosts_that_only_exporters_tell_of_are_unknown(opened: Open, tmp_path: Path) -> None:
    with prometheus(tmp_path / "p") as running:
        run = opened(
            "host", text=f'[prometheus]\nurl = "{running.url}"\n[host]\nwhere = "prometheus"\nname = "hosts"\n'
        )
        (told,) = run.ask(memory.processes).findings
        assert told.status is UNKNOWN and "node_exporter does not tell it of hosts" in told.message
        for question in (memory.waiting, memory.kills):
            (told,) = run.ask(question).findings
            assert told.status is UNKNOWN and "Prometheus knows nothing of a host at present" in told.message


# --- a stack that leaks


@contextmanager
def used(place: Place, per_second: float) -> Iterator[None]:
    """Have the service be used while the block lasts."""
    over = threading.Event()

    def use() -> None:
        while not over.is_set():
            load(place, 1, per_second)

    using = threading.Thread(target=use, daemon=True)
    using.start()
    try:
        yield
    finally:
        over.set()
        using.join()


@contextmanager
def broken(place: Place, name: str) -> Iterator[None]:
    faults.break_sandbox(place, name)
    try:
        yield
    finally:
        assert faults.heal(place) == [name]


@pytest.mark.parametrize("seconds", [0, 61, -1])
def test_memory_is_watched_for_a_bounded_time(seconds: float, opened: Open, sandbox: Place) -> None:
    with pytest.raises(UsageError, match="memory is watched for 1 to 60 s"):
        opened("host", "api", target="sandbox").ask(memory.growth_now, seconds=seconds)


@pytest.mark.slow
def test_a_cache_that_fills_up_is_no_leak(breakable: Place, opened: Open) -> None:
    load(breakable, 2, 40)  # what a new process loads once is not to be told
    with broken(breakable, "cache-grows"), used(breakable, 40):
        told = opened("host", "api", target="breakable").ask(memory.growth_now, seconds=9).findings
    (service,) = [one for one in told if one.object != "all others"]
    assert service.status is OK and service.message.startswith("it fills up, ever slower"), service


def test_the_notebook_finds_a_leak_while_the_service_is_used_and_nothing_when_it_is_healed(
    breakable: Place, run_json: Callable[..., Any], archive: Path, opened: Open
) -> None:
    with broken(breakable, "memory-leak"), used(breakable, 30):
        status, document = run_json("high-memory-usage", "--target", "breakable", "-p", "seconds=5")
    worst = [one for one in only(document).findings if one.status in ("WARNING", "CRITICAL")]
    assert len(worst) == 1, [one.message for one in only(document).findings if one.check == "memory.growth_now"]
    (leak,) = worst
    assert status == 2 and leak.check == "memory.growth_now" and leak.message.startswith("it leaks: "), worst
    assert "for each request; its limit of 2.0 GiB is reached in" in leak.message and "restart it in turn" in leak.next
    assert {one.status for one in only(document).findings if one.check == "memory.growth"} == {"SKIPPED"}
    told = opened("host", "api", target="breakable").ask(memory.growth_now, seconds=3).findings
    assert [one.status for one in told] == [OK], told


def test_what_a_leak_holds_is_counted_inside_of_the_service_by_a_plan_only(
    breakable: Place, opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("gdb") is None:
        pytest.skip("gdb is not installed")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    run = opened("host", "api", target="breakable")

    def counting() -> Any:
        return run.propose(memory.count_objects, seconds=20.0, verify=[memory.python], even_if_well=True)

    with broken(breakable, "memory-leak"):
        load(breakable, 2, 40)
        before = psutil.Process(breakable.read("state.json")["pids"]["api"])
        shown = counting()
        (plan,) = shown.plans
        assert plan.state is PlanState.PLANNED and f"gdb -p {before.pid}" in plan.steps[0] and plan.plan.irreversible
        done = run.apply(shown, token_of(plan.plan)).plans[0]
        assert done.state is PlanState.VERIFIED, [entry.told for entry in done.journal]
        told = " ".join(done.told)
        assert re.search(r"what seems to hold most: a deque of \d+, one of them a bytes of 256\.0 KiB", told), told
        assert before.is_running() and not list(Path("/tmp").glob("runbook-objects-*"))
    assert "memory.count_objects" in {one.name for one in memory.changes}


FACTS = {"pid": 7, "started": 1, "program": "/usr/bin/python3.11", "memory": 5, "others": 0, "gdb": "/usr/bin/gdb"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"lacks": "this machine lets only root look into a process"}, "cannot be looked into: this machine lets only"),
        ({"gdb": ""}, "gdb is not installed"),
        ({"program": "/usr/sbin/nginx"}, "runs nginx, which is no Python"),
    ],
)
def test_what_cannot_be_looked_into_is_not_planned(more: dict[str, str], says: str) -> None:
    with pytest.raises(NotPlanned, match=says):
        memory.count_objects.draft({**FACTS, "lacks": "", **more}, 10.0)
    with pytest.raises(NotPlanned, match="it may take 1 to 60 s"):
        memory.count_objects.draft({**FACTS, "lacks": ""}, 600.0)


_LISTENS = """
import socket, sys, time
with socket.create_server((sys.argv[1], int(sys.argv[2]))):
    print("listens", flush=True)
    time.sleep(60)
"""


def test_the_service_is_who_listens_at_its_address_not_whoever_has_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        port = own.getsockname()[1]
        argv = [sys.executable, "-c", _LISTENS, "127.0.0.2", str(port)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None and other.stdout.readline() == "listens\n"
            for host, pid in (("127.0.0.1", os.getpid()), ("localhost", os.getpid()), ("127.0.0.2", other.pid)):
                assert listening_at(f"http://{host}:{port}").pid == pid
            other.kill()
        for elsewhere in ("192.0.2.7", "shrimp.example"):
            with pytest.raises(CouldNotFindOut, match=f"the service at {elsewhere} does not run on this machine"):
                listening_at(f"http://{elsewhere}:{port}")
    with pytest.raises(CouldNotFindOut, match="who listens on port 9 is not to be seen"):
        listening_at("http://127.0.0.1:9")


_FAILS = """#!{python}
import base64, re, sys
code = base64.b64decode(re.search(r"b64decode\\('([^']+)'", " ".join(sys.argv))[1]).decode()
open(re.search('PATH = "([^"]+)"', code)[1], "x").close()
sys.exit(1)
"""


def test_a_debugger_that_fails_after_it_has_counted_leaves_no_file(tmp_path: Path) -> None:
    gdb = tmp_path / "gdb"
    gdb.write_text(_FAILS.format(python=sys.executable))
    gdb.chmod(0o700)
    facts = {"pid": os.getpid(), "started": _started(os.getpid()), "gdb": str(gdb), "seconds": 5}
    with pytest.raises(ChangeFailed, match="gdb ended with 1"):
        memory.count_objects.acts["count"].do(None, facts)  # type: ignore[arg-type]
    assert not list(Path("/tmp").glob("runbook-objects-*"))


def test_a_process_that_has_ended_since_is_not_looked_into() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    act = memory.count_objects.acts["count"].do
    with pytest.raises(ChangeFailed, match="has ended"):
        act(None, {"pid": gone.pid, "started": 1, "gdb": "gdb", "seconds": 5})  # type: ignore[arg-type]
    with pytest.raises(ChangeFailed, match="is another one by now"):
        act(None, {"pid": 1, "started": 1_000_000_000, "gdb": "gdb", "seconds": 5})  # type: ignore[arg-type]


def test_the_service_tells_of_its_own_python(sandbox: Place, opened: Open) -> None:
    told = found(opened("api", target="sandbox"), memory.python)
    assert told["memory"].status is told["collector"].status is told["open files"].status is OK
    (lost,) = memory.python.check(
        pd.DataFrame([("python_gc_objects_uncollectable_total", "", 3.0)], columns=["metric", "labels", "value"])
    )
    assert lost.status is WARNING and "3 objects could not be freed" in lost.message


def test_nothing_is_eaten_where_nothing_limits_it(breakable: Place) -> None:
    with pytest.raises(SandboxError, match="takes containers, which alone have a memory limit"):
        faults.break_sandbox(breakable, "api-oom")


def test_a_share_of_a_machine_has_no_kills_of_its_own(sandbox: Place, opened: Open) -> None:
    (told,) = opened("host", target="sandbox").ask(memory.kills).findings
    assert told.status is SKIPPED
