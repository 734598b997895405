"""Quantities as Kubernetes writes them: 500m, 512Mi, 180000000n, 2."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

_SUFFIXES = {
    "": 1.0, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([a-zA-Z]*)")


def number(text: Any) -> float:
    """Return a quantity in its unit: processors, or bytes; NaN for none and for what is no quantity."""
    match = _QUANTITY.fullmatch(str(text)) if text is not None else None
    if match is None or match[2] not in _SUFFIXES:
        return math.nan
    try:
        return float(match[1]) * _SUFFIXES[match[2]]
    except ValueError:
        return math.nan


def together(containers: Iterable[Mapping[str, Any]], which: str, resource: str) -> float:
    """Return what the containers of a pod are given together, ``which`` being requests or limits.

    NaN where one of them is given none: then nothing is known of the pod.
    """
    given = [number(((one.get("resources") or {}).get(which) or {}).get(resource)) for one in containers]
    return math.fsum(given) if given else math.nan
