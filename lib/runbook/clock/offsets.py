"""Do the clocks of the target's parts agree with this machine's?"""

import pandas as pd

from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, at_most


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each dependency that tells the time: dependency, offset, precision (seconds)."""
    rows = [
        {
            "dependency": f"{name} ({clock.whose})" if clock.whose else name,
            "offset": clock.offset,
            "precision": clock.precision,
        }
        for name, clock in asking.clocks().items()
    ]
    if not rows:
        raise CouldNotFindOut("no dependency answered, so no other clock was seen")
    return pd.DataFrame(rows)


def check(frame: pd.DataFrame, *, warning: float = 5, critical: float = 60) -> list[Finding]:
    """Judge each offset in seconds, ahead or behind alike.

    From 5 s on, lines of different logs are put in the wrong order; from a minute on, tokens and rate limits that carry
    times are refused or never end, and no timeline of an incident holds.
    """
    findings = []
    for row in frame.to_dict("records"):
        way = "ahead of" if row["offset"] > 0 else "behind"
        agrees = row["offset"] == 0
        told = (
            "agrees with this machine's clock" if agrees else f"{abs(row['offset']):.1f} s {way} this machine's clock"
        )
        size = round(abs(row["offset"]), 1)
        findings.append(at_most(row["dependency"], size, warning, critical, unit="s", message=told))
    bad = [finding for finding in findings if finding.status is not Status.OK]
    if len(bad) > 1 and len(bad) == len(findings) and frame["offset"].max() - frame["offset"].min() < 2 * warning:
        message = f"all {len(findings)} other clocks agree with each other and not with this machine's: it is this one"
        findings.append(Finding(object="this machine", status=Status.CRITICAL, message=message))
    return findings


offsets = Question(
    name="clock.offsets",
    title="Do all clocks agree?",
    probe=probe,
    check=check,
    source="date -u; psql -c 'SELECT clock_timestamp()'; redis-cli -u {redis} TIME; curl -sSI {api}/health",
    next="mend time synchronisation (chronyc tracking, timedatectl) before trusting any time in a log",
)
