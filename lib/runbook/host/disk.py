"""Is there room on the disks, for bytes and for files?"""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from runbook.connections import Machine
from runbook.host.share import folder_size
from runbook.model import Asking, Finding, Question, Status, at_most
from runbook.model.units import as_bytes


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each file system or share: host, path, used, total (bytes), files, files_total, problem.

    ``total`` leaves out what only root may use, as df does for its percentage. ``files_total`` is 0 where the file
    system sets no limit.
    """
    machine = asking.connection(Machine)
    share = machine.host.share
    if share is not None:
        size, files = folder_size(share.folder)
        totals = {"total": share.disk_bytes, "files_total": share.files}
        rows = [{"path": "its share", "used": size, "files": files, "problem": "", **totals}]
    else:
        rows = [_file_system(path) for path in machine.host.paths]
    return pd.DataFrame([{"host": machine.label, **row} for row in rows])


def _file_system(path: Path) -> dict[str, Any]:
    try:
        usage, inodes = psutil.disk_usage(str(path)), os.statvfs(path)
    except OSError as error:
        empty = dict.fromkeys(("used", "total", "files", "files_total"), 0)
        return {"path": str(path), **empty, "problem": error.strerror or type(error).__name__}
    return {
        "path": str(path),
        "used": usage.used,
        "total": usage.used + usage.free,
        "files": inodes.f_files - inodes.f_ffree,
        "files_total": inodes.f_files,
        "problem": "",
    }


def check(frame: pd.DataFrame, *, warning: float = 80, critical: float = 90) -> list[Finding]:
    """Judge bytes and files, each as a share of what there is (%).

    A disk without free inodes refuses new files with room to spare. At 90% a file system of ordinary size has hours to
    days left, and PostgreSQL stops at 100%.
    """
    findings = []
    for row in frame.to_dict("records"):
        where = f"{row['host']} {row['path']}"
        if row["problem"]:
            message = f"cannot be looked at: {row['problem']}"
            findings.append(Finding(object=where, status=Status.UNKNOWN, message=message))
            continue
        share = 100 * row["used"] / row["total"] if row["total"] else None
        message = f"{as_bytes(row['used'])} of {as_bytes(row['total'])} used"
        findings.append(at_most(f"{where} space", share, warning, critical, unit="%", message=message))
        if row["files_total"]:
            share = 100 * row["files"] / row["files_total"]
            message = f"{row['files']} of {row['files_total']} files (inodes) used"
            findings.append(at_most(f"{where} inodes", share, warning, critical, unit="%", message=message))
    return findings


disk = Question(
    name="host.disk",
    title="Is there room on the disks?",
    probe=probe,
    check=check,
    source="df -h; df -i",
    needs=(Machine,),
    next="find what grew (du -xh --max-depth=2); PostgreSQL's own files are never to be deleted by hand",
)
