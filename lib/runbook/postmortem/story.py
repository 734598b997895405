"""The story of an incident: every record that belongs to it, each with whether its seal holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from runbook.evidence.archive import RunPlace, archive_folder
from runbook.evidence.incidents import Incident, entry_of, find
from runbook.evidence.keys import trusted_keys
from runbook.evidence.records import kept
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.standing import Standing, belongs, records_near, stood, told_by_seal
from runbook.evidence.statement import Predicate
from runbook.model.incident import IncidentEntry
from runbook.model.layout import RECORD_FILE, REPORT_FILE, is_baseline_id, is_entry_id
from runbook.model.moments import moment
from runbook.model.protocol import PlanRecord, RunRecord
from runbook.postmortem.clocks import Clocks

# How long before it began, and after it ended, runs of the same notebooks are taken to compare with.
AROUND = timedelta(hours=24)
NOTEBOOK = "post-mortem"


@dataclass(frozen=True)
class Cited:
    """A record that the story rests on: a run, or an entry of the incident.

    ``standing`` says whether it is what was sealed, and ``why`` what is wrong where it is not; ``facts`` are sealed,
    and only there where the seal holds. ``around`` marks a run of before or after, which does not belong to it.
    """

    place: RunPlace
    standing: Standing
    why: str = ""
    record: RunRecord | None = None
    entry: IncidentEntry | None = None
    facts: Predicate | None = None
    around: bool = False

    @property
    def run_id(self) -> str:
        """Return its id."""
        return self.place.run_id

    @property
    def href(self) -> str:
        """Return where its page is, from the archive's root; its record, or its seal, where it has none."""
        names = (REPORT_FILE, "incident.json", RECORD_FILE, SEAL_FILE)
        name = next((name for name in names if (self.place.folder / name).is_file()), "")
        return f"runs/{self.place.folder.parent.name}/{self.run_id}/{name}"

    @property
    def host(self) -> str:
        """Return the machine on which it was written, as sealed; "" where that is not known."""
        return self.facts.host if self.facts is not None else ""

    @property
    def at(self) -> datetime:
        """Return when it was begun, by the clock of its machine."""
        return datetime.strptime(self.run_id[4:20], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


@dataclass(frozen=True)
class Story:
    """Everything that is known of an incident; ``gaps`` names records that the archive once had and has no more.

    ``beside`` are the runs on its targets while it lasted that belong to no incident.
    """

    incident: Incident
    archive: Path
    cited: list[Cited]
    clocks: Clocks
    gaps: list[str] = field(default_factory=list)
    beside: list[Cited] = field(default_factory=list)

    @property
    def runs(self) -> list[Cited]:
        """Return the runs that belong to it, in the order of time."""
        return [cited for cited in self.cited if cited.entry is None and not cited.around and not _is_entry(cited)]

    @property
    def entries(self) -> list[Cited]:
        """Return its entries."""
        return [cited for cited in self.cited if cited.entry is not None]

    @property
    def sound(self) -> list[Cited]:
        """Return the runs whose seal holds, those of before and after included: what figures are taken from."""
        return [cited for cited in self.cited if cited.standing == "sealed" and cited.record and cited.entry is None]

    @property
    def broken(self) -> list[Cited]:
        """Return the records whose seal does not hold, is missing, or is of a key that is not trusted here."""
        return [cited for cited in self.cited if cited.standing in ("broken", "unknown key", "not sealed")]

    @property
    def began(self) -> datetime:
        """Return when the trouble began, as far as is noted."""
        return moment(self.incident.began)

    @property
    def ended(self) -> datetime | None:
        """Return when it was over; None while it is open."""
        return moment(self.incident.closed) if self.incident.closed else None

    def time_of(self, text: str, host: str) -> datetime:
        """Return a time that a machine told, by the clock that the story goes by."""
        return self.clocks.corrected(moment(text), host)

    def plans(self) -> list[tuple[PlanRecord, Cited]]:
        """Return each plan once, with the run that tells most of it; only runs whose seal holds are heard.

        A plan of the incident that was carried out by a run beside it is told by that run.
        """
        found: dict[str, tuple[PlanRecord, Cited]] = {}
        for cited in [*self.runs, *self.beside]:
            if cited.standing != "sealed" or cited.record is None:
                continue
            for plan in cited.record.plans:
                was = found.get(plan.id)
                if was is None and cited in self.beside and plan.plan.incident != self.incident.id:
                    continue
                if was is None or len(was[0].journal) <= len(plan.journal):
                    found[plan.id] = (plan, cited)
        return sorted(found.values(), key=lambda told: self.time_of(told[0].plan.made, told[0].plan.host))


def story(incident: str, *, archive: Path | None = None, keys: Mapping[str, Any] | None = None) -> Story | None:
    """Return the story of an incident, every record in it verified; None where no incident is named.

    ``keys`` are the public keys to trust, by default this user's own. Raises `UsageError` where there is none of that
    name, or no key.
    """
    if not incident:
        return None
    archive = archive or archive_folder()
    keys = trusted_keys([]) if keys is None else keys
    found = find(incident, archive)
    places = list(records_near(found, archive))
    seals = {place.run_id: told_by_seal(place) for place in places}
    own = [place for place in places if belongs(place, found.id, seals[place.run_id]) and not _tells_of_it(place)]
    cited = [_cited(place, archive, keys) for place in own]
    cited += [_cited(place, archive, keys, around=True) for place in _around(found, cited, places)]
    cited.sort(key=lambda one: (one.run_id[4:20], one.run_id))
    beside = [_cited(place, archive, keys) for place in _beside(found, cited, places, seals)]
    clocks = Clocks.of([c.facts for c in [*cited, *beside] if c.facts is not None])
    return Story(found, archive, cited, clocks, _gaps(seals), beside)


def _is_entry(cited: Cited) -> bool:
    return is_entry_id(cited.run_id)


def _tells_of_it(place: RunPlace) -> bool:
    """Tell whether a record was made of the story, like this one, and is no part of it."""
    entry = entry_of(place.folder) if is_entry_id(place.run_id) else None
    return place.run_id[21:-7] == NOTEBOOK or (entry is not None and entry.kind == "report")


def _cited(place: RunPlace, archive: Path, keys: Mapping[str, Any], *, around: bool = False) -> Cited:
    found = stood(place, archive, keys)
    entry = entry_of(place.folder) if is_entry_id(place.run_id) else None
    return Cited(place, found.standing, found.why, found.record, entry, found.facts, around)


def _around(incident: Incident, cited: list[Cited], places: list[RunPlace]) -> list[RunPlace]:
    """Return the last run before and the first one after of each notebook and target that the incident has."""
    known = {one.run_id for one in cited}
    pairs = {(one.record.notebook, one.record.target) for one in cited if one.record is not None and not one.entry}
    began = moment(incident.began)
    ended = moment(incident.closed) if incident.closed else None
    found: dict[tuple[str, str, str], RunPlace] = {}
    for place in places:
        if place.run_id in known or is_entry_id(place.run_id) or is_baseline_id(place.run_id):
            continue
        at = datetime.strptime(place.run_id[4:20], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        before = began - AROUND <= at < began
        if not before and not (ended is not None and ended <= at <= ended + AROUND):
            continue
        if place.run_id[21:-7] not in {notebook for notebook, _ in pairs}:
            continue
        record = kept(place).record
        if record is None or record.incident or (record.notebook, record.target) not in pairs:
            continue
        key = (record.notebook, record.target, "before" if before else "after")
        if before or key not in found:
            found[key] = place
    return list(found.values())


def _beside(
    incident: Incident, cited: list[Cited], places: list[RunPlace], seals: Mapping[str, Mapping[str, Any]]
) -> list[RunPlace]:
    """Return the runs on the incident's targets, from when it began to when it was closed, that belong to none."""
    known = {one.run_id for one in cited}
    targets = {*incident.targets, *(one.record.target for one in cited if one.record is not None)}
    began = moment(incident.began)
    ended = moment(incident.closed) if incident.closed else datetime.now(UTC)
    found = []
    for place in places:
        at = datetime.strptime(place.run_id[4:20], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if place.run_id in known or is_entry_id(place.run_id) or not began <= at <= ended or _tells_of_it(place):
            continue
        told = seals[place.run_id]
        if told.get("target") in targets and not told.get("incident"):
            found.append(place)
    return found


def _gaps(seals: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each place of a chain that is missing between two records of these days."""
    chains: dict[str, dict[int, str]] = {}
    for run_id, told in seals.items():
        if isinstance(told.get("seq"), int):
            chains.setdefault(str(told.get("writer")), {})[told["seq"]] = run_id
    missing = []
    for writer, links in sorted(chains.items()):
        for before, after in zip(sorted(links), sorted(links)[1:], strict=False):
            if after > before + 1:
                missing.append(
                    f"{after - before - 1} of the chain of {writer} between {links[before]} and {links[after]}: "
                    "whether they belonged to this incident cannot be told any more"
                )
    return missing
