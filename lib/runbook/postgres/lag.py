"""Judge how far a standby is behind, by time and by bytes: each of them alone can say nothing."""

import pandas as pd

from runbook.model import Finding, Status, at_most
from runbook.model.units import as_bytes

MIB = 1 << 20


def judge_lag(
    obj: str,
    size: float | None,
    seconds: float | None,
    *,
    message: str,
    warning: float,
    critical: float,
    warning_mib: float,
    critical_mib: float,
) -> Finding:
    """Return the worse of two findings: on the bytes that wait (limits in MiB), and on the seconds (None: idle)."""
    in_bytes = None if size is None or pd.isna(size) else size / MIB
    by_size = at_most(obj, in_bytes, warning_mib, critical_mib, unit="MiB", message=message)
    # A lag of seconds without bytes is that of the last transaction before the primary fell idle.
    if seconds is None or pd.isna(seconds) or not in_bytes:
        return by_size
    told = f"{message}; the last change took {seconds:.1f} s to be seen" if seconds > warning else message
    by_time = at_most(obj, float(seconds), warning, critical, unit="s", message=told)
    order = (Status.OK, Status.WARNING, Status.UNKNOWN, Status.CRITICAL)
    return by_time if order.index(by_time.status) > order.index(by_size.status) else by_size


def behind(size: float | None) -> str:
    """Return in words how far behind something is."""
    return "by how much is not known" if size is None or pd.isna(size) else f"{as_bytes(size)} behind"
