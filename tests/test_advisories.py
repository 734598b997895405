"""Packages held against advisories: versions as OSV compares them, files that are old, broken or huge, and scanners."""

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook.advisories import database, osv, packages, scanners
from runbook.advisories.affected import fixed_in, is_affected
from runbook.advisories.osv import Advisory, Range
from runbook.model import Finding, Status
from runbook.session import open_run
from runbook_sandbox import faults
from runbook_sandbox.place import Place

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
Ask = Callable[..., dict[str, Finding]]


def advisory(
    identity: str = "GHSA-xxxx", name: str = "Some.Package", fixed: str = "2.0", days: float = 0, **more: Any
) -> dict[str, Any]:
    events = [{"introduced": "0"}, {"fixed": fixed}]
    affected = [{"package": {"ecosystem": "PyPI", "name": name}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}]
    modified = f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"
    return {"id": identity, "modified": modified, "affected": affected, **more}


def install(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nA description.\n")


@pytest.fixture
def ask(profile: Callable[..., str], tmp_path: Path) -> Iterator[Ask]:
    """Ask a question with advisories and packages in a folder of the test's own; return the findings by object."""
    runs = []

    def asked(question: Any, section: str | None = None) -> dict[str, Finding]:
        usual = f'files = ["{tmp_path}/osv"]\nenvironments = ["{tmp_path}/site-packages"]\n'
        run = open_run("tests", target=profile(f"[advisories]\n{usual if section is None else section}"), needs=[])
        runs.append(run)
        return {finding.object: finding for finding in run.ask(question).findings}

    (tmp_path / "osv").mkdir()
    (tmp_path / "site-packages").mkdir()
    yield asked
    for run in runs:
        run.close()


def tell(tmp_path: Path, *advisories: dict[str, Any]) -> None:
    for number, one in enumerate(advisories):
        (tmp_path / "osv" / f"{number}.json").write_text(json.dumps(one))


# --- the practice stack


def test_a_package_with_a_known_vulnerability_is_named_with_what_mends_it(breakable: Place) -> None:
    run = open_run("tests", target="breakable", needs=[])
    assert [one.status for one in run.ask(packages).findings] == [OK]
    faults.break_sandbox(breakable, "package-vulnerable")
    try:
        (found,) = run.ask(packages).findings
    finally:
        faults.heal(breakable)
        run.close()
    assert (found.status, found.object) == (CRITICAL, "shrimp-practice 1.0.3")
    assert "PRACTICE-2026-1" in found.message and "1.1.0" in found.next


# --- versions


@pytest.mark.parametrize(
    ("version", "events", "within"),
    [
        ("1.0", [{"introduced": "0"}, {"fixed": "1.0"}], False),
        ("1.0rc1", [{"introduced": "0"}, {"fixed": "1.0"}], True),
        ("1.0.post1", [{"introduced": "0"}, {"fixed": "1.0"}], False),
        ("1.10", [{"introduced": "1.9"}, {"fixed": "1.11"}], True),
        ("1.5", [{"introduced": "1.0"}, {"last_affected": "1.5"}], True),
        ("1.5.1", [{"introduced": "1.0"}, {"last_affected": "1.5"}], False),
        ("3.1", [{"introduced": "1.0"}, {"fixed": "2.0"}, {"introduced": "3.0"}], True),
        ("2.5", [{"introduced": "1.0"}, {"fixed": "2.0"}, {"introduced": "3.0"}], False),
        ("2.5", [{"fixed": "2.0"}, {"introduced": "3.0"}, {"introduced": "1.0"}], False),
        ("1!0.1", [{"introduced": "0"}, {"fixed": "2.0"}], False),
    ],
)
def test_a_version_is_compared_as_pip_does(version: str, events: list[dict[str, str]], within: bool) -> None:
    one = Advisory("A", "", "", [Range("ECOSYSTEM", events)], [])
    assert is_affected(version, one) is within


def test_a_version_that_is_listed_is_affected_however_it_is_written() -> None:
    one = Advisory("A", "", "", [Range("ECOSYSTEM", [{"introduced": "9"}])], ["1.0.0"])
    assert is_affected("1.0", one) and not is_affected("1.0.1", one)


def test_a_package_that_was_made_to_do_harm_is_affected_in_every_version() -> None:
    assert is_affected("0.1", Advisory("MAL-1", "", "", [], []))


def test_the_version_that_mends_is_the_next_one_and_not_an_older_branchs() -> None:
    events = [{"introduced": "0"}, {"fixed": "1.8.5"}, {"introduced": "2.0"}, {"fixed": "2.3"}]
    one = Advisory("A", "", "", [Range("ECOSYSTEM", events)], [])
    assert (fixed_in("2.1", one), fixed_in("1.2", one), fixed_in("2.4", one)) == ("2.3", "1.8.5", "")


# --- packages


def test_several_advisories_on_one_package_are_one_finding_by_the_worst(ask: Ask, tmp_path: Path) -> None:
    install(tmp_path / "site-packages", "some_package", "1.5")
    tell(
        tmp_path,
        advisory("GHSA-1", fixed="1.9", database_specific={"severity": "LOW"}),
        advisory("GHSA-2", fixed="1.7", aliases=["CVE-2026-1234"], database_specific={"severity": "HIGH"}),
        advisory("PYSEC-9", fixed="1.5"),
        advisory("GHSA-3", withdrawn="2026-01-01T00:00:00Z"),
        advisory("GHSA-4", name="another"),
    )
    (found,) = ask(packages).values()
    assert (found.status, found.object, found.next) == (CRITICAL, "some_package 1.5", "update it to 1.9 or later")
    assert "CVE-2026-1234, GHSA-1 (high)" in found.message


def test_a_package_in_two_places_is_one_finding_with_both(ask: Ask, tmp_path: Path) -> None:
    for place in ("one", "two"):
        install(tmp_path / place, "some-package", "1.5")
    tell(tmp_path, advisory())
    (found,) = ask(
        packages, f'files = ["{tmp_path}/osv"]\nenvironments = ["{tmp_path}/one", "{tmp_path}/two"]'
    ).values()
    assert f"{tmp_path}/one and {tmp_path}/two" in found.message


def test_an_advisory_without_a_severity_is_a_warning(ask: Ask, tmp_path: Path) -> None:
    install(tmp_path / "site-packages", "some-package", "1.5")
    tell(tmp_path, advisory())
    (found,) = ask(packages).values()
    assert found.status is WARNING and "severity not told" in found.message


def test_requirements_and_locks_are_read_and_what_pins_no_version_is_told(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "# comment\n--index-url https://index.example\nsome_package[extra]==1.5 ; python_version > '3' \\\n"
        "    --hash=sha256:aa\nflask>=2\n-r other.txt\nbroken ===\n"
    )
    lock = {"lockfileVersion": 3, "packages": {"": {}, "node_modules/a/node_modules/@b/c": {"version": "1.0.0"}}}
    (tmp_path / "package-lock.json").write_text(json.dumps(lock))
    npm = advisory("GHSA-npm", fixed="1.0.1")
    npm["affected"][0]["package"] = {"ecosystem": "npm", "name": "@b/c"}
    npm["affected"][0]["ranges"][0]["type"] = "SEMVER"
    tell(tmp_path, advisory(), npm)
    files = f'"{tmp_path}/requirements.txt", "{tmp_path}/package-lock.json"'
    found = ask(packages, f'files = ["{tmp_path}/osv"]\nrequirements = [{files}]')
    assert found["some_package 1.5"].status is WARNING and found["@b/c 1.0.0"].status is WARNING
    assert found["not looked at"].status is UNKNOWN and "flask" in found["not looked at"].message
    assert "-r other.txt" in found["not looked at"].message and "broken" in found["not looked at"].message


def test_metadata_that_say_anything_are_read_and_never_run(ask: Ask, tmp_path: Path) -> None:
    place = tmp_path / "site-packages"
    install(place, "some-package", "1.5")
    (place / "some_package").mkdir()
    (place / "some_package" / "__init__.py").write_text("raise SystemExit('it was run')\n")
    hostile = place / "hostile-1.dist-info"
    hostile.mkdir()
    (hostile / "METADATA").write_bytes(b"Name: <script>\xff\x1b[31m\nVersion: not a version\n" + b"x" * 10_000_000)
    (place / "empty-1.0.dist-info").mkdir()
    (place / "loop").symlink_to(place)
    tell(tmp_path, advisory(), advisory("GHSA-h", name="<script>\ufffd\x1b[31m"), advisory("GHSA-e", name="empty"))
    found = ask(packages)
    assert {"some-package 1.5", "empty 1.0"} <= set(found)
    assert "\x1b" not in "".join(f"{one.object}{one.message}" for one in found.values())


def test_an_environment_that_cannot_be_read_is_unknown(ask: Ask, tmp_path: Path) -> None:
    tell(tmp_path, advisory())
    found = ask(packages, f'files = ["{tmp_path}/osv"]\nenvironments = ["{tmp_path}/gone"]')
    assert found["not looked at"].status is UNKNOWN and "No such file" in found["not looked at"].message


# --- the database


def test_the_export_of_osv_is_read_as_the_archive_that_it_is(ask: Ask, tmp_path: Path) -> None:
    install(tmp_path / "site-packages", "some-package", "1.5")
    with zipfile.ZipFile(tmp_path / "osv" / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3000):
            archive.writestr(f"PYSEC-{number}.json", json.dumps(advisory(f"PYSEC-{number}", name=f"p{number}")))
        archive.writestr("GHSA-1.json", json.dumps(advisory()))
    assert ask(packages)["some-package 1.5"].status is WARNING
    assert "3,001 advisories" in ask(database)["age"].message


@pytest.mark.parametrize(("days", "status"), [(3, OK), (40, WARNING), (200, CRITICAL), (-5, UNKNOWN)])
def test_advisories_that_are_old_are_told_since_what_is_new_is_not_in_them(
    ask: Ask, tmp_path: Path, days: int, status: Status
) -> None:
    tell(tmp_path, advisory(days=days), advisory("GHSA-old", days=days + 900))
    assert ask(database)["age"].status is status


def test_files_that_are_no_advisories_are_told_and_the_others_are_read(ask: Ask, tmp_path: Path) -> None:
    tell(tmp_path, advisory())
    for name, content in {"a": "{", "b": "[1, 2]", "c": "[" * 100_000, "d": "\xff", "e": '{"id": 7}'}.items():
        (tmp_path / "osv" / f"broken-{name}.json").write_text(content)
    found = ask(database)
    assert found["age"].status is OK and found["files"].status is UNKNOWN and "5 files" in found["files"].message


def test_an_archive_that_unpacks_to_more_than_an_advisory_is_bounded(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(osv, "LONGEST", 1 << 16)
    with zipfile.ZipFile(tmp_path / "osv" / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.json", b" " * (1 << 20))
        archive.writestr("good.json", json.dumps(advisory()))
    found = ask(database)
    assert found["age"].status is OK and "bomb.json" in found["files"].message
    (tmp_path / "osv" / "broken.zip").write_bytes(b"PK no archive")
    assert {one.status for one in ask(database).values()} == {UNKNOWN}


def test_without_advisories_it_is_unknown_and_says_how_to_get_them(ask: Ask) -> None:
    for question in (database, packages):
        (found,) = ask(question, "").values()
        assert found.status is UNKNOWN and "fetch an export" in found.message


# --- scanners


def program(folder: Path, name: str, body: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)


PIP_AUDIT = {
    "dependencies": [
        {
            "name": "some-package",
            "version": "1.5",
            "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": []}],
        },
        {"name": "well", "version": "1.0", "vulns": []},
    ],
    "fixes": [],
}


def test_what_pip_audit_reports_is_told_and_its_failure_is_unknown(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    told = f"sys.stdout.write({json.dumps(PIP_AUDIT)!r}); sys.exit(1)"
    program(tmp_path / "bin", "pip-audit", told)
    (found,) = ask(scanners).values()
    assert found.status is CRITICAL and found.message.startswith("some-package 1.5: PYSEC-1 (in ")
    # What the real one writes, and ends with 0, where it reaches no index.
    skipped = {"dependencies": [{"name": "idna", "skip_reason": "Dependency not found on the index"}], "fixes": []}
    program(tmp_path / "bin", "pip-audit", f"sys.stdout.write({json.dumps(skipped)!r})")
    (found,) = ask(scanners).values()
    assert found.status is UNKNOWN and found.message.startswith("1 of 1 package not looked at, such as: Dependency")
    program(tmp_path / "bin", "pip-audit", "sys.stderr.write('ERROR: connection refused'); sys.exit(1)")
    (found,) = ask(scanners).values()
    assert found.status is UNKNOWN and "connection refused" in found.message


def test_without_scanners_the_profiles_own_advisories_are_enough(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = ask(scanners).values()
    assert found.status is OK
    (found,) = ask(scanners, "").values()
    assert found.status is UNKNOWN
