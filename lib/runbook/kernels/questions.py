"""Which questions there are: each package of things asked lists its own, and is found by being there."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from runbook.model import Change, Question

_LIBRARY = str(Path(__file__).parent.parent)
_NOT_ASKED = {"cli", "runner", "kernels", "session", "model", "plans"}


def packages() -> Iterator[str]:
    """Yield the names of the packages that may hold questions."""
    for module in pkgutil.iter_modules([_LIBRARY], "runbook."):
        if module.ispkg and module.name.rpartition(".")[2] not in _NOT_ASKED:
            yield module.name


def all_questions() -> Iterator[Question]:
    """Return every question of the library."""
    for name in packages():
        yield from getattr(import_module(name), "questions", ())


def all_changes() -> Iterator[Change]:
    """Return every change of the library."""
    for name in packages():
        listed = getattr(import_module(name), "changes", ())
        yield from listed if isinstance(listed, tuple) else ()  # a module of that name lists none


def thresholds() -> dict[str, list[str]]:
    """Return the names of each question's thresholds, by the question's."""
    return {question.name: list(question.thresholds) for question in all_questions()}
