"""How bad is it, and what comes next?"""

import re
from collections.abc import Hashable, Iterable, Mapping

import pandas as pd

from runbook.assessment.signs import SIGNS, severity_of, sign_of
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.collection import found_by
from runbook.model.errors import UsageError
from runbook.model.incident import RESPONSE
from runbook.model.text import to_run
from runbook.model.units import counted

WORDS = {"P0": "Critical", "P1": "High", "P2": "Medium", "P3": "Low"}
_COLUMNS = ["place", "check", "object", "severity", "status", "means", "message", "explained_by", "notebook", "next"]
# Of these it is enough not to know them: whether it is an outage cannot be told.
_MUST_BE_KNOWN = {sign.check for sign in SIGNS if sign.critical == "P0"} - {"docker.containers"}
_MOST = 3


def probe(asking: Asking, *, findings: Iterable[Finding] = (), symptom: str = "") -> pd.DataFrame:
    """Return a row for each finding of this run that is a sign of something: place (in the order of causes), check,
    object, severity (P0 to P3), status, means, message, explained_by, notebook, next (what the finding itself says).

    Acknowledged findings are none. attrs hold ``asked`` (how many signs were looked for), ``not_known`` (the checks
    that could not be found out, and nothing tells why) and ``nearest`` (the notebook that the ``symptom`` leads to, or
    ""). Raises `CouldNotFindOut` where nothing was asked before.
    """
    rows, asked, not_known = list[tuple[object, ...]](), set[str](), dict[str, str]()
    for finding in findings:
        found = sign_of(finding)
        if found is None or finding.status is Status.SKIPPED or finding.acknowledged is not None:
            continue
        place, sign = found
        asked.add(finding.check)
        if severity := severity_of(finding, sign):
            rows.append((place, finding.check, finding.object, severity, str(finding.status), sign.means,
                         finding.message, finding.explained_by, sign.notebook, finding.next))  # fmt: skip
        elif finding.status is Status.UNKNOWN and not finding.explained_by:
            not_known.setdefault(finding.check, finding.message)
    if not asked:
        raise CouldNotFindOut("nothing was asked before: the cells above come first")
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame.attrs = {"asked": len(asked), "not_known": not_known, "nearest": _nearest(symptom)}
    frame["how_bad"] = [Status(status).severity for status in frame["status"]]
    frame = frame.sort_values(["severity", "place", "how_bad"], kind="stable", ignore_index=True)
    return frame.drop(columns="how_bad")


def _command(row: Mapping[Hashable, object]) -> str:
    """Return the command that goes on: the finding's own where that runs the same notebook, for it has parameters."""
    own = re.search(
        rf"runbook run {re.escape(str(row['notebook']))} --target \S+(?: -p (?:'[^']*'|\S+))*", str(row["next"])
    )
    return own.group().rstrip(",;:.") if own else to_run(str(row["notebook"]))


def _told(row: Mapping[Hashable, object]) -> str:
    named, message = str(row["object"]), str(row["message"])
    # "Redis: Redis at ... refuses connections" says one thing twice.
    subject = "" if message.startswith(named) else f"{named}: "
    return f"{row['means']} ({row['check']}): {subject}{message}"


def _nearest(symptom: str) -> str:
    if not symptom.strip():
        return ""
    try:
        near = found_by(symptom)
    except UsageError:
        return ""  # the collection is not here
    return near[0].name if near else ""


def check(frame: pd.DataFrame, *, causes: float = _MOST) -> list[Finding]:
    """Judge how bad it is: the worst severity of all signs, by the runbook's levels; P0 and P1 are CRITICAL, the others
    a WARNING. The likeliest cause is told first, and no more than ``causes``: of the signs that nothing else explains
    the most severe, and of these the one that comes first in the order of what causes what.
    """
    not_known = frame.attrs["not_known"]
    findings = []
    worst = str(frame["severity"].min()) if len(frame) else ""
    if len(frame):
        roots = frame[frame["explained_by"] == ""]
        likely = (roots if len(roots) else frame).drop_duplicates("notebook").head(int(causes))
        for number, row in enumerate(likely.to_dict("records")):
            after, told = _command(row), _told(row)
            if number == 0:
                level = f"{worst} - {WORDS[worst]} (Response: {RESPONSE[worst]})"
                status = Status.CRITICAL if worst in ("P0", "P1") else Status.WARNING
                more = len(frame) - 1
                told += f"; {counted(more, 'more sign')}" if more else ""
                findings.append(
                    Finding(object="severity", status=status, message=f"{level}; most likely {told}", value=worst,
                            next=after)
                )  # fmt: skip
            else:
                findings.append(
                    Finding(object=f"also {row['notebook']}", status=Status.WARNING,
                            message=f"{row['severity']}: {told}", value=str(row["severity"]), next=after)
                )  # fmt: skip
    lacking = sorted(_MUST_BE_KNOWN & not_known.keys())
    # Where it is one, nobody has to ask any more.
    if lacking and worst != "P0":
        why = not_known[lacking[0]]
        message = (
            f"whether it is an outage is not known ({', '.join(lacking)}): {why.removeprefix('could not be asked: ')}"
        )
        findings.append(
            Finding(object="not known", status=Status.UNKNOWN, message=message,
                    next="take it for a P0 until it is known: " + to_run("api-down"))
        )  # fmt: skip
    if findings:
        return findings
    known = frame.attrs["asked"] - len(not_known)
    message = f"none of {counted(known, 'sign')} is wrong"
    message += f"; not known: {', '.join(sorted(not_known))}" if not_known else ""
    nearest = frame.attrs["nearest"]
    message += f"; by the symptom, look into {nearest}" if nearest else ""
    after = to_run(nearest) if nearest else ""
    status = Status.OK if known else Status.UNKNOWN
    return [Finding(object="severity", status=status, message=message, value="none", next=after)]


severity = Question(
    name="assessment.severity",
    title="How bad is it, and what comes next?",
    probe=probe,
    check=check,
    source="the findings above, by the runbook's severity levels",
    next="go on with the notebook that is named; a P0 or P1 is an incident: open it, and tell it",
)
