"""The parameters of a notebook, as its parameters cell declares them, checked before anything starts."""

import ast
import difflib
import io
import math
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from runbook.model import UsageError
from runbook.model.collection import Notebook

_KINDS: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
_REFERENCE = "credentials"
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """One declared parameter: ``kind`` is str, int, float or bool."""

    name: str
    kind: type
    default: Any
    says: str


def declared(notebook: Notebook) -> dict[str, Parameter]:
    """Return the parameters by name; raises `UsageError` where a notebook declares none or without type."""
    cells = [c for c in notebook.document["cells"] if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(cells) != 1:
        raise UsageError(f"notebook {notebook.name} has {len(cells)} cells tagged parameters, not one")
    source = "".join(cells[0]["source"])
    found = {}
    lines = _lines(notebook, source)
    comments = _trailing_comments(source)
    for line in lines:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name) or line.value is None:
            raise UsageError(f"notebook {notebook.name}: parameters line {line.lineno} is not `name: type = literal`")
        kind = _KINDS.get(ast.unparse(line.annotation))
        if kind is None:
            raise UsageError(f"notebook {notebook.name}: parameters line {line.lineno}: not str, int, float or bool")
        name = line.target.id
        try:
            default = ast.literal_eval(line.value)
        except ValueError:
            raise UsageError(f"notebook {notebook.name}: parameters line {line.lineno} is no literal") from None
        found[name] = Parameter(name, kind, default, comments.get(line.lineno, ""))
    return found


def _lines(notebook: Notebook, source: str) -> list[ast.stmt]:
    try:
        return ast.parse(source).body
    except SyntaxError as error:
        raise UsageError(f"notebook {notebook.name}: parameters line {error.lineno} is no Python") from None


def parse(notebook: Notebook, assignments: Iterable[str]) -> dict[str, Any]:
    """Return values by name from ``NAME=VALUE`` texts; raises `UsageError` for unknown names and wrong types."""
    known = declared(notebook)
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"-p takes NAME=VALUE, not {assignment!r}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UsageError(f"notebook {notebook.name} has no parameter {name!r}; it has {', '.join(known)}.{hint}")
        values[name] = _typed(notebook, known[name], text)
    return values


def _is_reference(text: str) -> bool:
    from runbook.target import is_reference  # only where one is given: it brings the models of profiles

    return is_reference(text)


def _typed(notebook: Notebook, parameter: Parameter, text: str) -> Any:
    if parameter.name == _REFERENCE and text and not _is_reference(text):
        # What was given is not repeated: it may be what should never be a parameter.
        raise UsageError(
            f"notebook {notebook.name}: parameter {_REFERENCE} takes env:NAME, file:/PATH or keyring:SERVICE/NAME, "
            "where the secret is, never the secret itself"
        )
    try:
        if parameter.kind is bool:
            return _BOOLEANS[text.lower()]
        value = parameter.kind(text)
        if parameter.kind is float and math.isnan(value):
            raise ValueError  # what is compared with it is never too much, and never too little
        return value
    except (ValueError, KeyError):
        kind = {bool: "true or false", int: "a whole number", float: "a number"}[parameter.kind]
        raise UsageError(f"notebook {notebook.name}: parameter {parameter.name} takes {kind}, not {text!r}") from None


def _trailing_comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
