"""What listens on a machine, held against what its profile expects: sockets of real processes, and the verdicts."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from runbook.host import listening_ports
from runbook.host.listening_ports import check
from runbook.model import Finding, Status, UsageError
from runbook.session import open_run
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
Ask = Callable[..., dict[str, Finding]]
PROGRAM = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); input()"
)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[int]:
    """A program that listens on loopback, and whose working folder is the test's own; its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdin
    yield int(process.stdout.readline())
    process.stdin.close()
    process.wait()


@pytest.fixture
def ask(profile: Callable[..., str], tmp_path: Path) -> Iterator[Ask]:
    """Ask what listens in the share of the machine that is the test's own folder; return the findings by object."""
    runs = []

    def asked(listening: str | None) -> dict[str, Finding]:
        share = f'[host.share]\nfolder = "{tmp_path}"\ndisk_bytes = 1\nfiles = 1\nmemory_bytes = 1\ncpus = 1\n'
        told = f"listening = {listening}\n" if listening is not None else ""
        run = open_run("tests", target=profile(f'[host]\nwhere = "here"\nname = "box"\n{told}{share}'), needs=["host"])
        runs.append(run)
        return {one.object: one for one in run.ask(listening_ports).findings}

    yield asked
    for run in runs:
        run.close()


def test_the_practice_stack_listens_on_loopback_only_and_just_where_it_says(sandbox: Place) -> None:
    run = open_run("tests", target="sandbox", needs=["host"])
    answer = run.ask(listening_ports)
    run.close()
    assert [one.status for one in answer.findings] == [OK]
    assert answer.frame is not None and set(answer.frame["address"]) == {"127.0.0.1"}
    assert set(answer.frame["port"]) == set(sandbox.read("state.json")["ports"].values())


def test_what_listens_beyond_what_is_expected_is_told_with_its_program(ask: Ask, listener: int) -> None:
    (found,) = ask("[]").values()
    assert (found.status, found.object) == (WARNING, f"127.0.0.1:{listener}")
    assert "(python" in found.message and "this machine only" in found.message


@pytest.mark.parametrize("written", ["127.0.0.1:{}", "localhost:{}", "{}"])
def test_what_is_expected_is_well_however_it_is_written(ask: Ask, listener: int, written: str) -> None:
    assert ask(f'["{written.format(listener)}"]')["sockets"].status is OK


def test_what_is_expected_and_not_there_is_told(ask: Ask, listener: int) -> None:
    found = ask(f'["127.0.0.1:{listener}", "*:443"]')
    assert [(name, one.status) for name, one in found.items()] == [("*:443", WARNING)]


def test_without_a_list_it_is_unknown_and_the_list_to_copy_is_told(ask: Ask, listener: int) -> None:
    found = ask(None)["sockets"]
    assert found.status is UNKNOWN and f"127.0.0.1:{listener}" in found.message and "listening = [" in found.next


def test_a_profile_with_what_is_no_socket_is_refused(ask: Ask) -> None:
    for text in ('["127.0.0.1"]', '["host.example:80"]', '["*:70000"]', '["127.0.0.1:x"]'):
        with pytest.raises(UsageError, match="write a socket as"):
            ask(text)


def judged(address: str, port: int, *, expected: bool = False, by_address: bool = False) -> Finding:
    row = {"address": address, "port": port, "program": "", "local": False, "there": True}
    frame = pd.DataFrame([{**row, "expected": expected, "by_address": by_address}])
    frame.attrs = {"told": True, "host": "box"}
    (found,) = check(frame)
    return found


def test_a_database_on_all_addresses_is_critical_unless_the_profile_names_just_that() -> None:
    for port in (5432, 6379, 2375, 9090):
        assert judged("*", port).status is CRITICAL and "listens on all addresses" in judged("*", port).message
        assert judged("*", port, expected=True).status is CRITICAL
        assert judged("*", port, expected=True, by_address=True).status is OK
        assert judged("10.0.0.5", port).status is WARNING
    assert judged("*", 443).status is WARNING and judged("*", 443, expected=True).status is OK
    assert "more rights" in judged("*", 443).message


def test_a_socket_of_another_folder_is_no_concern_of_the_share(ask: Ask, listener: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert f"127.0.0.1:{other.getsockname()[1]}" not in ask("[]")
