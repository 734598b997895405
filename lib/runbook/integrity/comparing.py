"""Compare what lies in the trees with what lay there: what was added, removed or changed, the worst first."""

import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from runbook.integrity.listing import FILE, FOLDER, LINK, Entry, Listing
from runbook.integrity.owners import owner
from runbook.model.units import as_bytes, counted

Entries = Mapping[tuple[str, str], Entry]

# By how much each kind of difference matters: lower is worse.
PRIVILEGES, OPEN, CONTENT, ADDED, KIND, LEADS, TOUCHED, REMOVED, OWNER, MODE = range(10)
GRAVE = TOUCHED  # up to here what lies there is not what was declared good


@dataclass(frozen=True)
class Difference:
    """How one thing differs: ``kinds`` are names of what differs, ``told`` has a sentence's part for each.

    ``rank`` is that of the worst; ``below`` counts what went or came with a folder.
    """

    tree: str
    path: str
    place: str
    kinds: tuple[str, ...]
    told: str
    rank: int
    below: int = 0


@dataclass
class Compared:
    """All differences, the worst first, and what could not be compared: paths and why."""

    differences: list[Difference] = field(default_factory=list)
    not_compared: dict[str, str] = field(default_factory=dict)


def compare(before: Entries, now: Listing, trees: Iterable[str], scrub: Callable[[str], str] = str) -> Compared:
    """Return how what lies in trees differs from a baseline. Trees that are not there any more are not compared here.

    ``scrub`` is what took secrets out of the baseline's names.
    """
    wanted = set(trees)
    found = Compared()
    former = {key: entry for key, entry in before.items() if entry.tree in wanted}
    present = {key: entry for key, entry in now.entries.items() if entry.tree in wanted}
    for key in [key for key in present if key not in former]:
        scrubbed = (key[0], scrub(key[1]))
        if scrubbed != key and scrubbed in former:
            present[scrubbed] = present.pop(key)
    vanished = set(now.vanished)
    added = {key: entry for key, entry in present.items() if key not in former}
    removed = {key: e for key, e in former.items() if key not in present and e.place not in vanished}
    _leave_out_unlisted(removed, present)
    found.differences += [_added(entry, below) for entry, below in _topmost(added)]
    if not now.partial:  # what was not come to is not gone
        found.differences += [_removed(entry, below) for entry, below in _topmost(removed)]
    for key, entry in present.items():
        was = former.get(key)
        if was is None:
            if entry.problem:
                found.not_compared[entry.place] = entry.problem
            continue
        if _same(was, entry):
            continue
        difference, problem = _changed(was, entry)
        if difference is not None:
            found.differences.append(difference)
        if problem:
            found.not_compared[entry.place] = problem
    found.differences.sort(key=lambda one: (one.rank, one.tree, one.path))
    return found


def _leave_out_unlisted(removed: dict[tuple[str, str], Entry], present: Entries) -> None:
    """Leave out what lies in folders that could not be listed: nobody knows whether it is gone."""
    closed = {(e.tree, e.path) for e in present.values() if e.problem and e.kind == FOLDER}
    if closed:
        for key in [key for key in removed if any((key[0], above) in closed for above in _above(key[1]))]:
            del removed[key]


def _topmost(entries: Entries) -> list[tuple[Entry, int]]:
    """Return the entries that are in no folder of the others, each with how many are below it.

    One with rights of its own, or that everybody can write, is told by itself.
    """
    below: dict[tuple[str, str], int] = {}
    for (tree, path), entry in entries.items():
        top = next(((tree, above) for above in _above(path) if (tree, above) in entries), (tree, path))
        below.setdefault(top, 0)
        if top != (tree, path):
            below[top] += 1
            if privileges(entry) or is_open(entry):
                below.setdefault((tree, path), 0)
    return [(entries[key], count) for key, count in below.items()]


def _above(path: str) -> list[str]:
    """Return the folders that a path lies in, the topmost first."""
    parts = path.split("/")
    return [*([""] if path else []), *("/".join(parts[:count]) for count in range(1, len(parts)))]


def _added(entry: Entry, below: int) -> Difference:
    what = f"a {entry.kind}" if entry.kind != FILE else "a file"
    written = f", written {_moment(entry.mtime)}" if entry.kind == FILE and entry.mtime else ""
    size = f" of {as_bytes(entry.size)}" if entry.kind == FILE else ""
    more = f", with {counted(below, 'more', 'more')} below it" if below else ""
    told = [f"it was added: {what}{size} of {owner(entry)}{written}{more}"]
    if entry.kind == LINK:
        told.append(_leads(entry))
    if not entry.path.isascii():
        told.append("its name has letters that are not ASCII, which may look like others")
    found = Difference(entry.tree, entry.path, entry.place, ("added",), "; ".join(told), ADDED, below)
    return _with_rights(found, entry)


def _removed(entry: Entry, below: int) -> Difference:
    more = f", with {counted(below, 'more', 'more')} below it" if below else ""
    told = f"it is not there any more: a {entry.kind} of {owner(entry)}{more}"
    return Difference(entry.tree, entry.path, entry.place, ("removed",), told, REMOVED, below)


def _same(was: Entry, now: Entry) -> bool:
    """Tell at once of what did not change, which is nearly everything."""
    return (was.mode, was.uid, was.gid, was.kind, was.sha256, was.target, was.capable) == (
        now.mode, now.uid, now.gid, now.kind, now.sha256, now.target, now.capable,
    ) and (bool(now.sha256) or now.kind != FILE) and not (now.problem or now.secret or was.secret)  # fmt: skip


def _changed(was: Entry, now: Entry) -> tuple[Difference | None, str]:
    """Return how an entry differs (None: in nothing that counts), and why it could not be compared ("": it was)."""
    kinds: list[tuple[int, str, str]] = []
    problem = now.problem or (was.problem and f"the baseline could not read it: {was.problem}")
    if was.kind != now.kind:
        kinds.append((KIND, "kind", f"it was a {was.kind} and is a {now.kind}"))
    elif now.kind == FILE:
        kinds += _content(was, now)
    elif was.target != now.target:
        kinds.append((LEADS, "target", f"{_leads(now)}; it led to {was.target or 'itself'}"))
    if (was.uid, was.gid) != (now.uid, now.gid):
        kinds.append((OWNER, "owner", f"it belonged to {owner(was)} and belongs to {owner(now)}"))
    if was.mode != now.mode and LINK not in (was.kind, now.kind):
        kinds.append((MODE, "permissions", f"its permissions were {was.mode:04o} and are {now.mode:04o}"))
    if not kinds and not (privileges(now) and not privileges(was)):
        return None, problem
    kinds.sort()
    rank = kinds[0][0] if kinds else MODE
    names, words = tuple(name for _, name, _ in kinds), "; ".join(told for *_, told in kinds)
    return _with_rights(Difference(now.tree, now.path, now.place, names, words, rank), now, was), problem


def _content(was: Entry, now: Entry) -> list[tuple[int, str, str]]:
    size = f"{as_bytes(was.size)} then, {as_bytes(now.size)} now" if was.size != now.size else "of the same size"
    if now.secret or was.secret:
        # Its digest is not kept, so what the file system says of it must do.
        if was.size != now.size or was.mtime != now.mtime:
            return [(CONTENT, "changed", f"it was written {_moment(now.mtime)}, since the baseline ({size})")]
        if was.ctime and was.ctime != now.ctime and _alike(was, now):
            # Whoever writes to a file can put its time back; not this one.
            told = f"it was touched {_moment(now.ctime)}, though its time of writing and its size are those of before"
            return [(TOUCHED, "changed", f"{told}: it may have been written, and the time put back")]
        return []
    if was.sha256 and now.sha256 and was.sha256 != now.sha256:
        return [(CONTENT, "changed", f"its content was changed ({size}), written {_moment(now.mtime)}")]
    if not (was.sha256 and now.sha256) and was.size != now.size:
        return [(CONTENT, "changed", f"its content was changed ({size})")]
    return []


def _alike(was: Entry, now: Entry) -> bool:
    """Tell whether owner and permissions are as they were: a change of these is told, and moves the same time."""
    return (was.mode, was.uid, was.gid) == (now.mode, now.uid, now.gid)


def _with_rights(told: Difference, now: Entry, was: Entry | None = None) -> Difference:
    """Return a difference with what new rights a thing gives, which count for more than all else."""
    kinds, words, rank = told.kinds, [told.told] if told.told else [], told.rank
    gained = [one for one in privileges(now) if was is None or one not in privileges(was)]
    if is_open(now) and (was is None or not is_open(was)):
        words.insert(0, "everybody can write it")
        kinds, rank = ("world-writable", *kinds), min(rank, OPEN)
    if gained:
        words.insert(0, f"it has {' and '.join(gained)} now: whoever starts it acts with rights of {owner(now)}")
        kinds, rank = (*gained, *kinds), PRIVILEGES
    return replace(told, kinds=kinds, told="; ".join(words), rank=rank)


def privileges(entry: Entry) -> list[str]:
    """Return which rights of its own a file gives to whoever starts it."""
    if entry.kind != FILE:
        return []
    found = [("set-uid", stat.S_ISUID), ("set-gid", stat.S_ISGID)]
    return [name for name, bit in found if entry.mode & bit] + (["capabilities"] if entry.capable else [])


def is_open(entry: Entry) -> bool:
    """Tell whether everybody can write a thing; of a folder with the sticky bit, only what is one's own."""
    if entry.kind == LINK or not entry.mode & stat.S_IWOTH:
        return False
    return not (entry.kind == FOLDER and entry.mode & stat.S_ISVTX)


def _leads(entry: Entry) -> str:
    where = ", outside of the tree" if entry.outside else ""
    return f"it leads to {entry.target}{where}"


def _moment(mtime: int) -> str:
    """Return when something was written, as its file system says: whoever may write there may have said so."""
    try:
        return f"{datetime.fromtimestamp(mtime / 1e9, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return "at a time that cannot be told"
