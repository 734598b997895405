"""Scrub a whole notebook document: sources, outputs of every kind, metadata, attachments."""

import copy
from typing import Any

from runbook.redaction.redactor import Redactor


def redact_notebook(document: dict[str, Any], redactor: Redactor, cache: "CellCache | None" = None) -> dict[str, Any]:
    """Return a scrubbed copy of a notebook, for writing.

    The chunks of a stream are joined first: a secret may be split over two of them. ``cache`` keeps what was already
    scrubbed of cells that cannot change any more.
    """
    cells = [
        cache.scrub(index, cell, redactor) if cache else _redact_cell(cell, redactor)
        for index, cell in enumerate(document["cells"])
    ]
    rest = {key: redactor.data(value) for key, value in document.items() if key != "cells"}
    return {"cells": cells, **rest}


class CellCache:
    """Scrubbed copies of cells, kept in memory for as long as the cell stays equal to what was scrubbed."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, dict[str, Any]]] = {}

    def scrub(self, index: int, cell: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
        """Return the scrubbed cell, from memory where it was the same last time."""
        known = self._known.get(index)
        if known is not None and known[0] == cell:
            return known[1]
        scrubbed = _redact_cell(cell, redactor)
        self._known[index] = (copy.deepcopy(cell), scrubbed)
        return scrubbed


def _redact_cell(cell: dict[str, Any], redactor: Redactor) -> dict[str, Any]:
    joined = {key: _as_text(value) if key == "source" else value for key, value in cell.items()}
    if "attachments" in cell:
        joined["attachments"] = {name: _joined_bundle(bundle) for name, bundle in cell["attachments"].items()}
    if "outputs" in cell:
        joined["outputs"] = [_joined_output(output) for output in join_streams(cell["outputs"])]
    scrubbed: dict[str, Any] = redactor.data(joined)
    return scrubbed


def join_streams(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the outputs with all chunks of one stream in the first one's place, so that no split hides a secret."""
    joined: list[dict[str, Any]] = []
    first: dict[str, dict[str, Any]] = {}
    for output in outputs:
        if output.get("output_type") != "stream":
            joined.append(output)
        elif output["name"] in first:
            first[output["name"]]["text"] += _as_text(output["text"])
        else:
            whole = {**output, "text": _as_text(output["text"])}
            first[output["name"]] = whole
            joined.append(whole)
    return joined


def _joined_output(output: dict[str, Any]) -> dict[str, Any]:
    if output.get("output_type") == "error":
        # Frames of a traceback are separate strings; a value printed across two of them must still be seen.
        return {**output, "traceback": ["\n".join(output.get("traceback", []))]}
    if "data" in output:
        return {**output, "data": _joined_bundle(output["data"])}
    return output


def _joined_bundle(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return a MIME bundle with each multi-line text as one; a list in JSON is data, not lines."""
    return {kind: value if kind.endswith("json") else _as_text(value) for kind, value in bundle.items()}


def _as_text(value: Any) -> Any:
    """Return the lines of a notebook's multi-line string as one text; other data as it is."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value
