"""Measure the part of a machine that a target owns: a folder, and the processes that work in it."""

import os
from pathlib import Path

import psutil


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


def processes(folder: Path) -> list[psutil.Process]:
    """Return the processes whose working folder lies in a folder."""
    found = []
    inside = os.path.realpath(folder)
    for process in psutil.process_iter():
        try:
            cwd = process.cwd()
        except psutil.Error:
            continue
        if cwd == inside or cwd.startswith(inside + os.sep):
            found.append(process)
    return found
