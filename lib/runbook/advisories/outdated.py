"""Of which dependencies is there a newer version?"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pandas as pd

from runbook.advisories.installed import of_environment
from runbook.connections.programs import last_words
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.units import counted

SECONDS = 120.0
COLUMNS = ["place", "kind", "package", "installed", "newest", "major"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each dependency that has a newer version: place, kind (pip, npm), package, installed, newest,
    major (whether its first number is another one).

    Asked are pip for the profile's environments and npm for the folders of its package-lock.json, at the index that
    each is configured for. attrs hold ``looked`` (how many packages an index knew, by place) and ``unknown`` (why a
    place could not be asked). An index that does not answer is not told by pip, which then lists nothing: what it says
    to be current counts as well, and where it knows nothing at all nothing is known.
    """
    named = asking.target.advisories
    if named is None or not (named.environments or named.requirements):
        raise CouldNotFindOut("the profile names no environments or requirements in [advisories]")
    end = time.monotonic() + (asking.target.deadlines.question or SECONDS) * 0.9
    rows, looked, unknown = list[tuple[Any, ...]](), dict[str, int](), dict[str, str]()
    for path in named.environments:
        try:
            of_place, looked[str(path)] = _by_pip(path, end)
            rows += of_place
        except CouldNotFindOut as why:
            unknown[str(path)] = str(why)
    for path in [one for one in named.requirements if one.name == "package-lock.json"]:
        try:
            of_place, looked[str(path.parent)] = _by_npm(path.parent, end)
            rows += of_place
        except CouldNotFindOut as why:
            unknown[str(path.parent)] = str(why)
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {"looked": looked, "unknown": unknown}
    return frame


def _by_pip(path: Path, end: float) -> tuple[list[tuple[Any, ...]], int]:
    pip = shutil.which("pip") or shutil.which("pip3")
    if pip is None:
        raise CouldNotFindOut("pip is not on this machine, which knows what is newer")
    places = [path, *sorted(path.glob("lib*/python3*/site-packages"))]
    argv = [pip, "list", "--path", os.fspath(places[-1]), "--format", "json", "--timeout", "5", "--retries", "0",
            "--disable-pip-version-check", "--no-input"]  # fmt: skip
    newer, current = (_told([*argv, which], end, path) for which in ("--outdated", "--uptodate"))
    there = sum(1 for _ in of_environment(path))
    if there and not newer and not current:
        raise CouldNotFindOut(
            f"the index told nothing of its {counted(there, 'package')}: it does not answer, or is another"
        )
    rows = [
        (str(path), "pip", one["name"], one["version"], one["latest_version"],
         _major(one["version"]) != _major(one["latest_version"])) for one in newer
    ]  # fmt: skip
    return rows, len(newer) + len(current)


def _by_npm(folder: Path, end: float) -> tuple[list[tuple[Any, ...]], int]:
    npm = shutil.which("npm")
    if npm is None:
        raise CouldNotFindOut("npm is not on this machine, which knows what is newer")
    # It ends with 1 where something is outdated, and where it could not ask.
    told = _told([npm, "outdated", "--json", "--package-lock-only"], end, folder, fine=(0, 1), cwd=folder)
    if isinstance(told, dict) and "error" in told:
        raise CouldNotFindOut(f"npm could not ask: {str(told['error'].get('summary', ''))[:200]}")
    rows = []
    for name, about in (told or {}).items():
        one = about[0] if isinstance(about, list) else about
        installed = str(one.get("current") or one.get("wanted") or "?")
        newest = str(one.get("latest") or "?")
        rows.append((str(folder), "npm", name, installed, newest, _major(installed) != _major(newest)))
    return rows, max(1, len(rows))


def _told(argv: list[str], end: float, of: Path, *, fine: tuple[int, ...] = (0,), cwd: Path | None = None) -> Any:
    left = end - time.monotonic()
    if left < 1:
        raise CouldNotFindOut("there was no time left to ask")
    try:
        ended = subprocess.run(
            argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=left, check=False, cwd=cwd
        )
        if ended.returncode not in fine:
            raise CouldNotFindOut(f"{Path(argv[0]).name} ended with {ended.returncode}: {last_words(ended.stderr)}")
        return json.loads(ended.stdout or "{}")
    except subprocess.TimeoutExpired:
        raise CouldNotFindOut(f"{Path(argv[0]).name} did not end within {left:.0f} s for {of}") from None
    except OSError as error:
        raise CouldNotFindOut(f"{argv[0]} could not be called: {error.strerror}") from error
    except ValueError as error:
        raise CouldNotFindOut(f"what {Path(argv[0]).name} said cannot be read") from error


def _major(version: str) -> str:
    return version.lstrip("v").partition(".")[0]


def check(frame: pd.DataFrame, *, most: float = 10) -> list[Finding]:
    """Judge what is outdated: told, and a WARNING where a package is a whole version (its first number) behind.

    Those get no more mending as a rule, and each month makes the step longer. The ``most`` are told by name.
    """
    attrs: dict[Any, Any] = frame.attrs
    then = "let this machine reach the index that pip or npm is configured for"
    findings = [
        Finding(object=place, status=Status.UNKNOWN, message=f"what is newer is not known: {why}", next=then)
        for place, why in attrs["unknown"].items()
    ]
    for row in frame[frame["major"].astype(bool)].to_dict("records"):
        message = f"{row['installed']}, the newest is {row['newest']}: a whole version behind"
        findings.append(Finding(object=row["package"], status=Status.WARNING, message=message, value=row["installed"]))
    for place, looked in attrs["looked"].items():
        own = frame[frame["place"] == place]
        newer = (
            f"{counted(len(own), 'package has', 'packages have')} a newer version" if len(own) else "all are the newest"
        )
        message = f"of {counted(looked, 'package')} that the index knows: {newer}"
        findings.append(Finding(object=place, status=Status.OK, message=message, value=len(own)))
    return first_of(findings, "packages", int(most) + 1)


outdated = Question(
    name="advisories.outdated",
    title="Of which dependencies is there a newer version?",
    probe=probe,
    check=check,
    source="pip list --path ENVIRONMENT --outdated --format json; npm outdated --json",
    deadline=SECONDS,
    next="read what changed, raise it in the lock file, run the service's tests, deploy; one whole version at a time",
)
