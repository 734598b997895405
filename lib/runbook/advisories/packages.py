"""Is a package of the service known to be vulnerable?"""

from collections.abc import Iterator
from typing import Any

import pandas as pd
from packaging.version import InvalidVersion, Version

from runbook.advisories.affected import fixed_in, is_affected
from runbook.advisories.database import HOW
from runbook.advisories.installed import Package, of_environment, of_requirements
from runbook.advisories.osv import READ_SECONDS, Advisory, read
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.units import counted

_SEVERE = ("HIGH", "CRITICAL")
_MOST, _SHOWN = 9, 4
COLUMNS = ["package", "version", "ecosystem", "place", "advisories", "severity", "fixed", "summary"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each package that an advisory is about: package, version, ecosystem, place, advisories (their
    names), severity (the worst; "" where none tells), fixed (the version in which all are mended; "" where one is not),
    summary (of the worst).

    Looked at are the environments and the files of requirements that the profile names. attrs hold ``packages`` (how
    many), ``known`` (advisories), ``unpinned`` (packages of which a file pins no version), ``incomparable`` and
    ``problems`` (what could not be read).
    """
    named = asking.target.advisories
    if named is None or not named.files:
        raise CouldNotFindOut(HOW)
    if not (named.environments or named.requirements):
        raise CouldNotFindOut("the profile names no packages to look at ([advisories] environments, requirements)")
    packages, problems = _packages(named.environments, named.requirements)
    found = read(named.files, frozenset(package.key for package in packages))
    rows, incomparable = [], []
    for package in _once(packages):
        own = []
        for one in found.by_package.get(package.key, ()):
            try:
                own += [one] if is_affected(package.version, one) else []
            except InvalidVersion:  # of the package, or in this advisory: the others are still compared
                incomparable.append(f"{package.name} {package.version}")
        rows += [_row(package, own)] if own else []
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {
        "packages": len({(one.key, one.version) for one in packages}),
        "known": found.count,
        "unpinned": sorted({one.name for one in packages if not one.version}),
        "incomparable": list(dict.fromkeys(incomparable)),
        "problems": problems,
    }
    return frame


def _packages(environments: Any, requirements: Any) -> tuple[list[Package], list[str]]:
    packages: list[Package] = []
    problems: list[str] = []
    sources: list[tuple[Any, Iterator[Package]]] = [(path, of_environment(path)) for path in environments]
    sources += [(path, of_requirements(path)) for path in requirements]
    for path, source in sources:
        try:
            found = list(source)
        except CouldNotFindOut as reason:
            problems.append(str(reason))
            continue
        if not found:
            problems.append(f"{path} names no package")
        packages += found
    return packages, problems


def _once(packages: list[Package]) -> list[Package]:
    """Return each package and version once, with all the places that it is in."""
    places: dict[tuple[tuple[str, str], str], list[Package]] = {}
    for package in packages:
        if package.version:
            places.setdefault((package.key, package.version), []).append(package)
    once = []
    for _, same in sorted(places.items()):
        where = sorted({one.place for one in same})
        shown = " and ".join(where[:2]) + (f" and {len(where) - 2} more" if len(where) > 2 else "")
        once.append(Package(same[0].ecosystem, same[0].name, same[0].version, shown))
    return once


def _row(package: Package, own: list[Advisory]) -> dict[str, Any]:
    order = ("CRITICAL", "HIGH", "MODERATE", "MEDIUM", "LOW", "")
    worst = min(own, key=lambda one: order.index(one.severity))
    fixes = [fixed_in(package.version, one) for one in own]
    return {
        "package": package.name,
        "version": package.version,
        "ecosystem": package.ecosystem,
        "place": package.place,
        "advisories": ", ".join(sorted({one.id for one in own})),
        "severity": worst.severity,
        "fixed": str(max(map(Version, fixes))) if all(fixes) else "",
        "summary": worst.summary,
    }


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each package by the worst of its advisories: CRITICAL for high and critical ones, WARNING for others and
    for those that tell no severity.
    """
    attrs = frame.attrs
    findings = [_judged(row) for row in frame.to_dict("records")]
    findings.sort(key=lambda one: one.status.severity)
    told = first_of(findings, "packages", _MOST)
    if not findings and attrs["packages"]:
        message = f"none of {counted(attrs['packages'], 'package')} is named by any of {attrs['known']:,} advisories"
        told.append(Finding(object="packages", status=Status.OK, message=message, value=float(attrs["packages"])))
    problems = [*attrs["problems"]]
    problems += [_some(attrs["unpinned"], "of which no version is pinned")] if attrs["unpinned"] else []
    problems += [_some(attrs["incomparable"], "whose version cannot be compared")] if attrs["incomparable"] else []
    if problems or not attrs["packages"]:
        message = "; ".join(problems[:3]) or "there was no package to look at"
        told.append(Finding(object="not looked at", status=Status.UNKNOWN, message=message))
    return told


def _some(names: list[str], what: str) -> str:
    more = " …" if len(names) > _SHOWN else ""
    return f"{counted(len(names), 'package')} {what}: {', '.join(names[:_SHOWN])}{more}"


def _judged(row: dict[Any, Any]) -> Finding:
    names = str(row["advisories"]).split(", ")
    listed = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    severity = str(row["severity"]).lower() or "severity not told"
    message = f"{listed} ({severity}): {row['summary'] or 'no summary'}; found in {row['place']}"
    after = (
        f"update it to {row['fixed']} or later" if row["fixed"] else "no version mends all of it: replace or confine it"
    )
    return Finding(
        object=f"{row['package']} {row['version']}",
        status=Status.CRITICAL if row["severity"] in _SEVERE else Status.WARNING,
        message=message,
        value=str(row["version"]),
        next=after,
    )


packages = Question(
    name="advisories.packages",
    title="Is a package of the service known to be vulnerable?",
    probe=probe,
    check=check,
    source="the packages of the environments and files that the profile names, compared with its advisories (OSV); "
    "https://osv.dev/list?q=PACKAGE shows one",
    deadline=READ_SECONDS + 10,
    next="update it, run the tests, and have the containers made anew",
)
