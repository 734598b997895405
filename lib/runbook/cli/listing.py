"""The command ``list``."""

import sys

from runbook.model.collection import Notebook, all_notebooks, found_by

_NEAREST = 3


def show(symptom: str) -> int:
    """Print the notebooks by section, or those that a symptom or alert leads to, the nearest first; 1 when none does.

    It is those in which all of its words stand; where there are none, the nearest.
    """
    found = [notebook for notebook in all_notebooks() if matches(notebook, symptom)]
    if symptom.strip():
        near = [notebook.name for notebook in found_by(symptom)]
        there = [notebook for notebook in found if notebook.name in near]
        rest = [notebook for notebook in found if notebook.name not in near]
        found = [*sorted(there, key=lambda one: near.index(one.name)), *rest] or found_by(symptom)[:_NEAREST]
    if not found:
        sys.stderr.write(f"runbook: no notebook is found by {symptom!r}; `runbook list` shows all\n")
        return 1
    section = ""
    for notebook in found:
        if notebook.section != section:
            section = notebook.section
            sys.stdout.write(f"{section}\n")
        told = notebook.metadata
        when = f", {told.schedule}" if told.schedule else ""
        changes = "plans changes" if told.changes == "plans" else "read-only"
        sys.stdout.write(
            f"  {notebook.name:<28} {told.title} ({told.severity}, {changes}{when}, about {told.seconds} s)\n"
        )
        if told.symptoms:
            sys.stdout.write(f"  {'':<28}   symptoms: {'; '.join(told.symptoms)}\n")
        if told.alerts:
            sys.stdout.write(f"  {'':<28}   alerts: {', '.join(told.alerts)}\n")
    return 0


def matches(notebook: Notebook, symptom: str) -> bool:
    """Tell whether every word of a symptom stands in what the notebook says of itself."""
    told = notebook.metadata
    text = " ".join([notebook.name, notebook.section, told.title, *told.symptoms, *told.alerts]).lower()
    return all(word in text for word in symptom.lower().split())
