"""The collection of notebooks: where it is, what is in it, what each says of itself."""

import difflib
import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from runbook.model import UsageError
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
