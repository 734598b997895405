"""What a checkout of the service says about its connection pool: in its environment files, its settings, its code."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# What is searched, the strongest first: the environment wins over what is written in the code.
_KINDS = (
    re.compile(r"\.env(\..*)?$"),
    re.compile(r"(docker-)?compose.*\.ya?ml$|.*\.ya?ml$"),
    re.compile(r"Dockerfile.*$|.*\.(sh|toml|ini|cfg|conf)$"),
    re.compile(r".*\.py$"),
)
_SKIPPED = {".git", "node_modules", ".venv", "venv", "__pycache__", "site-packages", "tests", "build", "dist"}
_SAMPLES = re.compile(r"example|sample|template", re.IGNORECASE)
_NUMBER = r"[\"']?\s*[=:]\s*(?:int\()?[\"']?(\d{1,5})\b"
# Also as a default: os.getenv("DB_POOL_SIZE", "20") and ${DB_POOL_SIZE:-20}.
_DEFAULT = r"[\"']\s*,\s*[\"']?(\d{1,5})\b"
_SHELL = r":-(\d{1,5})\}"
_NAMES = {
    "pool_size": r"(?:DB_|DATABASE_|SQLALCHEMY_)?pool_size",
    "max_overflow": r"(?:DB_|DATABASE_|SQLALCHEMY_)?max_overflow",
    "workers": r"(?:API_|WEB_|UVICORN_|GUNICORN_)?workers|WEB_CONCURRENCY",
    "replicas": r"replicas",
}
_PATTERNS = {
    name: re.compile(
        rf"(?<![\w.])(?:{words})(?:{_NUMBER}|{_DEFAULT}|{_SHELL})"
        + (r"|--workers[ =](\d{1,5})\b" if name == "workers" else ""),
        re.IGNORECASE,
    )
    for name, words in _NAMES.items()
}
MOST_FILES, MOST_BYTES = 5000, 1 << 20


@dataclass(frozen=True)
class Setting:
    """A setting as it stands in a checkout: its value, and where (file and line, from the checkout's folder)."""

    value: int
    where: str


def settings(checkout: Path) -> dict[str, list[Setting]]:
    """Return what a checkout says of workers, pool_size, max_overflow and replicas, the strongest place first.

    A setting that stands nowhere is not in it. Files that are named as samples are left out, and what is commented out.
    Raises `OSError` where the folder cannot be read.
    """
    found: dict[str, list[Setting]] = {}
    for path in _files(checkout):
        try:
            text = path.read_bytes()[:MOST_BYTES].decode("utf-8", "replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if line.lstrip().startswith(("#", "//")):
                continue
            for name, pattern in _PATTERNS.items():
                match = pattern.search(line)
                if match:
                    value = next(part for part in match.groups() if part is not None)
                    place = f"{path.relative_to(checkout)}:{number}"
                    found.setdefault(name, []).append(Setting(int(value), place))
    return found


def _files(checkout: Path) -> list[Path]:
    """Return the files to search, the strongest kind first."""
    kinds: list[list[Path]] = [[] for _ in _KINDS]
    for count, path in enumerate(_walk(checkout)):
        if count >= MOST_FILES:
            break
        if not _SAMPLES.search(path.name):
            kind = next((place for place, name in enumerate(_KINDS) if name.fullmatch(path.name)), None)
            if kind is not None:
                kinds[kind].append(path)
    return [path for kind in kinds for path in sorted(kind)]


def _walk(checkout: Path) -> Iterator[Path]:
    next(checkout.iterdir(), None)  # raises where there is nothing to read; the walk itself keeps silent
    for folder, folders, names in os.walk(checkout):
        folders[:] = sorted(set(folders) - _SKIPPED)
        yield from (Path(folder, name) for name in sorted(names))
