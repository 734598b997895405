"""Measure the folder that a target owns on a machine."""

import os
from pathlib import Path


def folder_size(folder: Path) -> tuple[int, int]:
    """Return the bytes on disk and the number of files and folders below a folder, without what vanishes meanwhile."""
    size = files = 0
    pending = [os.fspath(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    try:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
                    except FileNotFoundError:
                        continue
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except FileNotFoundError:
            continue
    return size, files
