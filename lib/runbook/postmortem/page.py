"""The post-mortem as one page that opens for ever and offline: what happened, when, how bad, what helped."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runbook.evidence.cells import prose_of
from runbook.evidence.page import part, policy, style_class, template
from runbook.evidence.visible import visible_text
from runbook.model.units import counted
from runbook.postmortem.changes import changes
from runbook.postmortem.course import figures
from runbook.postmortem.events import Event, changes_begun, events, people
from runbook.postmortem.impact import errors_by_minute, impact
from runbook.postmortem.plots import KeyFigures, StatusCourse
from runbook.postmortem.sections import Section, ownerless, read_sections
from runbook.postmortem.story import Story
from runbook.session.plots import Plot

# A browser lays out so many rows in a moment; of a longer story the runs in which nothing was wrong give way first.
ROWS_SHOWN = 3_000
CITED_SHOWN = 5_000


@dataclass(frozen=True)
class Shown:
    """A plot on the page: the picture's address, and in a line what it shows."""

    address: str
    text: str


def render_post_mortem(story: Story, *, made: str, links: bool = True) -> bytes:
    """Return the page of a story; ``made`` says when it was made, and where the chains had come to.

    ``links`` False leaves out those to the records, which hold only within the archive: for print. The same story and
    sections give the same bytes.
    """
    told = events(story)
    shown, quiet = _rows(told)
    sections = read_sections(story.archive, story.incident.id)
    style = part("common.css") + part("post-mortem.css")
    page: str = template("post-mortem.html").render(
        incident=story.incident,
        story=story,
        made=made,
        targets=sorted(
            {*story.incident.targets, *(c.record.target for c in story.runs if c.record and c.record.target)}
        ),
        people=people(story, told),
        measures=impact(story),
        course=_picture(StatusCourse(story)),
        figures=_picture(KeyFigures(story)) if figures(story) or errors_by_minute(story) else None,
        marked=changes_begun(story),
        rows=shown,
        quiet=quiet,
        changes=changes(story),
        sections=[(section, prose_of(section.text) if section.text else None) for section in sections],
        ownerless=ownerless(sections),
        whole=sum(cited.standing == "sealed" for cited in story.cited),
        cited=story.cited[:CITED_SHOWN],
        uncited=max(0, len(story.cited) - CITED_SHOWN),
        href=(lambda cited: f"../../../{cited.href}") if links else (lambda cited: ""),
        style=style,
        policy=policy(style),
        style_class=style_class,
        counted=counted,
        clock=lambda at: f"{at:%Y-%m-%d %H:%M:%S}",
        is_empty=_is_empty,
    )
    return page.encode(errors="replace")


def _rows(told: list[Event]) -> tuple[list[Event], int]:
    """Return the events to show, and how many runs in which nothing was wrong were left out for want of room."""
    if len(told) <= ROWS_SHOWN:
        return told, 0
    said = [event for event in told if not (event.kind == "run" and event.status == "OK")]
    return said[:ROWS_SHOWN], len(told) - len(said[:ROWS_SHOWN])


def _picture(plot: Plot) -> Shown:
    bundle: Mapping[str, Any] = plot._repr_mimebundle_()
    return Shown(f"data:image/png;base64,{base64.b64encode(bundle['image/png']).decode()}", visible_text(plot.text()))


def _is_empty(section: Section) -> bool:
    return not section.text
