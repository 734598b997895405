"""What of the archive is served: its pages, records and data by their own names, and nothing else that lies there."""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runbook.evidence.archive import INDEX_FILE
from runbook.evidence.fleet_page import FLEET_FILE
from runbook.evidence.index import CACHE_FILE
from runbook.evidence.page import part, source_digest

_RUN = r"runs/[0-9]{4}-[0-9]{2}/run_[0-9]{8}T[0-9]{6}Z_[a-z0-9-]{1,80}_[a-z2-9]{6}"
_FILES = r"report\.html|run\.json|incident\.json|baseline\.json|seal\.json|notebook\.ipynb|post-mortem\.(?:html|pdf)"
_SERVED = re.compile(
    rf"index\.(?:html|json)|fleet\.html|incidents/inc_[0-9]{{8}}_[a-z2-9]{{6}}\.html"
    rf"|{_RUN}/(?:{_FILES}|data/[0-9]{{3,6}}-[a-z0-9_.-]{{1,200}}\.parquet)",
    re.ASCII,
)
assert INDEX_FILE == "index.html" and CACHE_FILE == "index.json" and FLEET_FILE == "fleet.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".ipynb": "application/x-ipynb+json",
    ".parquet": "application/vnd.apache.parquet",
    ".pdf": "application/pdf",
}
# What a browser shows; the rest it keeps as files.
_SHOWN = {".html", ".json"}
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"
_BLOCK = 1 << 16


class NotServed(Exception):
    """There is no such file in the archive that is served."""


@dataclass(frozen=True)
class Opened:
    """A file of the archive, open: how long it is, and how it is to be sent."""

    descriptor: int
    length: int
    headers: dict[str, str]

    def blocks(self) -> Iterator[bytes]:
        """Yield what the file holds, as long as it was when it was opened."""
        left = self.length
        while left > 0 and (block := os.read(self.descriptor, min(left, _BLOCK))):
            left -= len(block)
            yield block

    def close(self) -> None:
        """Let go of the file."""
        os.close(self.descriptor)


def open_served(archive: Path, path: str) -> Opened:
    """Open a file of the archive by its path from there; raises `NotServed`.

    No step of it may be a link: whatever somebody puts into the archive, what lies outside is not reached.
    """
    name = path or INDEX_FILE
    if not _SERVED.fullmatch(name):
        raise NotServed
    *folders, file = name.split("/")
    place = -1
    try:
        place = os.open(archive, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for folder in folders:
            inner = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
            os.close(place)
            place = inner
        # Without waiting: a pipe that somebody put there would keep this waiting for ever.
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=place)
    except OSError as error:
        raise NotServed from error
    finally:
        if place >= 0:
            os.close(place)
    found = os.fstat(opened)
    if not stat.S_ISREG(found.st_mode):
        os.close(opened)
        raise NotServed
    return Opened(opened, found.st_size, _headers(name))


def _headers(name: str) -> dict[str, str]:
    kind = Path(name).suffix
    headers = {"content-type": _TYPES[kind], "content-security-policy": NOTHING}
    if kind == ".html":
        headers["content-security-policy"] = _page_policy(part("index.js") if name == INDEX_FILE else "")
    if kind not in _SHOWN:
        file = "-".join(name.split("/")[2:])
        headers["content-disposition"] = f'attachment; filename="{file}"'
    return headers


def _page_policy(script: str) -> str:
    """Return what a browser may do with a page: each page names in itself what is its own, and no more than that."""
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            "style-src 'unsafe-inline'",
            f"script-src {source_digest(script)}" if script else "script-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
