"""Which notebook does an alert, or a complaint in words, lead to?"""

import pandas as pd

from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status
from runbook.model.collection import found_by
from runbook.model.errors import UsageError
from runbook.model.text import printable, to_run

_MOST = 3


def probe(asking: Asking, *, symptom: str = "") -> pd.DataFrame:
    """Return a row for each notebook that an alert's name or a symptom in words leads to, the nearest first, at most
    three: symptom, notebook, title, severity, by_alert (an alert of that name leads to it).

    Raises `DoesNotApply` without a symptom, `CouldNotFindOut` where the collection is not here.
    """
    if not symptom.strip():
        raise DoesNotApply("no alert and no symptom is given; give `symptom`: HighErrorRate, the queue grows")
    try:
        near = found_by(symptom)[:_MOST]
    except UsageError as error:
        raise CouldNotFindOut(str(error)) from error
    rows = [
        (printable(symptom)[:120], one.name, one.metadata.title, one.metadata.severity,
         symptom.strip().lower() in {alert.lower() for alert in one.metadata.alerts})
        for one in near
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["symptom", "notebook", "title", "severity", "by_alert"])
    frame.attrs = {"symptom": printable(symptom)[:120]}
    return frame


def check(frame: pd.DataFrame) -> list[Finding]:
    """Tell which notebook it leads to; where none is found, that is UNKNOWN: what was said may be bad all the same."""
    if frame.empty:
        message = f"no notebook is found by {frame.attrs['symptom']!r}: go by the severity below"
        after = "say it in other words, or see `runbook list`"
        return [Finding(object="symptom", status=Status.UNKNOWN, message=message, next=after)]
    first = frame.iloc[0]
    how = "the alert leads" if first["by_alert"] else "the words lead"
    others = ", ".join(frame["notebook"].iloc[1:])
    message = f"{how} to {first['notebook']} ({first['title']})"
    message += f"; or to {others}" if others else ""
    return [
        Finding(
            object="symptom",
            status=Status.OK,
            message=message,
            value=str(first["notebook"]),
            next=to_run(first["notebook"]),
        )
    ]


door = Question(
    name="assessment.door",
    title="Which notebook does the alert, or the complaint, lead to?",
    probe=probe,
    check=check,
    source="the metadata of each notebook: symptoms, alerts",
    next="say it in other words, or see `runbook list`",
)
