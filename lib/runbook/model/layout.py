"""Ids of runs, and where the parts of a run lie in its folder."""

import re
import secrets
from datetime import datetime
from pathlib import Path

NOTEBOOK_FILE = "notebook.ipynb"
RECORD_FILE = "run.json"
REPORT_FILE = "report.html"
DATA_FOLDER = "data"
# An entry of an incident lies among the runs, under this name instead of a notebook's.
ENTRY_NAME, ENTRY_FILE = "incident", "incident.json"
# So does a baseline: what lay in the trees of a target when somebody declared it good, and the list of it.
BASELINE_NAME, BASELINE_FILE, LISTING_FILE = "baseline", "baseline.json", "listing.jsonl.gz"

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_RUN_ID = re.compile(r"run_[0-9]{8}T[0-9]{6}Z_[a-z0-9-]{1,80}_[a-z2-9]{6}")


def new_run_id(notebook: str, at: datetime) -> str:
    """Return an id that sorts by time, says the notebook and begins with letters (papermill turns 0123 into 123)."""
    tail = "".join(secrets.choice(ALPHABET) for _ in range(6))
    name = re.sub(r"[^a-z0-9-]+", "-", notebook.lower())[:80]
    return f"run_{at:%Y%m%dT%H%M%SZ}_{name}_{tail}"


def is_run_id(text: str) -> bool:
    """Tell whether a text is the id of a run."""
    return _RUN_ID.fullmatch(text) is not None


def is_entry_id(run_id: str) -> bool:
    """Tell whether the id is that of an incident's entry: one that has the form of a run's and that name in it."""
    return run_id[21:-7] == ENTRY_NAME


def is_baseline_id(run_id: str) -> bool:
    """Tell whether the id is that of a baseline: one that has the form of a run's and that name in it."""
    return run_id[21:-7] == BASELINE_NAME


def run_folder(archive: Path, run_id: str) -> Path:
    """Return the folder of a run: ``runs/YYYY-MM/RUN_ID``; raises ValueError for what is no run id."""
    if not is_run_id(run_id):
        raise ValueError(f"not a run id: {run_id!r}")
    return archive / "runs" / f"{run_id[4:8]}-{run_id[8:10]}" / run_id


def page_of(run_id: str, served: str) -> str:
    """Return where a run's page is seen, in an archive that is ``served`` under an address."""
    return f"{served.rstrip('/')}/runs/{run_id[4:8]}-{run_id[8:10]}/{run_id}/{REPORT_FILE}"


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, each for this user alone.

    The mode that `Path.mkdir` takes is that of the last folder only: the others would show everybody what ran when.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
