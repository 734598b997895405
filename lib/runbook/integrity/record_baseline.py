"""Declare what lies in the trees good: its list is sealed in the archive, and what differs later is told."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from runbook.connections import ContainersConnection, Machine
from runbook.evidence.baselines import Baseline, Kept, newest_baseline, record_baseline
from runbook.integrity.comparing import Difference, compare
from runbook.integrity.kept import kept_of, redactor_of
from runbook.integrity.listing import Entry, Listing, as_lines, from_lines, root_digest
from runbook.integrity.reading import DEADLINE, read, trees_of, units_of
from runbook.integrity.walk import walk
from runbook.model import (
    Act,
    Asking,
    Change,
    ChangeFailed,
    CouldNotFindOut,
    DoesNotApply,
    Draft,
    NotPlanned,
    RunFailed,
    Step,
)
from runbook.model.units import counted
from runbook.plans.place import stamp, whoami
from runbook.redaction import Redactor
from runbook.target import Target

ACT = "record"
# So many differences from the former baseline are told by name; the question before tells more.
_NAMED = 10


def observe(asking: Asking) -> dict[str, Any]:
    """Return what would be declared good, and how it differs from the former baseline.

    ``root`` (the digest of it all), ``files``, ``entries``, ``without_digest`` (of how many files none is kept),
    ``unread``, ``partial`` (why not all was read), ``absent`` (trees that are not there), ``trees``, ``images`` (of
    containers, by name), ``images_unknown`` (why they are not), ``former`` (the record of the newest baseline),
    ``standing`` (of it), ``former_images``, ``differ`` (how many; -1: that cannot be told), ``named`` (the worst of
    them). Reads all files anew.
    """
    listing = read(asking)
    scrubbed = without_secrets(listing, redactor_of(asking))
    kept = kept_of(asking)
    units = set(units_of(asking.target))
    images, why = _images(asking)
    differences, former_images = _differences(kept, listing, redactor_of(asking))
    return {
        "root": root_digest(scrubbed),
        "files": listing.files,
        "entries": len(scrubbed),
        "without_digest": sum(entry.secret for entry in scrubbed),
        "unread": len(listing.unread),
        "partial": listing.partial,
        "absent": [tree for tree, real in listing.trees.items() if not real and tree not in units],
        "trees": listing.trees,
        "images": images,
        "images_unknown": why,
        "former": kept.run_id if kept is not None else "",
        "standing": kept.standing if kept is not None else "none",
        "former_images": former_images,
        "differ": len(differences) if differences is not None else -1,
        "named": [f"{one.place}: {', '.join(one.kinds)}" for one in (differences or [])[:_NAMED]],
    }


def _images(asking: Asking) -> tuple[dict[str, str], str]:
    """Return what image each container runs, by its name, and why that is not known."""
    if asking.target.containers is None or not asking.target.containers.named:
        return {}, ""
    found = {}
    try:
        connection = asking.connection(ContainersConnection)
        for name in connection.named.values():
            inspected = connection.inspect(name)
            if inspected is not None:
                found[name] = str(inspected["Image"])
    except CouldNotFindOut as why:
        return {}, str(why)
    return found, ""


def _differences(
    kept: Kept | None, listing: Listing, redactor: Redactor
) -> tuple[list[Difference] | None, dict[str, str]]:
    """Return how the trees differ from the former baseline (None: there is none that counts), and its images."""
    if kept is None or kept.baseline is None:
        return None, {}
    try:
        before = from_lines(kept.listing)
    except ValueError:
        return None, {}
    if set(kept.baseline.trees) != set(listing.trees):
        return None, kept.baseline.images
    return compare(before, listing, listing.trees, redactor.text).differences, kept.baseline.images


def without_secrets(listing: Listing, redactor: Redactor) -> list[Entry]:
    """Return the entries with their names scrubbed; names that hold a secret are told by a mark."""
    import msgspec

    entries = list(listing.entries.values())
    whole = "\n".join(f"{entry.path}\n{entry.target}\n{entry.problem}" for entry in entries)
    if redactor.text(whole) == whole:
        return entries
    return [
        msgspec.structs.replace(entry, path=redactor.text(entry.path), target=redactor.text(entry.target))
        for entry in entries
    ]


def draft(facts: Mapping[str, Any]) -> Draft:
    """Write out the recording of a baseline.

    Raises `DoesNotApply` where there is one and nothing differs from it, `NotPlanned` where not everything was read.
    """
    if facts["partial"]:
        raise NotPlanned(f"not everything could be read, so this would be no baseline: {facts['partial']}")
    if facts["absent"]:
        raise NotPlanned(f"there is nothing where the profile names a tree: {', '.join(facts['absent'])}")
    sound = facts["standing"] == "sealed" and facts["differ"] == 0
    if sound and (facts["images"] == facts["former_images"] or facts["images_unknown"]):
        raise DoesNotApply(f"nothing differs from the newest baseline, {facts['former']}: it holds")
    trees = [tree for tree, real in facts["trees"].items() if real]
    radius = [
        "nothing of the target is changed; from then on what differs from its present state is told, and what is there "
        "now is not: whoever carries this out says that it is good",
        *_of_former(facts),
    ]
    if facts["without_digest"]:
        radius.append(
            f"of {counted(facts['without_digest'], 'file')} that may hold a secret only size, time, owner and mode are "
            "kept: a digest of a short secret could be guessed"
        )
    if facts["unread"]:
        radius.append(f"{counted(facts['unread'], 'thing')} could not be read: a change of it will not be seen")
    if facts["images_unknown"]:
        radius.append(f"the images of the containers are not recorded: {facts['images_unknown']}")
    return Draft(
        summary=f"declare {counted(facts['files'], 'file')} in {counted(len(trees), 'place')} good, as they are now",
        steps=(
            Step(
                act=ACT,
                shown=(
                    f"find {' '.join(trees)} -type f -exec sha256sum {{}} +   "
                    f"# sealed in the archive; root {facts['root']}"
                ),
                arguments={"root": facts["root"], "images": dict(facts["images"])},
            ),
        ),
        blast_radius=tuple(radius),
        expected={"standing": "sealed", "root": facts["root"]},
        irreversible="what is sealed stays in the archive; a baseline that was wrong is followed by another one",
    )


def _of_former(facts: Mapping[str, Any]) -> list[str]:
    """Return what is to be known about the former baseline before another one takes its place."""
    if facts["standing"] == "none":
        return ["there is no former baseline: nobody can tell what was changed until now"]
    if facts["standing"] != "sealed":
        standing = f"the former baseline, {facts['former']}, is {facts['standing']}"
        return [f"{standing}: find out why before you replace it, since that may hide a change"]
    if facts["differ"] < 0:
        return [f"the former baseline, {facts['former']}, has other trees: how these differ from it cannot be told"]
    found = [f"it takes the place of {facts['former']}, from which {counted(facts['differ'], 'thing')} differ"]
    found += [f"declared good: {name}" for name in facts["named"]]
    more = facts["differ"] - len(facts["named"])
    found += [f"and {more:,} more; the question on differences has them"] if more > 0 else []
    return found


def _record(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Read everything once more and record it; raises `ChangeFailed` where it is not what was planned."""
    listing = read(asking)
    if listing.partial:
        raise ChangeFailed(f"not everything could be read, and nothing was recorded: {listing.partial}")
    redactor = redactor_of(asking)
    entries = without_secrets(listing, redactor)
    root = root_digest(entries)
    if root != arguments["root"]:
        raise ChangeFailed("the files have changed since, and nothing was recorded: plan anew")
    machine = asking.connection(Machine)
    about = described(asking.target.name, listing, entries, whoami(), dict(arguments["images"]))
    try:
        place = record_baseline(about, as_lines(entries), redactor, identity={machine.name: machine.identity})
    except RunFailed as refused:
        raise ChangeFailed(str(refused)) from refused
    return f"recorded as {place.run_id}"


def described(target: str, listing: Listing, entries: list[Entry], author: str, images: dict[str, str]) -> Baseline:
    """Return what is said of a list when it is sealed."""
    return Baseline(
        target=target,
        made=stamp(datetime.now(UTC)),
        author=author,
        trees=listing.trees,
        root=root_digest(entries),
        entries=len(entries),
        files=listing.files,
        unread=len(listing.unread),
        without_digest=sum(entry.secret for entry in entries),
        images=images,
    )


def declare_good(target: Target, author: str, images: dict[str, str]) -> str:
    """Record a baseline without a plan, for what has just deployed the files itself; return the record's id.

    Raises `CouldNotFindOut` where not everything could be read, `RunFailed` where it cannot be written.
    """
    listing = walk(trees_of(target), DEADLINE)
    if listing.partial:
        raise CouldNotFindOut(listing.partial)
    redactor = Redactor(target.secret_values(), allow=target.redaction.allow)
    entries = without_secrets(listing, redactor)
    machine = Machine.open(target, author)
    machine.require_here("files are read")
    about = described(target.name, listing, entries, author, images)
    return record_baseline(about, as_lines(entries), redactor, identity={machine.name: machine.identity}).run_id


def _happened(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool:
    """Tell whether the newest baseline is the one that was to be recorded."""
    try:
        kept = newest_baseline(asking.target.name)
    except OSError as error:
        raise CouldNotFindOut(f"the archive cannot be read: {error.strerror}") from error
    if kept is None or kept.baseline is None:
        return False
    return kept.baseline.root == arguments["root"] and datetime.fromisoformat(kept.baseline.made) >= begun


record = Change(
    name="integrity.record_baseline",
    title="Record a baseline",
    observe=observe,
    draft=draft,
    acts={ACT: Act(_record, _happened)},
    needs=(Machine,),
    watched=("root", "former", "standing", "images"),
    patience=1.0,
    deadline=DEADLINE,
    of_target=False,
)
