"""The collection of notebooks: where it is, what is in it, what each says of itself."""

import difflib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from runbook.model.errors import UsageError
from runbook.model.notebook import NotebookMetadata, read_metadata


@dataclass(frozen=True)
class Notebook:
    """One procedure of the collection."""

    path: Path

    @property
    def name(self) -> str:
        """Return the name that links and commands use: the file's, without its ending."""
        return self.path.stem

    @property
    def section(self) -> str:
        """Return the folder it stands in, "1-daily-operations"."""
        return self.path.parent.name

    @cached_property
    def document(self) -> dict[str, Any]:
        """Return the notebook as JSON; raises `UsageError` where it is none."""
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"notebook {self.path} cannot be read: {error}") from error
        if not isinstance(document, dict) or not isinstance(document.get("cells"), list):
            raise UsageError(f"{self.path} is JSON, but no notebook: it has no list of cells")
        return document

    @property
    def metadata(self) -> NotebookMetadata:
        """Return what it says of itself, checked."""
        return read_metadata(self.name, self.document.get("metadata", {}))


def collection_folder() -> Path:
    """Return the folder of the collection.

    It is RUNBOOK_NOTEBOOKS, else ``notebooks`` beside the library, else ``notebooks`` in this folder or one above it.
    """
    named = os.environ.get("RUNBOOK_NOTEBOOKS")
    if named:
        if not Path(named).is_dir():
            raise UsageError(f"RUNBOOK_NOTEBOOKS names {named}, which is no folder")
        return Path(named).absolute()
    places = [Path(__file__).resolve().parents[3], *[Path.cwd(), *Path.cwd().parents]]
    for place in places:
        if any((place / "notebooks").glob("[0-9]-*/*.ipynb")):
            return place / "notebooks"
    raise UsageError("the notebooks are not to be found; name their folder in RUNBOOK_NOTEBOOKS")


def all_notebooks() -> list[Notebook]:
    """Return every notebook of the collection, in the order of the runbook's sections."""
    folder = collection_folder()
    return [Notebook(path) for path in sorted(folder.glob("[0-9]-*/*.ipynb"))]


def find_notebook(name: str) -> Notebook:
    """Return a notebook by its name, with or without its section; raises `UsageError` with near matches."""
    wanted = name.removesuffix(".ipynb").rsplit("/", maxsplit=1)[-1]
    known = {notebook.name: notebook for notebook in all_notebooks()}
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted.lower(), known, n=3, cutoff=0.4) or [
        n for n in known if wanted and wanted in n
    ]
    hint = f"did you mean {' or '.join(near)}?" if near else "`runbook list` shows all"
    raise UsageError(f"unknown notebook {name!r}; {hint}")


_WORD = re.compile(r"[a-z0-9']+")
# What stands in every question, and tells nothing of what is wrong.
_EMPTY = frozenset(
    _WORD.findall(
        "a all am an and any are as at be been but by can cannot could do does for from get gets had has "
        "have how i in is it its me my no not of on or our since so still that the their them there they "
        "this to too very was we what when where which why will with you your "
        "complain complains say says told tell user users people "
    )
)


def by_alert(name: str, notebooks: Iterable[Notebook]) -> list[Notebook]:
    """Return those notebooks that say that an alert of this name leads to them, whatever its case."""
    wanted = name.strip().lower()
    return [one for one in notebooks if wanted in {alert.lower() for alert in one.metadata.alerts}]


# With or without them the same is said.
_LEFT_OUT = frozenset(("a", "an", "are", "is", "our", "the"))


def found_by(symptom: str) -> list[Notebook]:
    """Return the notebooks that an alert's name or a symptom in words leads to, the nearest first.

    Those that an alert of that name leads to come alone. Else those come first that name the words as they are said
    among their symptoms. A notebook counts by how many of the words stand in what it says of itself, whole or at the
    beginning of a word; of as many, by those in its name, then by how few others have them.
    """
    notebooks = all_notebooks()
    if led := by_alert(symptom, notebooks):
        return led
    wanted = [_stem(word) for word in _WORD.findall(symptom.lower()) if word not in _EMPTY]
    told = {one.name: _said(one) for one in notebooks}
    rare = {word: sum(_has(told[one.name], word) for one in notebooks) for word in wanted}
    scores = {}
    for one in notebooks:
        there = {word for word in wanted if _has(told[one.name], word)}
        named = sum(word in one.name for word in there)
        scores[one.name] = (_names(one, symptom), len(there), named, sum(1 / rare[word] for word in there))
    near = [one for one in notebooks if scores[one.name][1]]
    return sorted(near, key=lambda one: (*(-part for part in scores[one.name]), one.metadata.severity, one.name))


def _names(notebook: Notebook, symptom: str) -> int:
    """Return 2 where the words are one of its symptoms, 1 where they stand in one as they are said, else 0."""
    said, told = _plain(symptom), [_plain(one) for one in notebook.metadata.symptoms]
    return 2 if said in told else int(any(f" {said} " in f" {one} " for one in told)) if said else 0


def _plain(words: str) -> str:
    return " ".join(word for word in _WORD.findall(words.lower()) if word not in _LEFT_OUT)


def _said(notebook: Notebook) -> set[str]:
    told = notebook.metadata
    text = " ".join([notebook.name, told.title, *told.symptoms, *told.alerts]).lower()
    return set(_WORD.findall(text))


def _stem(word: str) -> str:
    """Return a word without the ending that its plural and its other forms add."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word.removesuffix(ending)
    return word


def _has(words: set[str], stem: str) -> bool:
    return stem in words or (len(stem) >= 4 and any(word.startswith(stem) for word in words))
