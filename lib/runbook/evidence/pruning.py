"""Remove the files of old runs, by a plan that is confirmed; their seals stay, so that the chain still verifies."""

import hashlib
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from runbook.evidence.baselines import superseded
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.verify import Verified
from runbook.model import UsageError
from runbook.model.layout import DATA_FOLDER, is_baseline_id, is_entry_id, run_folder


class PruningPlan(msgspec.Struct, frozen=True):
    """Which runs are to lose their files, and how many bytes that frees; ``token`` confirms just this list."""

    run_ids: list[str]
    bytes: int
    token: str


def plan_pruning(archive: Path, verified: Verified, days: int, now: datetime) -> PruningPlan:
    """Return what pruning everything older than some days would remove; raises `UsageError` where that is nothing.

    Runs that were interrupted have no seal that could stay, and are left alone; so are the entries of incidents, which
    are the story itself and take no room, and the newest baseline of each target.
    """
    before = f"{now - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
    former = superseded(run.facts for run in verified.runs.values())
    kept = {run_id for run_id, run in verified.runs.items() if run.pruned or is_entry_id(run_id)}
    kept |= {run_id for run_id in verified.runs if is_baseline_id(run_id) and run_id not in former}
    old = [run_id for run_id, run in verified.runs.items() if run_id not in kept and run.facts.ended < before]
    if not old:
        raise UsageError(f"no sealed run is older than {days} days: there is nothing to prune")
    size = sum(path.stat().st_size for run_id in old for path in _files(run_folder(archive, run_id)))
    seals = "\n".join(verified.runs[run_id].digest for run_id in old)
    return PruningPlan(old, size, "pln_" + hashlib.sha256(seals.encode()).hexdigest()[:16])


def remove_files(archive: Path, run_ids: list[str]) -> None:
    """Remove the files of runs, but for their seals; called when the seal that names them is on the disk."""
    for run_id in run_ids:
        folder = run_folder(archive, run_id)
        for path in _files(folder):
            path.unlink()
        if (folder / DATA_FOLDER).is_dir():
            (folder / DATA_FOLDER).rmdir()


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SEAL_FILE]
