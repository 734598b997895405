"""A package of a sandbox's own, and advisories about it: one that it has left behind, one that it has not met."""

import json
from datetime import UTC, datetime

from runbook_sandbox.place import Place

NAME, VULNERABLE, MENDED = "shrimp-practice", "1.0.3", "1.1.0"
_ADVISORIES, _PACKAGES = "advisories", "site-packages"


def write_packages(place: Place) -> None:
    """Write the package, in the version that is well, and the advisories, as of today."""
    folder = place.folder / _ADVISORIES
    folder.mkdir(mode=0o700)
    (place.folder / _PACKAGES).mkdir(mode=0o700)
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    for name, introduced, fixed in (("PRACTICE-2026-1", "0", MENDED), ("PRACTICE-2026-2", "2.0", "2.0.1")):
        told = {
            "id": name,
            "modified": now,
            "summary": "an advisory that was made up for practice",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": NAME},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": introduced}, {"fixed": fixed}]}],
                }
            ],
            "database_specific": {"severity": "HIGH"},
        }
        (folder / f"{name}.json").write_text(json.dumps(told))
    set_version(place, MENDED)


def set_version(place: Place, version: str) -> None:
    """Have the package be there in a version."""
    info = place.folder / _PACKAGES / f"{NAME.replace('-', '_')}.dist-info"
    info.mkdir(exist_ok=True, mode=0o700)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {version}\n")


def packages_section(place: Place) -> str:
    """Return the section of the profile that names both."""
    return f'[advisories]\nfiles = ["{place.folder / _ADVISORIES}"]\nenvironments = ["{place.folder / _PACKAGES}"]\n\n'
