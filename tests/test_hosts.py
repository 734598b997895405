"""Where the target lives: over ssh (a real sshd on loopback), or by node_exporter and Prometheus."""

import gzip
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from monitoring import free_port, prometheus, require
from running import wait_for
from ssh_server import Sshd, folder_of_its_own, sshd

from runbook import clock, host, integrity, logs, upkeep
from runbook.connections.elsewhere import read_files
from runbook.connections.ssh import SharedHost, SshHost
from runbook.logfiles.entries import as_stamp
from runbook.model import CouldNotFindOut, Finding, Status, Unreachable, UsageError
from runbook.procfs.machine import NotTold, file_systems, load, meminfo, used_memory
from runbook.procfs.sockets import listening
from runbook.session import Run
from runbook.target import Ssh, load_target

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
Open = Callable[..., Run]
ASKED = (host.disk, host.memory, host.load, host.listening_ports)


@pytest.fixture(scope="module")
def server() -> Iterator[Sshd]:
    """An sshd of this module."""
    with sshd(folder_of_its_own() / "sshd") as running:
        yield running


@pytest.fixture
def far(server: Sshd) -> Iterator[Sshd]:
    """The sshd, which afterwards lets the right key in again and is known by its own."""
    yield server
    server.go_on()
    server.know()
    server.allow()


@pytest.fixture
def opened(opened: Open) -> Open:
    """Open a run on a target with this profile."""
    return lambda text, *needs: opened(*(needs or ("host",)), text=text)


def over_ssh(server: Sshd, more: str = "") -> str:
    return f'[host]\nwhere = "ssh"\nname = "api-1"\n{more}\n{server.section}'


def found(run: Run, question: Any, **more: Any) -> dict[str, Finding]:
    return {one.object: one for one in run.ask(question, **more).findings}


def clients(server: Sshd) -> list[psutil.Process]:
    """Return the ssh processes that lead to a server."""
    return [
        one for one in psutil.process_iter(["name", "cmdline"])
        if one.info["name"] == "ssh" and str(server.port) in (one.info["cmdline"] or ())
    ]  # fmt: skip


# --- over ssh


def test_a_host_over_ssh_is_judged_by_its_own_disk_memory_and_load(far: Sshd, opened: Open, tmp_path: Path) -> None:
    run = opened(over_ssh(far, f'paths = ["/", "{tmp_path / "gone"}"]'))
    shown = run._repr_mimebundle_()["text/plain"]
    assert "api-1, over ssh" in shown and "Linux" in shown
    disks = found(run, host.disk, warning=100, critical=100)
    assert disks["api-1 / space"].status is OK and disks["api-1 / inodes"].status is OK
    assert disks["api-1 / space"].value == pytest.approx(psutil.disk_usage("/").percent, abs=1)
    gone = disks[f"api-1 {tmp_path / 'gone'}"]
    assert gone.status is UNKNOWN and "No such file or directory" in gone.message
    memory = run.ask(host.memory).frame
    assert memory is not None and memory["total"].tolist() == [psutil.virtual_memory().total]
    assert found(run, host.memory, warning=100, critical=100)["api-1 memory"].status is OK
    busy = run.ask(host.load).frame
    assert busy is not None and busy["cpus"].tolist() == [psutil.cpu_count()]
    assert busy["load_15"][0] == pytest.approx(psutil.getloadavg()[2], abs=2)
    assert [one.status for one in run.ask(host.reachable).findings] == [OK]


def test_each_finding_names_the_command_that_repeats_it(far: Sshd, opened: Open) -> None:
    told = found(opened(over_ssh(far)), host.memory)["api-1 memory"]
    assert told.source == f"ssh -p {far.port} {far.user}@127.0.0.1 -- 'cat /proc/meminfo'"


def test_what_listens_over_ssh_is_held_against_the_profile(far: Sshd, opened: Open) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        frame = opened(over_ssh(far, f'listening = ["127.0.0.1:{far.port}", "*:1"]')).ask(host.listening_ports).frame
    assert frame is not None
    seen = frame.set_index("port")[["there", "expected"]].to_dict("index")
    assert seen[port] == {"there": True, "expected": False} and seen[1] == {"there": False, "expected": True}
    assert seen[far.port] == {"there": True, "expected": True}


def test_the_clock_of_a_host_over_ssh_is_compared_and_named(far: Sshd, opened: Open) -> None:
    told = found(opened(over_ssh(far)), clock.offsets)
    assert told["host (api-1)"].status is OK


def test_one_connection_serves_all_that_is_asked_and_goes_with_the_run(far: Sshd, opened: Open, tmp_path: Path) -> None:
    (tmp_path / "api.log").write_text(lines(3))
    before, kept = far.log.count("Accepted publickey"), set(Path(os.environ["TMPDIR"]).glob("rb-*"))
    run = opened(over_ssh(far) + f'[logs]\napi = ["ssh:{tmp_path}/*.log"]\n', "host", "logs")
    for question in ASKED:
        run.ask(question)
    run.ask(logs.coverage)
    assert far.log.count("Accepted publickey") == before + 1
    assert len(clients(far)) == 1
    run.close()
    wait_for(lambda: not clients(far))
    assert set(Path(os.environ["TMPDIR"]).glob("rb-*")) <= kept


def test_a_connection_that_broke_off_is_made_anew(far: Sshd, opened: Open, tmp_path: Path) -> None:
    (tmp_path / "api.log").write_text(lines(3))
    run = opened(over_ssh(far) + f'[logs]\napi = ["ssh:{tmp_path}/*.log"]\n', "host", "logs")
    for client in clients(far):
        client.terminate()
        client.wait(5)
    assert found(run, logs.coverage)["lines"].status is OK
    assert found(run, host.memory, warning=100, critical=100)["api-1 memory"].status is OK


def test_a_kernel_that_is_killed_leaves_no_connection_behind(far: Sshd, profile: Callable[..., str]) -> None:
    name = profile(over_ssh(far))
    code = (
        "import sys, time; from runbook.session import open_run; "
        f"open_run('tests', target={name!r}, needs=['host']); print('open', flush=True); time.sleep(60)"
    )
    kernel = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert kernel.stdout and kernel.stdout.readline() == b"open\n" and clients(far)
    kernel.kill()
    kernel.wait()
    wait_for(lambda: not clients(far))


def test_arguments_arrive_as_they_are_whatever_shell_takes_them(far: Sshd, connected: SshHost) -> None:
    odd = ("", "a b", "it's", '"$HOME"', "`id`", "$(id)", "a;b|c&d>e<f", "*", "~", "\\n", "-n", "ü\t!", "{a,b}")
    ended = connected.call(("printf", "%s\\n", "--", *odd))
    assert ended.text.splitlines() == ["--", *odd]


def test_answers_are_bounded_in_time_and_size(far: Sshd, connected: SshHost) -> None:
    with pytest.raises(CouldNotFindOut, match=r"sleep did not end within 0\.2 s"):
        connected.call(("sleep", "30"), 0.2)
    for much in (("cat", "/dev/zero"), ("head", "-c", "4300000", "/dev/zero")):
        with pytest.raises(CouldNotFindOut, match="says more than 4 MiB, and a part of it is no answer"):
            connected.call(much)
    assert len(next(connected.stream(("cat", "/dev/zero"), 5))) > 0
    with pytest.raises(CouldNotFindOut, match=r"was not read to its end within 0\.2 s"):
        list(connected.stream(("sleep", "30"), 0.2))
    wait_for(lambda: len(clients(far)) == 1)


def test_a_file_that_goes_while_it_is_looked_at_is_told(connected: SshHost) -> None:
    with pytest.raises(CouldNotFindOut, match="No such file or directory"):
        read_files(connected, "/proc/0/status")
    with pytest.raises(CouldNotFindOut, match="No such file or directory"):
        list(connected.stream(("tail", "-c", "+1", "/nowhere/api.log"), 5))


@pytest.fixture
def connected(far: Sshd, profile: Callable[..., str]) -> Iterator[SshHost]:
    """The host, connected."""
    shared = SharedHost.take(ssh_of(far, profile), 5)
    yield shared.host
    shared.give_back()


def ssh_of(server: Sshd, profile: Callable[..., str]) -> Ssh:
    ssh = load_target(profile(server.section)).host.ssh
    assert ssh is not None
    return ssh


def test_a_run_of_its_own_reads_disk_and_logs_of_the_host_and_leaves_no_connection(
    far: Sshd, profile: Callable[..., str], run_json: Callable[..., Any], archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "api.log").write_text(lines(40))
    name = profile(over_ssh(far) + f'[logs]\napi = ["ssh:{tmp_path}/*.log"]\n')
    _, document = run_json("log-review", "--target", name)
    told = {(one.check, one.object): one for one in document.runs[0].findings}
    assert any("40 errors" in one.message for (check, _), one in told.items() if check == "logs.errors"), told
    _, document = run_json("high-memory-usage", "--target", name, "-p", "seconds=1")
    told = {(one.check, one.object): one for one in document.runs[0].findings}
    assert "api-1, over ssh" in told["host.reachable", "machine"].message
    assert told["host.memory", "api-1 memory"].source.startswith("ssh -p ")
    assert told["memory.processes", "api-1 processes"].status == "OK"
    wait_for(lambda: not clients(far))


# --- what keeps ssh from a host


def a_stranger(server: Sshd) -> None:
    server.allow("stranger")


def another_host(server: Sshd) -> None:
    server.know("other-host")


def an_unknown_host(server: Sshd) -> None:
    (server.folder / "known_hosts").write_text("")


def a_forced_command(server: Sshd) -> None:
    server.allow(options='command="/bin/false"')


def a_shell_that_speaks(server: Sshd) -> None:
    server.allow(options='command="echo welcome; exec cat"')


@pytest.mark.parametrize(
    ("breaks", "status", "says"),
    [
        (a_stranger, UNKNOWN, "refuses the runbook's key (.*Permission denied (publickey).)"),
        (another_host, CRITICAL, "shows another host key than the one that is known"),
        (an_unknown_host, UNKNOWN, "is not known: compare `ssh-keyscan"),
        (a_forced_command, UNKNOWN, "ssh does not reach a shell at"),
        (a_shell_that_speaks, UNKNOWN, "prints text of its own ('welcome')"),
    ],
)
def test_a_host_that_lets_nobody_in_is_told_with_the_reason(
    breaks: Callable[[Sshd], None], status: Status, says: str, far: Sshd, opened: Open
) -> None:
    breaks(far)
    run = opened(over_ssh(far))
    told = found(run, host.reachable)["machine"]
    pattern = ".*".join(map(re.escape, says.split(".*")))
    assert told.status is status and re.search(pattern, told.message), told.message
    (disk,) = run.ask(host.disk).findings
    assert disk.status is UNKNOWN and re.search(pattern, disk.message)
    assert not clients(far)


def test_where_no_sshd_listens_that_is_told(far: Sshd, opened: Open) -> None:
    text = over_ssh(far).replace(f"port = {far.port}", f"port = {free_port()}")
    assert "refuses the connection: no sshd listens there" in found(opened(text), host.reachable)["machine"].message


def test_a_host_that_hangs_costs_its_deadline_once(far: Sshd, opened: Open) -> None:
    far.hang()
    began = time.monotonic()
    run = opened("deadlines.connect = 1.0\n" + over_ssh(far))
    told = [one for question in ASKED for one in run.ask(question).findings]
    assert {one.status for one in told} == {UNKNOWN} and time.monotonic() - began < 4
    assert all("does not answer within 1 s" in one.message for one in told), told
    assert not clients(far)


def test_who_waited_for_a_connection_in_vain_does_not_keep_it_open(far: Sshd, profile: Callable[..., str]) -> None:
    ssh = ssh_of(far, profile)
    far.hang()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(SharedHost.take, ssh, 20.0)
        wait_for(lambda: bool(clients(far)))
        with pytest.raises(Unreachable, match=r"does not answer within 0\.1 s"):
            SharedHost.take(ssh, 0.1)
        far.go_on()
        first.result(20).give_back()
    assert not clients(far)


def test_a_host_that_hangs_later_is_given_up_as_silent(far: Sshd, opened: Open) -> None:
    run = opened("deadlines.question = 1.0\n" + over_ssh(far))
    assert found(run, host.memory, warning=100, critical=100)["api-1 memory"].status is OK
    held = [one for one in psutil.Process(far.process.pid).children(recursive=True) if one.name() == "sshd"]
    for one in held:
        one.suspend()
    try:
        (told,) = run.ask(host.memory).findings
    finally:
        for one in held:
            one.resume()
    assert told.status is UNKNOWN and "kept silent" in told.message


def test_nothing_that_a_configuration_of_ssh_says_is_run_here(far: Sshd, opened: Open, tmp_path: Path) -> None:
    config, trace = tmp_path / "ssh_config", tmp_path / "trace"
    config.write_text(
        f"Host *\nPermitLocalCommand yes\nLocalCommand touch {trace}\nForwardAgent yes\nRequestTTY force\n"
    )
    text = over_ssh(far).replace('config_file = "/dev/null"', f'config_file = "{config}"')
    assert found(opened(text), host.memory, warning=100, critical=100)["api-1 memory"].status is OK
    assert not trace.exists()


@pytest.mark.parametrize("at", ["-oProxyCommand=id", "a b", "u@-h", "h;id", "", "u@", "$(id)", "h\\nid"])
def test_a_destination_that_could_be_anything_else_is_refused(at: str, profile: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match="write where to as HOST or USER@HOST"):
        load_target(profile(f'[host]\nwhere = "ssh"\n[host.ssh]\nat = "{at}"\n'))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[host]\nwhere = "ssh"\n', r"needs \[host.ssh\]"),
        ('[host]\nwhere = "ssh"\npaths = ["logs"]\n[host.ssh]\nat = "h"\n', "a path begins with /"),
        ('[logs]\napi = ["ssh:logs/*.log"]\n', "ssh:PATH"),
        ('[logs]\napi = ["container::/x"]\n', "container:NAME:PATH"),
        (
            '[host]\nwhere = "prometheus"\n[host.share]\nfolder = "/x"\ndisk_bytes = 1\nfiles = 1\n'
            "memory_bytes = 1\ncpus = 1\n",
            "a share is a part of this machine",
        ),
    ],
)
def test_a_profile_that_does_not_fit_together_is_refused(text: str, says: str, profile: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match=says):
        load_target(profile(text))


def test_files_and_packages_are_asked_of_this_machine_only(far: Sshd, opened: Open) -> None:
    run = opened(over_ssh(far) + '[[integrity.trees]]\npath = "/opt"\n', "host")
    for question in (integrity.privileged, upkeep.pending_packages):
        (told,) = run.ask(question).findings
        assert told.status is UNKNOWN and "only where the notebooks run on the target's own machine" in told.message


# --- logs over ssh


def lines(count: int, minutes: float = 1.0, level: str = "ERROR") -> str:
    """Return lines of the service's log of these last minutes."""
    began = datetime.now(UTC) - timedelta(minutes=minutes)
    return "".join(
        f'{{"timestamp": "{as_stamp(began + timedelta(milliseconds=n))}", "level": "{level}", "logger": "api", '
        f'"message": "failed {n}", "path": "/x", "method": "GET", "status_code": 500, "duration_ms": 1.0}}\n'
        for n in range(count)
    )


def test_log_files_over_ssh_are_read_as_those_here(far: Sshd, opened: Open, tmp_path: Path) -> None:
    folder = tmp_path / "a b'c$(id)"
    folder.mkdir()
    (folder / "api_1.log").write_text(lines(40))
    (folder / "api_2.log.1.gz").write_bytes(gzip.compress(lines(30).encode()) + gzip.compress(lines(5).encode()))
    (folder / "other.txt").write_text(lines(9))
    (folder / "api_3.log").mkdir()
    (folder / "api_4.log\n1 1 passwd").write_text(lines(7))
    pattern = f"{folder}/api_*.log*".replace("$", "\\u0024")
    here = found(opened(f'[logs]\napi = ["{tmp_path}/a b*/api_[12]*.log*"]\n', "logs"), logs.errors)
    run = opened(over_ssh(far) + f'[logs]\napi = ["ssh:{pattern}"]\n', "logs")
    there = found(run, logs.errors)
    assert {name: (one.status, one.value) for name, one in there.items()} == {
        name: (one.status, one.value) for name, one in here.items()
    }
    read = run.ask(logs.coverage).frame
    assert read is not None and sorted(read["json_lines"]) == [0, 35, 40]
    assert "No such file" in read.set_index("path")["problem"][f"api-1:{folder}/api_4.log"], "half of a hostile name"
    assert all(path.startswith("api-1:/") for path in read["path"])
    assert found(run, logs.matching)["lines"].value == 75
    assert "75" not in str(run.ask(logs.recent).findings[0].value)


def test_the_window_of_a_large_file_over_ssh_is_found_without_reading_all_of_it(
    far: Sshd, opened: Open, tmp_path: Path
) -> None:
    with (tmp_path / "api.log").open("w") as log:
        for hour in range(60, 0, -1):
            log.write(lines(1000, 60.0 * hour, "INFO"))
        log.write(lines(50))
    assert (tmp_path / "api.log").stat().st_size > 8 << 20
    run = opened(over_ssh(far) + f'[logs]\napi = ["ssh:{tmp_path}/api.log"]\n', "logs")
    window = logs.window(hours=0.5, before_hours=1)
    read = run.ask(logs.coverage, window=window).frame
    assert read is not None and read["read"][0] < 3 << 20
    told = {one.object: one for one in run.ask(logs.errors, window=window).findings}
    assert any("50 errors" in one.message for one in told.values()), told


@pytest.mark.parametrize(
    ("place", "says"),
    [("ssh:/nowhere/*.log", "No such file or directory"), ("ssh:/nowhere/a.log", "No such file or directory"),
     ("ssh:/proc/*.log", "no file is named so"), ("ssh:/dev/null", "no file is named so"),
     ("ssh:/dev", "no file is named so")],
)  # fmt: skip
def test_a_place_over_ssh_where_nothing_is_found_is_told(place: str, says: str, far: Sshd, opened: Open) -> None:
    run = opened(over_ssh(far) + f'[logs]\napi = ["{place}"]\n', "logs")
    told = found(run, logs.coverage)
    assert told[place].status is UNKNOWN and says in told[place].message


def test_logs_over_ssh_of_a_host_that_refuses_do_not_hide_those_here(far: Sshd, opened: Open, tmp_path: Path) -> None:
    (tmp_path / "api.log").write_text(lines(3))
    far.allow("stranger")
    both = f'[logs]\napi = ["{tmp_path}/*.log", "ssh:/var/log/api.log"]\n'
    told = found(opened(over_ssh(far) + both, "logs"), logs.coverage)
    assert "refuses the runbook's key" in told["ssh:/var/log/api.log"].message and "3 lines" in told["lines"].message
    (alone,) = opened(over_ssh(far) + '[logs]\napi = ["ssh:/x/*.log"]\n', "logs").ask(logs.coverage).findings
    assert alone.status is UNKNOWN and "refuses the runbook's key" in alone.message


def test_a_packed_log_that_is_damaged_counts_up_to_there(far: Sshd, opened: Open, tmp_path: Path) -> None:
    (tmp_path / "api.log.gz").write_bytes(gzip.compress(lines(4000).encode())[:-2000])
    run = opened(over_ssh(far) + f'[logs]\napi = ["ssh:{tmp_path}/*.gz"]\n', "logs")
    answer = run.ask(logs.coverage)
    assert answer.frame is not None and answer.frame["json_lines"][0] > 100
    assert any("ends early" in one.message for one in answer.findings)


# --- by node_exporter


@contextmanager
def exporter() -> Iterator[int]:
    require("prometheus-node-exporter")
    port = free_port()
    argv = ["prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}", "--collector.disable-defaults",
            "--collector.meminfo", "--collector.loadavg", "--collector.cpu", "--collector.filesystem"]  # fmt: skip
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def test_hosts_are_judged_by_their_exporters(opened: Open, tmp_path: Path) -> None:
    with exporter() as port, prometheus(tmp_path / "p", jobs={"node": [f"127.0.0.1:{port}"]}) as running:
        name = f"127.0.0.1:{port}"
        wait_for(lambda: bool(running.ask("node_load5")))
        text = f'[prometheus]\nurl = "{running.url}"\n[host]\nwhere = "prometheus"\n'
        run = opened(text)
        memory = run.ask(host.memory).frame
        assert memory is not None and memory["total"].tolist() == [psutil.virtual_memory().total]
        told = found(run, host.memory, warning=100, critical=100)[f"{name} memory"]
        assert told.status is OK and 'job="node"' in told.source
        busy = run.ask(host.load).frame
        assert busy is not None and busy["cpus"].tolist() == [psutil.cpu_count()] and busy["load_5"].notna().all()
        disks = run.ask(host.disk).frame
        assert disks is None or (disks["used"] <= disks["total"]).all()
        (ports,) = run.ask(host.listening_ports).findings
        assert ports.status is UNKNOWN and "node_exporter does not tell what listens" in ports.message
        missing = opened(f'{text}instances = ["{name}", "gone:9100"]\n')
        both = found(missing, host.load, warning=1000, critical=1000)
        assert both[f"{name} load"].status is OK and both["gone:9100 load"].status is UNKNOWN
        (none,) = opened(f'{text}instances = ["gone.x:9100"]\n').ask(host.memory).findings
        assert none.status is UNKNOWN and "its node_exporter is down, or not scraped" in none.message


def test_exporters_without_a_prometheus_are_unknown(opened: Open) -> None:
    (told,) = opened('[host]\nwhere = "prometheus"\n').ask(host.memory).findings
    assert told.status is UNKNOWN and "has no [prometheus]" in told.message
    dead = f'[prometheus]\nurl = "http://127.0.0.1:{free_port()}"\n[host]\nwhere = "prometheus"\n'
    (told,) = opened(dead).ask(host.memory).findings
    assert told.status is UNKNOWN and "the hosts' exporters cannot be asked" in told.message


# --- what the kernel tells


def test_old_kernels_tell_no_available_memory() -> None:
    told = meminfo("MemTotal: 100 kB\nMemFree: 10 kB\nBuffers: 5 kB\nCached: 15 kB\nHugePages_Total: 3\n")
    assert used_memory(told) == (70 * 1024, 100 * 1024) and told["HugePages_Total"] == 3


@pytest.mark.parametrize("text", ["", "MemTotal: kB", "<html>", "MemTotal: 0 kB\n"])
def test_what_is_not_of_a_kernel_is_no_answer(text: str) -> None:
    with pytest.raises(NotTold):
        meminfo(text)
    with pytest.raises(NotTold):
        load(text)
    assert file_systems(text) == {} and listening(text) == set()


def test_sockets_of_either_family_are_read() -> None:
    text = (
        "  0: 0100007F:1F90 00000000:0000 0A 0:0\n  1: 0100007F:1F91 0100007F:1 01 0:0\n"
        "  2: 00000000000000000000000000000000:0016 0:0 0A 0:0\n  3: 0000000000000000FFFF00000100007F:0050 0:0 0A\n"
    )
    assert listening(text) == {("127.0.0.1", 8080), ("::", 22), ("::ffff:7f00:1", 80)}


def test_a_file_system_with_an_odd_name_is_read() -> None:
    told = file_systems("4096 100 50 40 10 4 /a b  c\nnonsense\n")
    assert (told["/a b  c"].used, told["/a b  c"].total, told["/a b  c"].files) == (50 * 4096, 90 * 4096, 6)
