"""Is what was deployed what was committed?"""

import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from runbook.connections import Machine
from runbook.integrity import comparing
from runbook.integrity.comparing import Difference
from runbook.integrity.differences import as_frame, not_told, told
from runbook.integrity.git import Committed, commit_of, files_of
from runbook.integrity.listing import FILE, FOLDER, LINK, Entry, Listing
from runbook.integrity.names import left_out, shown
from runbook.integrity.reading import DEADLINE, NOT_NAMED, Files
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.units import counted
from runbook.target.profile import Tree

# Of the question's time, for git; the rest is for reading the tree.
_GIT_SECONDS = 40.0
NO_CHECKOUT = (
    "the profile names no repository to compare with: write checkout and commit under [[integrity.trees]]; "
    "the repository should lie where nobody who can write the tree can write"
)


def probe(asking: Asking, *, files: Files | None = None) -> pd.DataFrame:
    """Return a row for each file that is not as it was committed, as `integrity.differences` has them.

    ``attrs["commits"]`` names of each tree the commit, and how many files it has. Files that may hold secrets and are
    not of the commit are left out: that is where they should not be. Raises `CouldNotFindOut` where git or the
    repository cannot tell.
    """
    if asking.target.integrity is None or not asking.target.integrity.trees:
        raise CouldNotFindOut(NOT_NAMED)
    trees = [tree for tree in asking.target.integrity.trees if tree.checkout is not None]
    if not trees:
        raise CouldNotFindOut(NO_CHECKOUT)
    asking.connection(Machine).require_here("files are read")
    committed = {}
    for tree in trees:
        commit = commit_of(tree.checkout, tree.commit, _GIT_SECONDS)
        committed[str(tree.path)] = (tree, commit, files_of(tree.checkout, commit, tree.subfolder, _GIT_SECONDS))
    listing = (files or Files()).listing(asking)
    found: list[Difference] = []
    unread: dict[str, str] = {}
    commits = {}
    for name, (tree, commit, of_commit) in committed.items():
        wanted = _without_left_out(of_commit, tree)
        entries = {e.path: e for e in listing.entries.values() if e.tree == name}
        found += _compare(name, wanted, entries, listing, unread)
        commits[name] = {
            "commit": commit,
            "name": tree.commit,
            "files": len(wanted),
            "inside": _lies_in(tree),
            "submodules": sum(one.is_submodule for one in wanted.values()),
        }
    found.sort(key=lambda one: (one.rank, one.place))
    attrs = {"commits": commits, "partial": listing.partial, "not_compared": unread, "not_covered": [], "absent": []}
    return as_frame(found, attrs)


def _without_left_out(files: Mapping[str, Committed], tree: Tree) -> dict[str, Committed]:
    is_left_out = left_out(tree.exclude)
    return {
        path: file
        for path, file in files.items()
        if not any(is_left_out(part.rpartition("/")[2], part) for part in [path, *_folders(path)])
    }


def _folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _lies_in(tree: Tree) -> bool:
    """Tell whether the repository lies in the tree itself: whoever changed one may have changed the other."""
    top = os.path.realpath(tree.path)
    return f"{os.path.realpath(str(tree.checkout))}/".startswith(f"{top}/")


def _compare(
    tree: str,
    committed: Mapping[str, Committed],
    entries: Mapping[str, Entry],
    now: Listing,
    unread: dict[str, str],
) -> list[Difference]:
    found = []
    of_others = tuple(f"{shown(path)}/" for path, file in committed.items() if file.is_submodule)
    names = {shown(path): file for path, file in committed.items()}
    folders = {folder for path in names for folder in _folders(path)}
    vanished = set(now.vanished)
    for path, file in names.items():
        entry = entries.get(path)
        place = f"{tree.rstrip('/')}/{path}"
        if file.is_submodule:
            continue
        if not file.sound:
            words = "the repository holds another content than the commit names: it is damaged, or was tampered with"
            found.append(Difference(tree, path, place, ("repository",), words, comparing.CONTENT))
        elif entry is None:
            if not now.partial and place not in vanished:
                words = "it is of the commit, and not there"
                found.append(Difference(tree, path, place, ("removed",), words, comparing.REMOVED))
        elif entry.problem:
            unread[place] = entry.problem
        else:
            found += _differs(file, entry)
    for path, entry in entries.items():
        if path in folders and entry.kind != FOLDER:
            leads = f" to {entry.target}" if entry.kind == LINK else ""
            words = f"it is a {entry.kind}{leads}, and was committed as a folder: what is read through it is not told"
            found.append(Difference(tree, path, entry.place, ("kind",), words, comparing.KIND))
            continue
        if path in names or path in folders or not path or entry.secret or path.startswith(of_others):
            continue
        if entry.kind == FOLDER:
            continue  # git knows none of its own; what lies in it is told
        words = f"it is not of the commit: a {entry.kind}"
        found.append(Difference(tree, path, entry.place, ("added",), words, comparing.ADDED))
    return found


def _differs(file: Committed, entry: Entry) -> list[Difference]:
    told: list[tuple[int, str, str]] = []
    if file.is_link != (entry.kind == LINK) or entry.kind not in (FILE, LINK):
        was = "link" if file.is_link else "file"
        told.append((comparing.KIND, "kind", f"it is a {entry.kind}, and was committed as a {was}"))
    elif file.is_link and shown(file.target) != entry.target:
        words = f"it leads to {entry.target}, and was committed to lead to {shown(file.target)}"
        told.append((comparing.LEADS, "target", words))
    elif not file.is_link and file.sha256 != entry.sha256:
        told.append((comparing.CONTENT, "changed", "its content is not that of the commit"))
    executable = file.mode == "100755"
    if entry.kind == FILE and not file.is_link and bool(entry.mode & 0o100) != executable:
        words = "cannot be started, and was committed so that it can" if executable else "can be started, and was not"
        told.append((comparing.MODE, "permissions", f"it {words} (mode {entry.mode:04o})"))
    if not told:
        return []
    told.sort()
    words = "; ".join(part for *_, part in told)
    return [Difference(entry.tree, entry.path, entry.place, tuple(kind for _, kind, _ in told), words, told[0][0])]


def check(frame: pd.DataFrame, *, most: float = 10) -> list[Finding]:
    """Judge what is not as it was committed, as for the baseline; the ``most`` worst are told by name."""
    attrs: dict[Any, Any] = frame.attrs
    findings = told(frame, "files", int(most)) + not_told(attrs)
    differing = set(frame["file"])
    for tree, commit in attrs["commits"].items():
        if any(place.startswith(f"{tree.rstrip('/')}/") for place in differing):
            continue
        name = f"{commit['commit'][:12]} ({commit['name']})"
        message = f"{counted(commit['files'], 'file')} as committed in {name}, and nothing else"
        if commit["submodules"]:
            message += f"; {counted(commit['submodules'], 'submodule')} not compared"
        if commit["inside"]:
            message += "; the repository lies in the tree itself: who changed one may have changed the other"
        findings.append(Finding(object=tree, status=Status.OK, message=message, value=commit["commit"]))
    return findings


commit = Question(
    name="integrity.commit",
    title="Is what was deployed what was committed?",
    probe=probe,
    check=check,
    source="git --git-dir=CHECKOUT ls-tree -r COMMIT; git --git-dir=CHECKOUT --work-tree=TREE diff COMMIT",
    needs=(Machine,),
    deadline=DEADLINE,
    next="deploy the commit anew; before that, keep what lies there: it may be what somebody broke in with",
)
