"""Baselines in the archive: what lay in a target's trees when somebody declared it good, sealed and chained like a run.

Which one is the newest of a target is noted once more in the user's state folder: whoever takes it out of the archive,
so that an older one counts again, is found out.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from runbook.evidence.archive import (
    ARCHIVE_FILE,
    RUNS_FOLDER,
    NotTrusted,
    RunPlace,
    UnknownKey,
    archive_folder,
    archive_id,
    read_archive_id,
    state_folder,
    write_whole,
)
from runbook.evidence.keys import trusted_keys
from runbook.evidence.recording import ToRecord, write_record
from runbook.evidence.seal import SEAL_FILE
from runbook.evidence.standing import told_by_seal
from runbook.evidence.statement import Predicate, digest
from runbook.evidence.verify import sealed_content
from runbook.model import Finding, RunFailed, Status, UsageError
from runbook.model.layout import BASELINE_FILE, BASELINE_NAME, LISTING_FILE, is_baseline_id, make_private
from runbook.model.units import counted
from runbook.redaction import Redactor

Standing = Literal["sealed", "broken", "unknown key", "not sealed", "gone"]


class Baseline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was declared good: by whom, when (UTC), and of which trees, each with the folder that it really was.

    ``root`` is the digest of the whole list, which has ``entries``, ``files`` of them files; ``unread`` could not be
    read, of ``without_digest`` none is kept. ``images`` holds of each container what it ran, by its name.
    """

    schema: int = 1
    target: str
    made: str
    author: str
    trees: dict[str, str]
    root: str
    entries: int
    files: int
    unread: int
    without_digest: int
    images: dict[str, str] = {}


@dataclass(frozen=True)
class Kept:
    """The newest baseline of a target, and whether it is what was sealed; ``why`` says what is wrong where it is not.

    ``baseline`` and ``listing`` are only there where it is. ``cut_short`` names newer ones that were never sealed.
    """

    run_id: str
    standing: Standing
    why: str = ""
    baseline: Baseline | None = None
    listing: bytes = b""
    key: str = ""
    cut_short: tuple[str, ...] = ()

    @property
    def trusted(self) -> bool:
        """Tell whether it may be compared with."""
        return self.standing == "sealed"


def record_baseline(
    baseline: Baseline,
    listing: bytes,
    redactor: Redactor,
    *,
    identity: dict[str, dict[str, str]],
    archive: Path | None = None,
) -> RunPlace:
    """Write a baseline, seal it and note that it is the newest; return where it lies. Raises `RunFailed`."""
    archive = archive or archive_folder()
    told = redactor.data(msgspec.to_builtins(baseline)) | {"target": baseline.target, "root": baseline.root}
    message = f"{counted(baseline.files, 'file')} in {counted(len(baseline.trees), 'tree')} declared good"
    finding = Finding(
        check="integrity.baseline", object=baseline.target, status=Status.OK, message=message, value=baseline.root
    )
    what = ToRecord(
        name=BASELINE_NAME,
        target=baseline.target,
        at=f"{baseline.made[:19]}Z",
        author=str(told["author"]),
        findings=[finding],
        identity=redactor.data(identity),
        redactions=dict(redactor.counts),
    )
    content = msgspec.json.format(msgspec.json.encode(told), indent=1)
    place = write_record(archive, what, {LISTING_FILE: listing, BASELINE_FILE: content})
    with suppress(OSError):  # a second memory, for the day on which the archive's own is cut
        path = _note(archive_id(archive), baseline.target)
        make_private(path.parent)
        write_whole(path, msgspec.json.encode({"run_id": place.run_id}))
    return place


def newest_baseline(target: str, archive: Path | None = None) -> Kept | None:
    """Return the newest baseline of a target, verified; None where there never was one.

    Raises OSError where the archive cannot be read.
    """
    archive = archive or archive_folder()
    noted = _noted(archive, target)
    places = [place for place in _places(archive) if place.run_id == noted or _target_of(place) == target]
    cut_short = []
    for place in reversed(places):
        if (place.folder / SEAL_FILE).exists():
            break
        if place.run_id == noted:
            return Kept(place.run_id, "broken", "its seal is not there any more: somebody took it away")
        cut_short.append(place.run_id)
    else:
        if noted:
            return Kept(noted, "gone", "it was recorded here and is not in the archive any more")
        return Kept(cut_short[0], "not sealed", "it was cut short before it was sealed") if cut_short else None
    if noted and noted not in {one.run_id for one in places} and noted[4:20] >= place.run_id[4:20]:
        return Kept(noted, "gone", f"it was recorded here and is not in the archive any more; {place.run_id} is older")
    return _verified(place, target, archive, tuple(cut_short))


def superseded(records: Iterable[Predicate]) -> set[str]:
    """Return which baselines among sealed records are not the newest of their target."""
    found = [facts for facts in records if is_baseline_id(facts.run_id)]
    last = {facts.target: facts.run_id for facts in sorted(found, key=lambda facts: (facts.run_id[4:20], facts.seq))}
    return {facts.run_id for facts in found} - set(last.values())


def _verified(place: RunPlace, target: str, archive: Path, cut_short: tuple[str, ...]) -> Kept:
    try:
        found = sealed_content(place, archive, trusted_keys([]), [BASELINE_FILE, LISTING_FILE])
        assert found is not None
        facts, content = found
        if facts.archive != read_archive_id(archive / ARCHIVE_FILE):
            raise NotTrusted(f"{place.run_id} was sealed for another archive, {facts.archive}: it was copied here")
        baseline = msgspec.json.decode(content[BASELINE_FILE], type=Baseline)
        if target not in (facts.target, baseline.target) or facts.target != baseline.target:
            raise NotTrusted(f"{place.run_id} is of the target {facts.target}, not of {target}")
    except (UnknownKey, UsageError, RunFailed) as wrong:
        return Kept(place.run_id, "unknown key", str(wrong), cut_short=cut_short)
    except (NotTrusted, OSError, msgspec.MsgspecError) as wrong:
        return Kept(place.run_id, "broken", str(wrong), cut_short=cut_short)
    return Kept(place.run_id, "sealed", "", baseline, content[LISTING_FILE], facts.writer, cut_short)


def _places(archive: Path) -> list[RunPlace]:
    """Return the folders of all baselines, the oldest first; by their names, so that no run is opened."""
    found = (archive / RUNS_FOLDER).glob(f"*/run_*_{BASELINE_NAME}_??????")
    places = [RunPlace(folder.name, folder) for folder in found if is_baseline_id(folder.name) and folder.is_dir()]
    return sorted(places, key=lambda place: (place.run_id[4:20], _made(place), place.run_id))


def _made(place: RunPlace) -> str:
    """Return when a baseline was made, as it says itself: it puts those of one second in order."""
    try:
        return str(msgspec.json.decode((place.folder / BASELINE_FILE).read_bytes())["made"])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        return ""


def _target_of(place: RunPlace) -> str:
    """Return whose a baseline is, as its seal says, or, without one, as it says itself; nothing is verified here."""
    told = told_by_seal(place)
    if told:
        return str(told.get("target"))
    try:
        return str(msgspec.json.decode((place.folder / BASELINE_FILE).read_bytes())["target"])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        return ""


def _note(archive: str, target: str) -> Path:
    return state_folder() / "baselines" / f"{archive}-{digest(target.encode())[:16]}.json"


def _noted(archive: Path, target: str) -> str:
    """Return the id of the baseline that this user recorded last; "" where there is none."""
    try:
        own = read_archive_id(archive / ARCHIVE_FILE)
        return str(msgspec.json.decode(_note(own, target).read_bytes())["run_id"])
    except (OSError, NotTrusted, msgspec.MsgspecError, KeyError, TypeError):
        return ""
