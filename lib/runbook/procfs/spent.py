"""How much of the processors did processes of this machine use?"""

from collections.abc import Iterable

import psutil


def processor_seconds(processes: Iterable[psutil.Process]) -> dict[int, float]:
    """Return how many seconds of a processor each process has used, by pid; those that are gone are left out."""
    used = {}
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        used[process.pid] = times.user + times.system
    return used
