"""Which notebooks an alert leads to: the one that its ``runbook_url`` names, else those that name the alert."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from runbook.model import UsageError
from runbook.model.collection import Notebook, by_alert
from runbook.serving.notification import Alert

# For an alert that no notebook knows, as for a trouble that nobody has named yet.
ELSE = "first-five-minutes"


@dataclass(frozen=True)
class Lead:
    """A notebook that an alert leads to, and why."""

    notebook: Notebook
    why: str
    known: bool = True


class Leads:
    """The collection, as alerts lead into it; it is read once."""

    def __init__(self, notebooks: Iterable[Notebook]) -> None:
        # What tells of an incident tells nothing of the target.
        self.notebooks = {one.name: one for one in notebooks if not one.metadata.about_incident}
        if ELSE not in self.notebooks:
            raise UsageError(f"the collection has no notebook {ELSE}, which alerts without one lead to")

    def of(self, alert: Alert) -> list[Lead]:
        """Return what an alert leads to, never nothing."""
        named = _named(alert.annotations.get("runbook_url", ""))
        if named in self.notebooks:
            return [Lead(self.notebooks[named], "its runbook_url names it")]
        led = by_alert(alert.name, self.notebooks.values()) if alert.name.strip() else []
        if led:
            return [Lead(notebook, "it names the alert") for notebook in led]
        return [Lead(self.notebooks[ELSE], "no notebook knows the alert", known=False)]


def _named(url: str) -> str:
    """Return the name of the notebook that an address ends with, "" where it ends with none."""
    try:
        path = PurePosixPath(unquote(urlsplit(url.strip()).path))
    except ValueError:
        return ""
    return path.stem if path.suffix == ".ipynb" else ""
