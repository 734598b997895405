"""All runs of an archive on one page, newest first. It is derived: it can be deleted, and made again, at any time."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runbook.evidence.archive import INDEX_FILE, NotTrusted, RunPlace, write_whole
from runbook.evidence.fleet_page import FLEET_FILE, fleet_page
from runbook.evidence.incident_page import IncidentPage, incident_page
from runbook.evidence.incidents import Noted, entry_of, incidents_of, page_of
from runbook.evidence.only_one import only_one
from runbook.evidence.page import part, policy, style_class, template
from runbook.evidence.report import shown_status
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.statement import digest
from runbook.model import Finding, Findings, RunbookError
from runbook.model.incident import IncidentEntry, is_incident_id
from runbook.model.layout import RECORD_FILE, REPORT_FILE, is_entry_id, is_run_id, run_folder
from runbook.model.protocol import RunRecord

CACHE_FILE = "index.json"
LOCK_FILE = ".index.lock"
# Bump it when what is kept of a run changes: all runs are then read again.
CACHE_SCHEMA = 4
_MADE_ANEW = "the runs themselves are what was sealed, and `runbook evidence index` makes it anew from them"
PRUNED = "PRUNED"
LINE_SHOWN = 200
RECORD_READ = 100_000_000
VERDICTS_SHOWN = 30
LINES_SHOWN = 200
LOCK_WAIT = 30.0


class IndexBusy(RunbookError):
    """Another process holds the lock of the index."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the index keeps of one run: what its row shows, and ``stamp``, by which a change is noticed.

    ``plans`` says of each plan what became of it. Of an incident's entry, which lies among the runs, it keeps what that
    says (``noted``).
    """

    stamp: list[int]
    run_id: str
    status: str
    notebook: str = ""
    target: str = ""
    incident: str = ""
    operator: str = ""
    started: str = ""
    seconds: float = 0.0
    mode: str = "headless"
    worst: str = ""
    bad: int = 0
    report: bool = False
    noted: IncidentEntry | None = None
    plans: list[str] = []

    @property
    def href(self) -> str:
        """Return where the run's page is, or its record where it has no page, from the archive's root."""
        name = REPORT_FILE if self.report else RECORD_FILE if self.status != PRUNED else ""
        return f"runs/{self.run_id[4:8]}-{self.run_id[8:10]}/{self.run_id}/{name}"

    @property
    def day(self) -> str:
        """Return the day on which the run was started, from its id, which no record can contradict."""
        return f"{self.run_id[4:8]}-{self.run_id[8:10]}-{self.run_id[10:12]}"

    @property
    def clock(self) -> str:
        """Return the time of day at which the run was started, UTC."""
        return f"{self.run_id[13:15]}:{self.run_id[15:17]}:{self.run_id[17:19]}"


class _Cache(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is kept of each run; ``page`` is the digest of the page that was made of it, ``digest`` that of all this.

    ``incidents`` holds for each incident the digest of what its page was made of, and that of the page; ``fleet`` is
    the digest of the page of all targets, "" where there is none.
    """

    schema: int
    runs: dict[str, Entry]
    page: str
    incidents: dict[str, tuple[str, str]] = {}
    fleet: str = ""
    digest: str = ""

    def sealed(self) -> bytes:
        """Return it as it is written."""
        bare = msgspec.json.encode(msgspec.structs.replace(self, digest=""))
        return msgspec.json.encode(msgspec.structs.replace(self, digest=digest(bare)))


@dataclass(frozen=True)
class Day:
    """The runs of one day, newest first."""

    day: str
    entries: list[Entry]


@dataclass(frozen=True)
class Line:
    """A notebook on a target, and its last runs, oldest first."""

    notebook: str
    target: str
    entries: list[Entry]

    @property
    def told(self) -> str:
        """Return the verdicts in words."""
        return f"{len(self.entries)} runs, oldest first: {', '.join(entry.status for entry in self.entries)}"


def rebuild_index(archive: Path) -> Path:
    """Write the index of an archive and return its path; only runs that are new or changed since are read.

    What is no run, or cannot be read, is named on the page. Writers that come at the same time wait for one another,
    so that the last one's page has all runs. Raises `IndexBusy` where one of them holds the lock for too long, and
    OSError where the archive cannot be written.
    """
    busy = IndexBusy(f"another process has been writing {INDEX_FILE} for {LOCK_WAIT:g} s")
    with only_one(archive / LOCK_FILE, seconds=LOCK_WAIT, busy=busy, must=False):
        cache = archive / CACHE_FILE
        known = _read_cache(cache)
        entries, strange = _survey(archive, known.runs)
        index = archive / INDEX_FILE
        incidents = _incidents(archive, entries)
        pages = _write_incident_pages(archive, incidents, known.incidents)
        newest = sorted(
            (entry for entry in entries.values() if entry.noted is None),
            key=lambda entry: (entry.run_id[4:20], entry.run_id),
            reverse=True,
        )
        fleet = _write_fleet_page(archive, newest)
        page = _page(newest, strange, incidents, fleet=bool(fleet))
        told = _Cache(schema=CACHE_SCHEMA, runs=entries, page=digest(page), incidents=pages, fleet=fleet).sealed()
        if entries != known.runs or not cache.exists() or cache.read_bytes() != told:
            write_whole(cache, told)
        write_whole(index, page)
        return index


def check_index(archive: Path) -> None:
    """Raise `NotTrusted` where the index is not as it was written.

    It is not sealed: this finds damage and a careless hand, not one that makes the whole index anew. The runs are what
    counts, and they are sealed.
    """
    if not (archive / INDEX_FILE).exists() and not (archive / CACHE_FILE).exists():
        return
    try:
        content = (archive / CACHE_FILE).read_bytes()
        told = msgspec.json.decode(content, type=_Cache)
        page = (archive / INDEX_FILE).read_bytes()
    except (OSError, ValueError, RecursionError) as error:
        raise NotTrusted(f"{CACHE_FILE} or {INDEX_FILE} is damaged or not there; {_MADE_ANEW}") from error
    if told.sealed() != content:
        raise NotTrusted(f"{CACHE_FILE} is not as it was written; {_MADE_ANEW}")
    if digest(page) != told.page:
        raise NotTrusted(f"{INDEX_FILE} is not as it was written; {_MADE_ANEW}")
    others = {page_of(incident): sha for incident, (_, sha) in told.incidents.items()}
    for name, sha in (others | ({FLEET_FILE: told.fleet} if told.fleet else {})).items():
        try:
            same = digest((archive / name).read_bytes()) == sha
        except OSError as error:
            raise NotTrusted(f"{name} is not there; {_MADE_ANEW}") from error
        if not same:
            raise NotTrusted(f"{name} is not as it was written; {_MADE_ANEW}")


def _incidents(archive: Path, entries: dict[str, Entry]) -> list[IncidentPage]:
    """Return each incident with its runs, the newest incident first and each one's oldest run first."""
    noted = [Noted(e.noted, RunPlace(e.run_id, run_folder(archive, e.run_id))) for e in entries.values() if e.noted]
    found = {incident.id: IncidentPage(incident, []) for incident in incidents_of(noted)}
    for entry in sorted(entries.values(), key=lambda entry: (entry.run_id[4:20], entry.run_id)):
        if entry.noted is None and entry.incident in found:
            found[entry.incident].runs.append(entry)
    return list(found.values())


def _write_incident_pages(
    archive: Path, incidents: list[IncidentPage], known: dict[str, tuple[str, str]]
) -> dict[str, tuple[str, str]]:
    """Write the pages that are not there, or were made of something else; return what each was made of, and is."""
    pages = {}
    for told in incidents:
        path = archive / page_of(told.incident.id)
        of = digest(msgspec.json.encode([[noted.entry for noted in told.incident.notes], told.runs]))
        was = known.get(told.incident.id)
        try:
            same = was is not None and was[0] == of and digest(path.read_bytes()) == was[1]
        except OSError:
            same = False
        if not same:
            page = incident_page(told)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            write_whole(path, page)
            was = (of, digest(page))
        assert was is not None
        pages[told.incident.id] = was
    return pages


def _write_fleet_page(archive: Path, newest: list[Entry]) -> str:
    """Write the page of all targets and return its digest; "" where there are not several, and so no page."""
    page, path = fleet_page(newest), archive / FLEET_FILE
    if page is None:
        path.unlink(missing_ok=True)
        return ""
    write_whole(path, page)
    return digest(page)


def _page(newest: list[Entry], strange: list[tuple[str, str]], incidents: list[IncidentPage], *, fleet: bool) -> bytes:
    style, script = part("common.css") + part("index.css"), part("index.js")
    lines = _lines(newest)
    page: str = template("index.html").render(
        days=_days(newest),
        fleet=FLEET_FILE if fleet else "",
        count=len(newest),
        lines=lines[:LINES_SHOWN],
        more_lines=max(0, len(lines) - LINES_SHOWN),
        strange=strange,
        stories=incidents,
        pages={told.incident.id: page_of(told.incident.id) for told in incidents},
        statuses=sorted({entry.status for entry in newest}),
        targets=sorted({entry.target for entry in newest if entry.target}),
        notebooks=sorted({entry.notebook for entry in newest if entry.notebook}),
        incidents=sorted({entry.incident for entry in newest if entry.incident}, reverse=True),
        style=style,
        script=script,
        policy=policy(style, script),
        style_class=style_class,
    )
    return page.encode(errors="replace")


def _days(newest: list[Entry]) -> list[Day]:
    days: dict[str, list[Entry]] = {}
    for entry in newest:
        days.setdefault(entry.day, []).append(entry)
    return [Day(day, of_day) for day, of_day in days.items()]


def _lines(newest: list[Entry]) -> list[Line]:
    """Return each notebook on each target with its last verdicts; those that ran last come first."""
    lines: dict[tuple[str, str], list[Entry]] = {}
    for entry in newest:
        if entry.status != PRUNED:
            of_line = lines.setdefault((entry.notebook, entry.target), [])
            if len(of_line) < VERDICTS_SHOWN:
                of_line.append(entry)
    return [Line(notebook, target, of_line[::-1]) for (notebook, target), of_line in lines.items()]


def _survey(archive: Path, known: dict[str, Entry]) -> tuple[dict[str, Entry], list[tuple[str, str]]]:
    """Return an entry for each run, and the name of everything else among the runs with what is wrong with it."""
    entries: dict[str, Entry] = {}
    strange: list[tuple[str, str]] = []
    runs = archive / "runs"
    for month in _listed(runs):
        if not month.is_dir(follow_symlinks=False):
            strange.append((f"runs/{month.name}", "not a folder"))
            continue
        for folder in _listed(Path(month.path)):
            name = f"runs/{month.name}/{folder.name}"
            if not is_run_id(folder.name) or run_folder(archive, folder.name) != runs / month.name / folder.name:
                strange.append((name, "not the folder of a run, or not where it belongs"))
            elif not folder.is_dir(follow_symlinks=False):
                strange.append((name, "not a folder"))
            else:
                try:
                    entries[folder.name] = _entry(Path(folder.path), known.get(folder.name))
                except (OSError, ValueError, RecursionError) as error:
                    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                    strange.append((name, why[:LINE_SHOWN]))
    return entries, strange


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _entry(folder: Path, known: Entry | None) -> Entry:
    """Return what is kept of a run, from what is known of it where its record was not changed since.

    Raises OSError or ValueError for a folder that is damaged.
    """
    # By the plain functions of os: this is done for every run that ever was.
    report = _is_there(f"{folder}/{REPORT_FILE}")
    try:
        status = os.lstat(f"{folder}/{RECORD_FILE}")
    except FileNotFoundError:
        if _is_there(f"{folder}/{SEAL_FILE}"):
            return Entry(stamp=[0, 0, 0], run_id=folder.name, status=PRUNED, notebook=folder.name[21:-7])
        raise ValueError(f"it has no {RECORD_FILE}") from None
    stamp = [status.st_mtime_ns, status.st_size, status.st_ino]
    if known is not None and known.stamp == stamp and known.report is report:
        return known
    if not stat.S_ISREG(status.st_mode) or status.st_size > RECORD_READ:
        raise ValueError(f"its {RECORD_FILE} is no file, or too large to be one of ours")
    descriptor = os.open(folder / RECORD_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        record = msgspec.json.decode(file.read(RECORD_READ), type=RunRecord)
    if record.run_id != folder.name:
        raise ValueError(f"its {RECORD_FILE} tells of another run")
    wrong = [finding for finding in Findings(record.findings).worst_first() if finding.bad]
    return Entry(
        stamp=stamp,
        run_id=folder.name,
        status=_short(shown_status(record)),
        notebook=_short(record.notebook),
        target=_short(record.target),
        incident=_short(record.incident),
        operator=_short(record.operator),
        started=_short(record.started),
        seconds=record.seconds,
        mode=record.mode,
        worst=_short(_worst(record, wrong)),
        bad=sum(not finding.explained_by for finding in wrong),
        report=report,
        noted=_noted(folder),
        plans=[_short(f"{plan.summary}: {plan.state}") for plan in record.plans],
    )


def _noted(folder: Path) -> IncidentEntry | None:
    """Return what an incident's entry says; None for a run, and for what was never sealed or is damaged."""
    if not is_entry_id(folder.name) or not _is_there(f"{folder}/{SEAL_FILE}"):
        return None
    entry = entry_of(folder)
    return entry if entry is not None and is_incident_id(entry.incident) else None


def _worst(record: RunRecord, wrong: list[Finding]) -> str:
    if record.error:
        return record.error
    return f"{wrong[0].object}: {wrong[0].message}" if wrong else ""


def _short(text: str) -> str:
    return text if len(text) <= LINE_SHOWN else f"{text[:LINE_SHOWN]}…"


def _is_there(path: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _read_cache(path: Path) -> _Cache:
    """Return what is known of runs; nothing where the file is not there, damaged, or of another version."""
    nothing = _Cache(schema=CACHE_SCHEMA, runs={}, page="")
    try:
        cache = msgspec.json.decode(path.read_bytes(), type=_Cache)
    except (OSError, ValueError, RecursionError):
        return nothing
    sound = all(entry.run_id == name and is_run_id(name) for name, entry in cache.runs.items())
    return cache if cache.schema == CACHE_SCHEMA and sound else nothing
