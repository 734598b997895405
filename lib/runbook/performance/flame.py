"""A flame graph that is a picture and nothing else: SVG without a script, each box with its name as its tooltip."""

import html
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from runbook.model import Answer
from runbook.model.text import printable

_WIDTH, _ROW, _TOP = 980, 17, 26
_LETTER = 6.2
_LEAST = 1.0  # pixels: a narrower box shows nothing
_MOST = 1500
_DEEPEST = 60


@dataclass
class _Box:
    name: str
    samples: int = 0
    inside: dict[str, "_Box"] = field(default_factory=dict)


class Flame:
    """Where the service's Python computes: each box is a function, as wide as the time in it and in all that it calls,
    which stands upon it.
    """

    def __init__(self, answer: Answer) -> None:
        self._frame = answer.frame if answer.frame is not None else pd.DataFrame({"stack": [], "samples": []})
        self._looks = int(self._frame.attrs.get("looks", 0))

    def text(self) -> str:
        """Return in one line what it shows."""
        return "flame graph: where the service's Python computes, by function and what it calls"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/plain": self.text(), "image/svg+xml": self.svg()}

    def svg(self) -> str:
        """Return the picture."""
        root = _tree(self._frame)
        boxes = [box for box in _boxes(root, 0.0, float(_WIDTH), 0) if box[2] >= _LEAST][:_MOST]
        depth = max((row for *_, row in boxes), default=0)
        height = _TOP + (depth + 1) * _ROW + 6
        computed = 100 * root.samples / self._looks if self._looks else 0.0
        title = (
            f"computing in {computed:.0f}% of {self._looks} samples; width: share of that"
            if root.samples
            else (f"nothing computed in {self._looks} samples" if self._looks else "no profile")
        )
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
            f'viewBox="0 0 {_WIDTH} {height}" font-family="monospace" font-size="10">',
            f'<text x="2" y="14" font-size="12">{html.escape(title)}</text>',
        ]
        for box, left, width, row in boxes:
            parts.append(_drawn(box, left, width, height - 6 - (row + 1) * _ROW, root.samples))
        return "\n".join([*parts, "</svg>"])


def _tree(frame: pd.DataFrame) -> _Box:
    root = _Box("all")
    for row in frame.to_dict("records"):
        root.samples += int(row["samples"])
        at = root
        for name in str(row["stack"]).split(";")[:_DEEPEST]:
            at = at.inside.setdefault(name, _Box(name))
            at.samples += int(row["samples"])
    return root


def _boxes(box: _Box, left: float, width: float, row: int) -> Iterator[tuple[_Box, float, float, int]]:
    if not box.samples:
        return
    yield box, left, width, row
    for inside in sorted(box.inside.values(), key=lambda one: one.name):
        own = width * inside.samples / box.samples
        yield from _boxes(inside, left, own, row + 1)
        left += own


def _drawn(box: _Box, left: float, width: float, top: float, total: int) -> str:
    name = printable(box.name)
    letters = int((width - 4) / _LETTER)
    shown = name if len(name) <= letters else f"{name[: letters - 1]}…" if letters >= 3 else ""
    told = html.escape(f"{name}: {100 * box.samples / total:.1f}%")
    warm = zlib.crc32(name.partition(" (")[0].encode()) % 90
    text = f'<text x="{left + 2:.1f}" y="{top + 12:.0f}">{html.escape(shown)}</text>' if shown else ""
    return (
        f'<g><title>{told}</title><rect x="{left:.1f}" y="{top:.0f}" width="{max(width - 0.5, 0.5):.1f}" '
        f'height="{_ROW - 1}" fill="rgb(235,{120 + warm},{60 + warm // 3})"/>{text}</g>'
    )
