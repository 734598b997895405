"""Which packages are there: in environments of Python, and as requirements and locks name them; none is run."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path

import msgspec
from packaging.requirements import InvalidRequirement, Requirement

from runbook.advisories.osv import normal
from runbook.model import CouldNotFindOut

_METADATA = ("METADATA", "PKG-INFO")
_MORE = ("-r", "--requirement", "-e", "--editable")
_LONGEST = 64 << 10
_LONGEST_FILE = 64 << 20
_MOST = 20_000


@dataclass(frozen=True)
class Package:
    """A package of an ecosystem; ``version`` is "" where a file pins none."""

    ecosystem: str
    name: str
    version: str
    place: str

    @property
    def key(self) -> tuple[str, str]:
        """Return what an advisory knows it by."""
        return self.ecosystem, normal(self.name, self.ecosystem)


def of_environment(folder: Path) -> Iterator[Package]:
    """Yield the packages below a folder that has site-packages, or is such a folder: by their metadata alone."""
    places = [folder, *sorted(folder.glob("lib*/python3*/site-packages")), *sorted(folder.glob("Lib/site-packages"))]
    places += [folder / "dist-packages"] if (folder / "dist-packages").is_dir() else []
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        raise CouldNotFindOut(f"the environment {folder} cannot be read: {error.strerror}") from error
    for place in places:
        for info in sorted([*place.glob("*.dist-info"), *place.glob("*.egg-info")])[:_MOST]:
            found = _named(info)
            if found is not None:
                yield Package("PyPI", *found, str(folder))


def _named(info: Path) -> tuple[str, str] | None:
    for name in _METADATA:
        try:
            with (info / name).open("rb") as file:
                head = BytesHeaderParser().parsebytes(file.read(_LONGEST))
        except OSError:
            continue
        if head["Name"] and head["Version"]:
            return str(head["Name"])[:200].strip(), str(head["Version"])[:100].strip()
    name, _, version = info.name.removesuffix(".dist-info").partition("-")
    return (name, version) if name and version and info.suffix == ".dist-info" else None


def of_requirements(path: Path) -> Iterator[Package]:
    """Yield the packages that a file names: requirements of pip, or a package-lock.json of npm."""
    try:
        if path.stat().st_size > _LONGEST_FILE:
            raise CouldNotFindOut(f"{path} is longer than 64 MiB")
        content = path.read_bytes()
    except OSError as error:
        raise CouldNotFindOut(f"the requirements {path} cannot be read: {error.strerror}") from error
    yield from _of_npm(content, path) if path.suffix == ".json" else _of_pip(content, path)


class _Locked(msgspec.Struct, frozen=True):
    version: str = ""


class _PackageLock(msgspec.Struct, frozen=True):
    packages: dict[str, _Locked]


def _of_npm(content: bytes, path: Path) -> Iterator[Package]:
    try:
        locked = msgspec.json.decode(content, type=_PackageLock).packages
    except (msgspec.DecodeError, RecursionError) as error:
        raise CouldNotFindOut(f"{path} is no package-lock.json of version 2 or 3") from error
    for where, facts in list(locked.items())[:_MOST]:
        name = where.rpartition("node_modules/")[2]
        if name and facts.version:
            yield Package("npm", name, facts.version, str(path))


def _of_pip(content: bytes, path: Path) -> Iterator[Package]:
    lines = content.decode("utf-8", "replace").replace("\\\r\n", " ").replace("\\\n", " ").splitlines()
    for line in lines[:_MOST]:
        text = re.sub(r"(?:^|\s)#.*|\s--(?:hash|config-settings|global-option)\b.*", "", line).strip()
        if not text or (text.startswith("-") and not text.startswith(_MORE)):
            continue
        try:
            wanted = Requirement(text)
        except InvalidRequirement:  # another file, an address, a checkout: something is installed by it
            yield Package("PyPI", text[:100], "", str(path))
            continue
        pins = [one.version for one in wanted.specifier if one.operator in ("==", "===") and "*" not in one.version]
        yield Package("PyPI", wanted.name, pins[0] if pins else "", str(path))
