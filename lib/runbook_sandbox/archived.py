"""An archive of many sealed runs, made in a moment: what months of a schedule leave behind.

Nobody made these runs: who is named as their operator says so, and they go into a folder of their own.
"""

import io
import math
import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pandas as pd

from runbook.evidence import ledger, sealing
from runbook.evidence.archive import archive_id
from runbook.evidence.chain import Chain, Head
from runbook.evidence.keys import signer
from runbook.evidence.seal import sealed
from runbook.evidence.sealing import Ended
from runbook.evidence.statement import Source, digest
from runbook.model import Finding, Findings, Status
from runbook.model.layout import DATA_FOLDER, run_folder
from runbook.model.protocol import RunRecord, plain
from runbook_sandbox.place import SandboxError

OPERATOR = "practice"
DAYS = 31
_LETTERS = "abcdefghjkmnpqrstuvwxyz"
Left = tuple[datetime, Iterable[Finding], Mapping[str, pd.DataFrame]]


def leave_runs(
    archive: Path,
    runs: Iterable[Left],
    *,
    notebook: str = "morning-health-check",
    target: str = "sandbox",
    noted: bool = False,
    version: str = "",
) -> list[Path]:
    """Leave a sealed run for each moment with its findings and frames, and return their folders.

    They are as if they came from elsewhere, or ``noted`` for the reports as those are that were made here. Where there
    is a ``version``, it is what the service told of itself.

    The chain's head is noted once, at the end, and nothing waits for the disk.
    """
    key, own, folders = signer(), archive_id(archive), []
    identity = {"api": {"what": "service", "version": version}} if version else {}
    chain = Chain(archive, own, key)
    end = chain.head()
    kept, sealing.versions = sealing.versions, dict  # type: ignore[attr-defined]
    try:
        for number, (began, findings, frames) in enumerate(runs):
            tail = "".join(_LETTERS[number // 23**place % 23] for place in range(5, -1, -1))
            run_id = f"run_{began:%Y%m%dT%H%M%SZ}_{notebook}_{tail}"
            folder = run_folder(archive, run_id)
            folder.mkdir(parents=True)
            told = list(findings)
            status = Findings(told).verdict
            record = RunRecord(
                notebook=notebook, target=target, run_id=run_id, status=str(status), exit=0, error=None, seconds=2.0,
                evidence=str(folder), findings=told, started=f"{began:%Y-%m-%dT%H:%M:%SZ}",
                ended=f"{began + timedelta(seconds=2):%Y-%m-%dT%H:%M:%SZ}", operator=OPERATOR,
            )  # fmt: skip
            plain_record = msgspec.to_builtins(record, enc_hook=plain)
            (folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(plain_record), indent=1))
            if frames:
                (folder / DATA_FOLDER).mkdir()
            for place, (check, frame) in enumerate(frames.items(), start=1):
                buffer = io.BytesIO()
                frame.to_parquet(buffer, index=False)
                (folder / DATA_FOLDER / f"{place:03d}-{check}.parquet").write_bytes(buffer.getvalue())
            ended = Ended(
                record=plain_record, source=Source(name=f"{notebook}.ipynb", sha256="0" * 64), parameters={},
                identity=identity, clock_offsets={}, redactions={},
            )  # fmt: skip
            content = sealed(
                sealing._statement(archive, own, chain.writer, ended, run_id)(end.seq + 1, end.digest), key
            )
            (folder / "seal.json").write_bytes(content)
            end = Head(seq=end.seq + 1, digest=digest(content), run_id=run_id)
            folders.append(folder)
            if noted:
                ledger.note(own, folder, plain_record, identity)
    finally:
        sealing.versions = kept  # type: ignore[attr-defined]
    return folders


def month(folder: Path, target: str) -> int:
    """Leave a month of daily runs in a new archive, the same every time, and return how many; raises `SandboxError`.

    Its truth: the disk and the database grow, users' requests are four times as slow since eleven days, and ten days
    in a row the oldest item waited too long, the last of them today.
    """
    if folder.exists() and any(folder.iterdir()):
        raise SandboxError(
            f"{folder} is not empty: name a new folder, so that nothing real stands among what nobody made"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    now = datetime.now(UTC).replace(microsecond=0)
    moments = [now - timedelta(days=DAYS - 1 - day, hours=1) for day in range(DAYS)]
    health = leave_runs(folder, zip(moments, _mornings(), [{}] * DAYS, strict=True), target=target)
    nothing: Mapping[str, pd.DataFrame] = {}
    weekly = [(at, found, nothing) for at, found in zip(moments[::7], list(_sizes())[::7], strict=True)]
    return len(health) + len(leave_runs(folder, weekly, notebook="database-maintenance", target=target))


def _mornings() -> Iterator[list[Finding]]:
    chance = random.Random(7)  # noqa: S311 - the same every time
    for day in range(DAYS):
        slow = 168.0 if day >= DAYS - 11 else 42.0
        waits = 30.0 if day >= DAYS - 10 else 3.0 + math.sin(day)
        yield [
            _measured("api.user_request", "/documents", slow + chance.uniform(-3, 3), "ms"),
            _measured("api.error_rate", "requests", 0.2 + chance.uniform(0, 0.05), "%"),
            _measured("postgres.reachable", "application database", 3.0 + chance.uniform(0, 1), "ms"),
            _measured("postgres.connection_slots", "slots", 5.0 + day % 3, "slots"),
            _measured("host.disk", "/", 60.0 + 0.8 * day, "%"),
            _measured("queue.size", "triage queue", 40.0 + day % 7, "items"),
            _measured("queue.oldest_item", "pending", waits, "h", bad=waits > 24),
        ]


def _sizes() -> Iterator[list[Finding]]:
    for day in range(DAYS):
        yield [
            _measured("postgres.sizes", "database shrimp_annotation", 800.0 + 12 * day, "MiB"),
            _measured("postgres.sizes", "table public.sentences", 300.0 + 9 * day, "MiB"),
        ]


def _measured(check: str, subject: str, value: float, unit: str, *, bad: bool = False) -> Finding:
    return Finding(
        check=check, object=subject, status=Status.WARNING if bad else Status.OK, value=round(value, 2), unit=unit,
        message=f"{value:.1f} {unit}", source="practice: nobody asked this",
    )  # fmt: skip
