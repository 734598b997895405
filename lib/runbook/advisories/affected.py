"""Tell whether a version of a package is one that an advisory is about."""

from collections.abc import Iterable

from packaging.version import InvalidVersion, Version

from runbook.advisories.osv import Advisory, Range


def is_affected(version: str, advisory: Advisory) -> bool:
    """Tell whether an advisory is about a version; raises `InvalidVersion` where that cannot be compared.

    As OSV says: one that is listed is affected; else the last event of a range before it decides.
    """
    if version in advisory.versions:
        return True
    ranges = [one for one in advisory.ranges if one.type in ("ECOSYSTEM", "SEMVER")]
    if not ranges and not advisory.versions:
        return True  # about the package as such, such as one that was made to do harm
    own = Version(version)
    if any(listed == own for listed in _readable(advisory.versions)):
        return True
    return any(_is_within(own, one) for one in ranges)


def _is_within(own: Version, one: Range) -> bool:
    within = False
    for at, kind in sorted(_events(one), key=lambda event: (event[0], event[1] != "introduced")):
        if kind == "introduced" and own >= at:
            within = True
        elif (kind in ("fixed", "limit") and own >= at) or (kind == "last_affected" and own > at):
            within = False
    return within


def _events(one: Range) -> Iterable[tuple[Version, str]]:
    for event in one.events:
        for kind, text in event.items():
            if kind == "limit" and text == "*":
                continue
            yield Version("0.dev0" if text == "0" else text), kind


def _readable(texts: Iterable[str]) -> Iterable[Version]:
    for text in texts:
        try:
            yield Version(text)
        except InvalidVersion:
            continue


def fixed_in(version: str, advisory: Advisory) -> str:
    """Return the first version after one in which what an advisory tells of is mended; "" where it names none."""
    own = Version(version)
    named = [event.get("fixed", "") for one in advisory.ranges for event in one.events]
    later = [at for at in _readable(named) if at > own]
    return str(min(later)) if later else ""
