"""An archive of many sealed runs, made in a moment: what months of a schedule leave behind."""

import io
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pandas as pd

from runbook.evidence import sealing
from runbook.evidence.archive import archive_id
from runbook.evidence.chain import Chain, Head
from runbook.evidence.keys import signer
from runbook.evidence.seal import sealed
from runbook.evidence.sealing import Ended
from runbook.evidence.statement import Source, digest
from runbook.model import Finding, Findings
from runbook.model.layout import DATA_FOLDER, run_folder
from runbook.model.protocol import RunRecord, plain

_LETTERS = "abcdefghjkmnpqrstuvwxyz"
Left = tuple[datetime, Iterable[Finding], Mapping[str, pd.DataFrame]]


def leave_runs(
    archive: Path, runs: Iterable[Left], *, notebook: str = "morning-health-check", target: str = "sandbox"
) -> list[Path]:
    """Leave a sealed run for each moment with its findings and frames, and return their folders.

    The chain's head is noted once, at the end, and nothing waits for the disk.
    """
    key, own, folders = signer(), archive_id(archive), []
    chain = Chain(archive, own, key)
    end = chain.head()
    kept, sealing.versions = sealing.versions, dict
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
                ended=f"{began + timedelta(seconds=2):%Y-%m-%dT%H:%M:%SZ}", operator="ben",
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
                identity={}, clock_offsets={}, redactions={},
            )  # fmt: skip
            content = sealed(
                sealing._statement(archive, own, chain.writer, ended, run_id)(end.seq + 1, end.digest), key
            )
            (folder / "seal.json").write_bytes(content)
            end = Head(seq=end.seq + 1, digest=digest(content), run_id=run_id)
            folders.append(folder)
    finally:
        sealing.versions = kept
    return folders
