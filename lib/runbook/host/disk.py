"""Is there room on the disks, for bytes and for files?"""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import psutil

from runbook.connections import Machine
from runbook.connections.elsewhere import Elsewhere, told
from runbook.connections.exporters import NOTHING_KNOWN, newest
from runbook.host.seen import Row, by_exporters, from_inside, query
from runbook.host.share import folder_size
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most
from runbook.model.units import as_bytes
from runbook.procfs.machine import FILE_SYSTEM, file_systems

_EMPTY = {"path": "file systems", "used": 0, "total": 0, "files": 0, "files_total": 0}


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each file system or share: host, path, used, total (bytes), files, files_total, problem; of
    another machine than this also source (what was asked for it).

    ``total`` leaves out what only root may use, as df does for its percentage. ``files_total`` is 0 where the file
    system sets no limit.
    """
    machine = asking.connection(Machine)
    share = machine.host.share
    if machine.elsewhere:
        return pd.DataFrame(from_inside(machine, partial(_inside, paths=machine.host.paths), _EMPTY))
    if machine.watcher is not None:
        return pd.DataFrame(_by_exporters(machine))
    if share is not None:
        size, files = folder_size(share.folder)
        totals = {"total": share.disk_bytes, "files_total": share.files}
        rows = [{"path": "its share", "used": size, "files": files, "problem": "", **totals}]
    else:
        rows = [_file_system(path) for path in machine.host.paths]
    return pd.DataFrame([{"host": machine.label, **row} for row in rows])


def _inside(place: Elsewhere, paths: Sequence[Path]) -> list[Row]:
    wanted = [str(path) for path in paths]
    argv = ("stat", "-f", "-c", FILE_SYSTEM, *wanted)
    ended = place.call(argv)
    if ended.lacks_program:
        raise CouldNotFindOut(f"there is no program stat: {told(ended)}")
    found, complaints, rows = file_systems(ended.text), ended.err.splitlines(), []
    for path in wanted:
        row = dict(_EMPTY, path=path, source=place.shown(argv))
        if path in found:
            row |= asdict(found[path])
        else:
            # The last words are the reason: stat: cannot read file system information for '/x': No such file …
            words = next((line for line in complaints if f"{path}'" in line or f"{path}:" in line), told(ended))
            row["problem"] = words.rpartition(": ")[2]
        rows.append(row)
    return rows


def _by_exporters(machine: Machine) -> list[Row]:
    rows, source = [], query(machine, "disk")
    for instance, series in by_exporters(machine, "disk").items():
        mounted = sorted({one.labels.get("mountpoint", "") for one in series})
        if not mounted:
            rows.append({"host": instance, **_EMPTY, "problem": NOTHING_KNOWN, "source": source})
        for path in mounted:
            size, free, available, files, files_free = (
                newest(series, f"node_filesystem_{name}", mountpoint=path)
                for name in ("size_bytes", "free_bytes", "avail_bytes", "files", "files_free")
            )
            row = {"host": instance, "path": path, "used": size - free, "total": size - free + available}
            counts = {"files": files - files_free, "files_total": files}
            known = {name: 0 if math.isnan(value) else value for name, value in counts.items()}
            problem = "Prometheus has no size of it" if math.isnan(size - free + available) else ""
            rows.append({**row, **known, "problem": problem, "source": source})
    return rows


def _file_system(path: Path) -> dict[str, Any]:
    try:
        usage, inodes = psutil.disk_usage(str(path)), os.statvfs(path)
    except OSError as error:
        return {**_EMPTY, "path": str(path), "problem": error.strerror or type(error).__name__}
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
        where, source = f"{row['host']} {row['path']}", row.get("source", "")
        if row["problem"]:
            message = f"cannot be looked at: {row['problem']}"
            findings.append(Finding(object=where, status=Status.UNKNOWN, message=message, source=source))
            continue
        found = []
        share = 100 * row["used"] / row["total"] if row["total"] else None
        message = f"{as_bytes(row['used'])} of {as_bytes(row['total'])} used"
        found.append(at_most(f"{where} space", share, warning, critical, unit="%", message=message))
        if row["files_total"]:
            share = 100 * row["files"] / row["files_total"]
            message = f"{row['files']:.0f} of {row['files_total']:.0f} files (inodes) used"
            found.append(at_most(f"{where} inodes", share, warning, critical, unit="%", message=message))
        findings += [msgspec.structs.replace(one, source=source) for one in found]
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
