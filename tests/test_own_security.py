"""The audit on the project's own practice stack, and on all that the project itself serves, starts and writes."""

import html
import importlib.util
import io
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import psutil
import pytest
from running import by_check, only, processes_of

from runbook.cli import development
from runbook.model import Status
from runbook.model.layout import REPORT_FILE
from runbook.model.protocol import RunRecord, RunsDocument
from runbook.redaction import Redactor
from runbook.target import load_target
from runbook_sandbox import deployed, faults, processes
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL = Status.OK, Status.WARNING, Status.CRITICAL


class Watching(threading.Thread):
    """Looks again and again at the command lines of all processes, and at what those of the runs listen on."""

    def __init__(self, archive: Path) -> None:
        super().__init__(daemon=True)
        self._archive, self._end = archive, threading.Event()
        self.command_lines: set[str] = set()
        self.listening: set[tuple[str, int]] = set()
        self.looks = 0

    def run(self) -> None:
        while not self._end.wait(0.1):
            for process in psutil.process_iter():
                try:
                    self.command_lines.add("\0".join(process.cmdline()))
                except psutil.Error:
                    continue
            for process in processes_of(self._archive):
                try:
                    sockets = process.net_connections(kind="inet")
                except psutil.Error:
                    continue
                self.listening |= {(s.laddr.ip, s.laddr.port) for s in sockets if s.status == psutil.CONN_LISTEN}
            self.looks += 1

    def stop(self) -> None:
        self._end.set()
        self.join()


@dataclass
class Audited:
    """Two audits of a practice stack, the second after something was broken; what was seen meanwhile, what is left."""

    first: RunRecord
    second: RunRecord
    exits: list[int]
    archive: Path
    state: Path
    seen: Watching
    secrets: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def audited(breakable: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    """Audit the stack twice, as somebody whose umask closes nothing."""
    own = tmp_path_factory.mktemp("own")
    environment = {
        **os.environ,
        "RUNBOOK_EVIDENCE": str(own / "archive"),
        "XDG_STATE_HOME": str(own / "state"),
        "PYTEST_CURRENT_TEST": "",
    }
    argv = [sys.executable, "-m", "runbook", "run", "security-audit", "--target", breakable.name, "--json"]
    with pytest.MonkeyPatch.context() as patch:  # as `sandbox up` records it, in this archive
        patch.setenv("RUNBOOK_EVIDENCE", environment["RUNBOOK_EVIDENCE"])
        patch.setenv("XDG_STATE_HOME", environment["XDG_STATE_HOME"])
        deployed.record(breakable.name, {})
    seen = Watching(own / "archive")
    seen.start()
    runs, exits = [], []
    before = os.umask(0)
    try:
        for broken in ((), ("cors-open", "package-vulnerable", "headers-missing")):
            for name in broken:
                faults.break_sandbox(breakable, name)
            ended = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=120)
            assert ended.stdout, ended.stderr
            runs.append(only(msgspec.json.decode(ended.stdout, type=RunsDocument)))
            exits.append(ended.returncode)
    finally:
        os.umask(before)
        seen.stop()
        faults.heal(breakable)
    kept = [path.read_text().strip() for path in (breakable.folder / "secrets").iterdir()]
    service = breakable.read("service.json")
    kept += [service["signing_key"], *load_target(breakable.name).secret_values()]
    yield Audited(*runs, exits, own / "archive", own / "state", seen, sorted(set(kept)))


def files_below(*folders: Path) -> list[Path]:
    return [
        path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()
    ]


# --- the audit itself


def test_the_practice_stack_passes_its_audit_and_what_is_broken_is_found(audited: Audited) -> None:
    assert audited.exits == [OK.exit_status, CRITICAL.exit_status], audited.first.findings
    found = {(one.check, one.object): one.status for one in audited.second.findings}
    assert found["api.cors", "other sites"] is CRITICAL
    assert found["advisories.packages", "shrimp-practice 1.0.3"] is CRITICAL
    assert found["api.security_headers", "Cache-Control"] is WARNING


def test_the_second_audit_says_what_is_new_since_the_first(audited: Audited) -> None:
    assert by_check(audited.first)["earlier.since_last"].value == "none"
    told = {one.object: one for one in audited.second.findings if one.check == "earlier.since_last"}
    worse = told["new or worse"]
    assert worse.status is WARNING and audited.first.run_id in worse.message and worse.value == 5
    assert "worse: api.cors, other sites (OK → CRITICAL)" in worse.message


# --- what is written


def test_all_that_a_run_writes_is_for_its_user_alone(audited: Audited) -> None:
    for path in [audited.archive, *audited.archive.rglob("*"), audited.state, *audited.state.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        # A public key is for everybody, in a folder that is not.
        assert not mode & (0o022 if path.suffix == ".pub" else 0o077), (path, oct(mode))


def test_no_secret_is_in_what_a_run_writes(audited: Audited) -> None:
    redactor = Redactor(audited.secrets)
    private = files_below(audited.state / "runbook" / "keys")
    looked_at = [path for path in files_below(audited.archive, audited.state) if path not in private]
    assert len(looked_at) >= 20
    for path in looked_at:
        content = path.read_bytes()
        if path.suffix == ".parquet":
            redactor.frame(pd.read_parquet(io.BytesIO(content)))
        else:
            redactor.text(content.decode("utf-8", "replace"))
        assert not redactor.counts, path


def test_the_pages_of_a_run_run_nothing_and_load_nothing(audited: Audited) -> None:
    pages = [path for path in files_below(audited.archive) if path.suffix == ".html"]
    assert {REPORT_FILE, "index.html"} <= {path.name for path in pages}
    for page in pages:
        text = page.read_text()
        policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"', text)
        allowed = html.unescape(policy[1]) if policy else ""
        assert "default-src 'none'" in allowed and not re.search(r"unsafe-(eval|hashes)|https?:|\*", allowed)
        assert not re.search(r"<(iframe|object|embed|base|link)\b|\son\w+=|javascript:", text, re.IGNORECASE), page
        assert not re.search(r"""(?:src|srcset|action|data)\s*=\s*["']?(?:https?:)?//""", text), page
        scripts = re.findall(r"<script[^>]*>", text)
        assert not scripts or (page.name == "index.html" and "script-src 'sha256-" in allowed)


# --- what runs


def test_no_secret_is_in_the_list_of_processes(audited: Audited) -> None:
    assert audited.seen.looks >= 5
    mine = [line for line in audited.seen.command_lines if "security-audit" in line]
    assert mine
    for line in audited.seen.command_lines:
        assert not [secret for secret in audited.secrets if secret in line]


def test_a_run_listens_on_loopback_alone(audited: Audited) -> None:
    # The one socket is ipykernel's own, for what forks of a kernel print: it takes nothing without its random id.
    assert {address for address, _ in audited.seen.listening} <= {"127.0.0.1"}
    assert len(audited.seen.listening) <= 2


# --- the practice stack


def test_what_holds_a_secret_of_the_practice_stack_is_closed_to_others(breakable: Place, audited: Audited) -> None:
    secrets = [secret.encode() for secret in audited.secrets]
    holding = []
    for path in files_below(breakable.folder):
        if path.is_relative_to(breakable.folder / "postgres"):
            continue  # closed as a whole
        if any(secret in path.read_bytes() for secret in secrets):
            holding.append(path)
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    assert {"service.json", "redis.conf"} <= {path.name for path in holding}
    for part in ("postgres", "secrets"):
        assert not stat.S_IMODE((breakable.folder / part).stat().st_mode) & 0o077


def test_the_target_file_holds_no_secret_and_is_written_by_its_user_alone(breakable: Place, audited: Audited) -> None:
    target = Path(breakable.read("state.json")["target"])
    redactor = Redactor(audited.secrets)
    redactor.text(target.read_text())
    assert not redactor.counts and not stat.S_IMODE(target.stat().st_mode) & 0o022


def test_all_that_the_practice_stack_starts_listens_on_loopback_alone(breakable: Place) -> None:
    own = {process.pid for process in processes.find(breakable)}
    sockets = [one for one in psutil.net_connections(kind="inet") if one.pid in own and one.status == "LISTEN"]
    assert len(sockets) >= 4 and {one.laddr.ip for one in sockets} == {"127.0.0.1"}


# --- JupyterLab


def test_jupyterlab_is_started_with_its_token_on_and_scrubs_what_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())

    def become(_: str, argv: list[str]) -> Any:
        started.append(argv)
        raise SystemExit

    monkeypatch.setattr(os, "execv", become)
    with pytest.raises(SystemExit):
        development.lab([])
    (argv,) = started
    assert "--ServerApp.jpserver_extensions=runbook.redaction.saving=True" in argv
    assert "--ServerApp.reraise_server_extension_failures=True" in argv
    # Nothing of the server's own protection is switched off: token, origins, loopback.
    options = [argument.partition("=")[0] for argument in argv if argument.startswith("--")]
    assert set(options) == {
        "--ServerApp.root_dir",
        "--ServerApp.jpserver_extensions",
        "--ServerApp.reraise_server_extension_failures",
    }
