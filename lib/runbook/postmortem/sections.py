"""The parts of a post-mortem that people write: kept in a file beside the incident's page, read again each time."""

import re
from dataclasses import dataclass
from pathlib import Path

from runbook.evidence.archive import write_whole
from runbook.evidence.incidents import INCIDENTS_FOLDER, Incident
from runbook.model import RunFailed
from runbook.model.layout import make_private
from runbook.redaction import Redactor

# Each heading with what belongs under it.
ASKED = {
    "Summary": "In three sentences, for somebody who was not there: what happened, whom it hit, what ended it.",
    "Detection": "How was it noticed, and how long after it began? Which alert fired, and which one should have?",
    "Trigger": "What set it off: a deployment, a load, a disk, a certificate, a change by hand?",
    "Contributing factors": "What made it possible, longer or worse? There is more than one; none of them is a person.",
    "Resolution": "What ended it, and how is it known that it did?",
    "What went well": "What would be missed next time if it were not there?",
    "Actions": "Each with an owner and a date; an action without an owner is a wish.",
}
ACTIONS = "| action | owner | due | done |\n|---|---|---|---|\n| | | | |"
_HEADING = re.compile(r"^##[ \t]+(.+?)[ \t]*$", re.MULTILINE)
_HINT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Section:
    """A heading, what is asked under it ("" for one that somebody added), and what was written ("" for nothing)."""

    heading: str
    asked: str
    text: str


def sections_file(archive: Path, incident: str) -> Path:
    """Return where the parts that people write are kept."""
    return archive / INCIDENTS_FOLDER / f"{incident}.md"


def read_sections(archive: Path, incident: str) -> list[Section]:
    """Return the sections as they stand; those that the file does not have, or has nothing in, are empty."""
    try:
        content = sections_file(archive, incident).read_text(encoding="utf-8", errors="replace")
    except OSError:
        content = ""
    parts = _HEADING.split(_HINT.sub("", content))
    written = {heading.strip(): text.strip() for heading, text in zip(parts[1::2], parts[2::2], strict=True)}
    written = {heading: "" if _is_empty(text) else text for heading, text in written.items()}
    asked = [Section(heading, hint, written.pop(heading, "")) for heading, hint in ASKED.items()]
    return [*asked, *(Section(heading, "", text) for heading, text in written.items() if text)]


def keep_sections(archive: Path, incident: Incident, redactor: Redactor) -> Path:
    """Make the file with its headings where there is none, and take secrets out of one that there is; return its path.

    What people wrote is kept as it is. Raises `RunFailed` where it cannot be written.
    """
    path = sections_file(archive, incident.id)
    try:
        if not path.exists():
            make_private(path.parent)
            write_whole(path, _template(incident).encode(), replace=False)
        was = path.read_bytes()
        scrubbed = redactor.text(was.decode(errors="replace")).encode(errors="replace")
        if scrubbed != was:
            write_whole(path, scrubbed)
    except OSError as error:
        raise RunFailed(f"the sections to fill, {path}, cannot be written: {error.strerror}") from error
    return path


def empty_sections(sections: list[Section]) -> list[str]:
    """Return the headings under which nothing was written yet."""
    return [section.heading for section in sections if section.asked and not section.text]


def ownerless(sections: list[Section]) -> list[str]:
    """Return the actions of the table that name no owner."""
    text = next((section.text for section in sections if section.heading == "Actions"), "")
    rows = [line for line in text.splitlines() if line.strip().startswith("|")][2:]
    cells = [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows]
    return [row[0] for row in cells if row and row[0] and (len(row) < 2 or not row[1])]


def _template(incident: Incident) -> str:
    head = f"<!-- The sections of the post-mortem of {incident.id} that people write, in Markdown. `incident report`\n"
    head += "takes them into the page, and never overwrites them. Comments like this one are not shown. -->\n"
    parts = [f"## {heading}\n\n<!-- {hint} -->\n" for heading, hint in ASKED.items()]
    return head + "\n" + "\n".join(parts) + f"\n{ACTIONS}\n"


def _is_empty(text: str) -> bool:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines and all(line.startswith("|") for line in lines):
        return all(not line.strip("| \t") for line in lines[2:])
    return not lines
