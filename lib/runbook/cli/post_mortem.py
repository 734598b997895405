"""What ``incident report`` does: gather, verify, show, seal."""

import argparse
from datetime import UTC, datetime

from runbook.cli.incident import bring_up_to_date, redactor_for, say, tell, who
from runbook.evidence.archive import archive_folder
from runbook.evidence.incident_page import REPORT_PAGE, REPORT_PDF
from runbook.evidence.incidents import find, write_entry
from runbook.evidence.keys import trusted_keys
from runbook.model import UsageError
from runbook.model.incident import IncidentEntry
from runbook.model.units import counted
from runbook.postmortem.page import render_post_mortem
from runbook.postmortem.pdf import printed
from runbook.postmortem.sections import empty_sections, keep_sections, ownerless, read_sections
from runbook.postmortem.story import story


def report(arguments: argparse.Namespace) -> int:
    """Make the post-mortem of an incident, seal it, and say where it is; 1 where a record is not what was sealed."""
    archive = archive_folder()
    if not archive.is_dir():
        raise UsageError(f"there is no archive {archive}: nothing was run or noted yet")
    incident = find(arguments.which, archive)
    redactor = redactor_for(incident)
    path = keep_sections(archive, incident, redactor)
    told = story(incident.id, archive=archive, keys=trusted_keys(arguments.key))
    assert told is not None
    now = datetime.now(UTC)
    made = f"Made at {now:%Y-%m-%d %H:%M:%S} UTC by {redactor.text(who())}."
    page = render_post_mortem(told, made=made)
    files = {REPORT_PAGE: page, "post-mortem.md": path.read_bytes()}
    if not arguments.no_pdf:
        content, why = printed(render_post_mortem(told, made=made, links=False))
        files |= {REPORT_PDF: content} if content else {}
        if why:
            tell(f"no PDF was made: {why}")
    whole = sum(cited.standing == "sealed" for cited in told.cited)
    standing = f"{whole} of {counted(len(told.cited), 'record')} {'is' if whole == 1 else 'are'} what was sealed"
    entry = IncidentEntry(
        incident=incident.id,
        kind="report",
        at=f"{now:%Y-%m-%dT%H:%M:%SZ}",
        written=now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        author=who(),
        text=f"a post-mortem was made; {standing}",
    )
    place = write_entry(entry, redactor, archive, files)
    bring_up_to_date(incident)
    say(str(place.folder / REPORT_PAGE))
    if REPORT_PDF in files:
        say(str(place.folder / REPORT_PDF))
    tell(f"{incident.id}: {standing}")
    for cited in told.broken:
        tell(f"{cited.standing.upper()}  {cited.run_id}: {cited.why}")
    for gap in told.gaps:
        tell(f"MISSING  {gap}")
    if told.beside:
        apart = counted(len(told.beside), "run is", "runs are")
        tell(
            f"{apart} on the same target while it lasted, and not in it: "
            f"evidence add FILE.ipynb --incident {incident.id} attaches one"
        )
    sections = read_sections(archive, incident.id)
    nobody = ownerless(sections)
    if nobody:
        tell(f"nobody owns: {'; '.join(nobody)}")
    empty = empty_sections(sections)
    if empty:
        tell(f"still to be written, in {path}: {', '.join(empty)}; then make the report again")
    return 1 if told.broken or told.gaps else 0
