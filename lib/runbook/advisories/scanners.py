"""What do pip-audit and trivy say, where they are installed?"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import counted

PROGRAMS = ("pip-audit", "trivy")
SECONDS = 90.0
_LONGEST = 64 << 20
_MOST = 10
COLUMNS = ["program", "subject", "ran", "problem", "packages", "skipped", "vulnerable"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each program and what it looked at: program, subject, ran, problem (why it said nothing),
    packages (how many it knew of), skipped (how many it did not look at), vulnerable (those with advisories, as name,
    version and the advisories' names).

    Where a program is not installed there is one row without a subject. Environments and requirements come from the
    profile; trivy looks at the folders alone, offline, with the database that it has.
    """
    named = asking.target.advisories
    environments = named.environments if named is not None else ()
    requirements = [path for path in named.requirements if path.suffix != ".json"] if named is not None else []
    end = time.monotonic() + SECONDS
    rows = []
    for program in PROGRAMS:
        found = shutil.which(program)
        if found is None:
            rows.append(_row(program, "", problem="not installed"))
            continue
        rows += [_asked(program, found, path, "environment", end) for path in environments]
        rows += [_asked(program, found, path, "requirements", end) for path in requirements]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    frame.attrs = {"offline": bool(named is not None and named.files)}
    return frame


def _row(program: str, subject: str, **told: Any) -> dict[str, Any]:
    empty = {"ran": False, "problem": "", "packages": 0, "skipped": 0, "vulnerable": []}
    return {"program": program, "subject": subject, **empty, **told}


def _arguments(program: str, path: Path, kind: str) -> list[str]:
    if program == "trivy":
        quiet = ["--format", "json", "--quiet", "--scanners", "vuln", "--list-all-pkgs"]
        return ["filesystem", *quiet, "--offline-scan", "--skip-db-update", "--skip-java-db-update", os.fspath(path)]
    quiet = ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    if kind == "requirements":
        return [*quiet, "--no-deps", "--disable-pip", "-r", os.fspath(path)]
    places = [path, *sorted(path.glob("lib*/python3*/site-packages"))]
    return [*quiet, "--path", os.fspath(places[-1])]


def _asked(program: str, found: str, path: Path, kind: str, end: float) -> dict[str, Any]:
    argv = [found, *_arguments(program, path, kind)]
    left = end - time.monotonic()
    if left < 1:
        return _row(program, str(path), problem=f"there was no time left for it ({SECONDS:g} s for all)")
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as complaint:
        try:
            ended = subprocess.run(
                argv, stdin=subprocess.DEVNULL, stdout=told, stderr=complaint, timeout=left, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            why = f"no answer within {left:.0f} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
            return _row(program, str(path), problem=why)
        told.seek(0)
        complaint.seek(0)
        said = complaint.read(20_000).decode("utf-8", "replace").strip().splitlines()
        return {**_row(program, str(path)), **_read(program, told.read(_LONGEST), ended.returncode, said)}


def _read(program: str, content: bytes, status: int, said: list[str]) -> dict[str, Any]:
    """Return what a program answered; both end with another status than 0 for what they found and for what failed."""
    try:
        told = json.loads(content)
        return (_of_pip_audit if program == "pip-audit" else _of_trivy)(told)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        last = next((line for line in reversed(said) if line.strip()), "without a word")
        return {"problem": f"ended with status {status} and no report ({last[:200]}); without a network it cannot ask"}


def _of_pip_audit(told: dict[str, Any]) -> dict[str, Any]:
    known = [one for one in told["dependencies"] if "version" in one]
    # One that an index does not know it skips, all of them where it reaches none, and ends as if all were well.
    skipped = [one for one in told["dependencies"] if "version" not in one]
    bad = [one for one in known if one["vulns"]]
    return {
        "ran": bool(known),
        "problem": str(skipped[0].get("skip_reason", ""))[:200] if skipped else "" if known else "it saw no package",
        "packages": len(known),
        "skipped": len(skipped),
        "vulnerable": [f"{one['name']} {one['version']}: {_names(v['id'] for v in one['vulns'])}" for one in bad],
    }


def _of_trivy(told: dict[str, Any]) -> dict[str, Any]:
    results = told.get("Results") or []
    found: dict[str, list[str]] = {}
    for result in results:
        for one in result.get("Vulnerabilities") or []:
            found.setdefault(f"{one['PkgName']} {one['InstalledVersion']}", []).append(str(one["VulnerabilityID"]))
    packages = sum(len(result.get("Packages") or []) for result in results)
    return {
        "ran": bool(packages or found),
        "problem": "" if packages or found else "it saw no package",
        "packages": packages,
        "vulnerable": [f"{name}: {_names(ids)}" for name, ids in found.items()],
    }


def _names(names: Any) -> str:
    listed = sorted(set(map(str, names)))
    return ", ".join(listed[:4]) + (f" and {len(listed) - 4} more" if len(listed) > 4 else "")


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge what each program found; one that could not ask is UNKNOWN, and one that is not installed is no loss
    while the profile's own advisories are there.
    """
    findings = {
        f"{row['program']}: {one.partition(':')[0]}": f"{one} (in {row['subject']})"
        for row in frame.to_dict("records")
        for one in row["vulnerable"]
    }
    bad = [Finding(object=name, status=Status.CRITICAL, message=message) for name, message in findings.items()]
    told = first_of(bad, "packages", _MOST)
    for row in frame[frame["subject"] != ""].to_dict("records"):
        name = f"{row['program']} on {row['subject']}"
        if not row["ran"] or row["skipped"]:
            message = row["problem"]
            if row["skipped"]:
                all_of = row["packages"] + row["skipped"]
                message = f"{row['skipped']} of {counted(all_of, 'package')} not looked at, such as: {message}"
            told.append(Finding(object=name, status=Status.UNKNOWN, message=message))
        elif not row["vulnerable"]:
            message = f"nothing known of {counted(row['packages'], 'package')}"
            told.append(Finding(object=name, status=Status.OK, message=message))
    missing = ", ".join(frame[frame["problem"] == "not installed"]["program"])
    if not told:
        status = Status.OK if frame.attrs["offline"] else Status.UNKNOWN
        rest = "the profile's own advisories alone are judged by" if frame.attrs["offline"] else "nothing was looked at"
        told.append(Finding(object="scanners", status=status, message=f"not installed: {missing or 'none'}; {rest}"))
    return told


scanners = Question(
    name="advisories.scanners",
    title="What do pip-audit and trivy say, where they are installed?",
    probe=probe,
    check=check,
    source="pip-audit --format json --path SITE-PACKAGES; "
    "trivy filesystem --offline-scan --skip-db-update --format json FOLDER",
    deadline=SECONDS + 10,
    next="update the package, or install pip-audit or trivy (with its database) beside the runbook",
)
