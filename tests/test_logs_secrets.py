"""Secrets in logs: told by kind, file and line, however they came there, and never shown."""

import gzip
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook.logs import secrets
from runbook.model import Finding, Status
from runbook.session import open_run

OK, CRITICAL, UNKNOWN = Status.OK, Status.CRITICAL, Status.UNKNOWN
Ask = Callable[..., dict[str, Finding]]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
LINE = "2026-11-23 15:50:57 [INFO] api:startup:323: all is well and 12 documents are there"


@pytest.fixture
def ask(profile: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Look for secrets in the logs of a folder; return the findings by object, files without their folder."""
    monkeypatch.setenv("TESTS_PASSWORD", "plain-words-only")
    runs = []

    def asked(**arguments: Any) -> dict[str, Finding]:
        redis = '[redis]\nurl = "redis://127.0.0.1:1/0"\npassword = "env:TESTS_PASSWORD"\n'
        run = open_run("tests", target=profile(f'{redis}[logs]\napi = ["{tmp_path}/logs/*"]'), needs=["logs"])
        runs.append(run)
        answer = run.ask(secrets, **arguments)
        shown = f"{answer.findings}{answer.frame}"
        assert TOKEN not in shown and "plain-words-only" not in shown
        return {one.object.replace(f"{tmp_path}/logs/", ""): one for one in answer.findings}

    (tmp_path / "logs").mkdir()
    yield asked
    for run in runs:
        run.close()


def test_each_kind_of_secret_is_told_with_its_lines(ask: Ask, tmp_path: Path) -> None:
    lines = [LINE] * 500
    lines[100] = f"{LINE} Authorization: Bearer {TOKEN}"
    lines[300] = lines[400] = "login with password=Hunter2hunter2 failed"
    lines[450] = "connected with plain-words-only"
    (tmp_path / "logs" / "api_20261123.log").write_text("\n".join(lines))
    found = ask()
    assert {one.status for one in found.values()} == {CRITICAL}
    bearer = next(one for name, one in found.items() if "token" in name)
    assert "line 101" in bearer.message
    assert "2 times, such as in line 301, 401" in found["api_20261123.log: a password"].message
    assert "451" in found["api_20261123.log: a secret of the target"].message


def test_logs_without_secrets_are_well(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "logs" / "api.log").write_text("\n".join([LINE, "password=[redacted: a password]", "token=***"]))
    assert ask()["logs"].status is OK


def test_of_a_large_file_the_newest_part_is_read_and_lines_count_from_the_top(ask: Ask, tmp_path: Path) -> None:
    first, last = f"old token {TOKEN}", f"new token {TOKEN}"
    (tmp_path / "logs" / "api.log").write_text("\n".join([first, *[LINE] * 30_000, last]) + "\n")
    (found,) = ask(mebibytes=0.5).values()
    assert found.value == 1 and "line 30,002" in found.message
    (found,) = ask().values()
    assert found.value == 2


def test_compressed_and_broken_files_are_read_as_far_as_they_go(ask: Ask, tmp_path: Path) -> None:
    packed = gzip.compress(f"{LINE}\n{TOKEN}\n".encode())
    (tmp_path / "logs" / "api.log.1.gz").write_bytes(packed)
    (tmp_path / "logs" / "api.log.2.gz").write_bytes(packed[:-12])
    (tmp_path / "logs" / "api.log.3").write_bytes(b"\x00\xff\xfe" * 100_000 + f"\n{TOKEN}\n".encode())
    found = ask()
    assert found["api.log.1.gz: a signed token"].status is CRITICAL
    assert found["api.log.3: a signed token"].status is CRITICAL
    assert found["api.log.2.gz"].status is UNKNOWN


def test_a_key_that_spans_lines_is_found(ask: Ask, tmp_path: Path) -> None:
    key = (
        "-----BEGIN PRIVATE "
        + "KEY-----\n"
        + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 5
        + "-----END PRIVATE "
        + "KEY-----"
    )
    (tmp_path / "logs" / "api.log").write_text(f"{LINE}\n{key}\n{LINE}\n")
    assert {one.status for one in ask().values()} == {CRITICAL}


def test_files_that_there_is_no_time_for_are_told(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (tmp_path / "logs" / f"api.log.{number}").write_text(f"{LINE}\n{TOKEN}\n")
    monkeypatch.setattr(sys.modules[secrets.probe.__module__], "_READ_SECONDS", -1.0)
    found = ask()["older files"]
    assert found.status is UNKNOWN and "no time for 3 older files" in found.message


def test_files_from_before_the_window_are_left_alone(ask: Ask, tmp_path: Path) -> None:
    old = tmp_path / "logs" / "api_old.log"
    old.write_text(TOKEN)
    os.utime(old, (1_000_000_000, 1_000_000_000))
    assert ask()["logs"].status is UNKNOWN
