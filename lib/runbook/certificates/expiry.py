"""How many days are left of each certificate?"""

import shlex
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.certificates.reading import Certificate
from runbook.certificates.seen import by_hand, chains, files
from runbook.connections import ApiConnection, TlsEndpoints
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of
from runbook.model.text import to_run

_COLUMNS = [
    "where",
    "kind",
    "certificate",
    "not_before",
    "not_after",
    "left",
    "lifetime",
    "problem",
    "source",
    "offset",
]
# As for the question on clocks: from a minute on nothing that carries times can be judged by this clock.
DOUBTFUL_SECONDS = 60.0


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each certificate: where, kind, certificate, not_before, not_after, left and lifetime (days).

    ``kind`` is served, chain (sent with it) or file; ``problem`` says why one could not be seen. ``offset`` is how far
    the API's clock is ahead of this machine's (seconds; missing where it tells no time).
    """
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = []
    for chain in chains(asking):
        source = f"{by_hand(chain.endpoint)} | openssl x509 -noout -dates"
        if chain.problem:
            rows.append({"where": chain.endpoint.label, "kind": "served", "problem": chain.problem, "source": source})
        for place, one in enumerate(chain.certificates):
            kind = "chain" if place else "served"
            rows.append({**_days(one, now), "where": chain.endpoint.label, "kind": kind, "source": source})
    for path, found, problem in files(asking):
        source = f"openssl x509 -in {shlex.quote(str(path))} -noout -dates"
        if problem:
            rows.append({"where": str(path), "kind": "file", "problem": problem, "source": source})
        rows += [{**_days(one, now), "where": str(path), "kind": "file", "source": source} for one in found[:1]]
    if not rows:
        raise CouldNotFindOut(
            f"the profile of {asking.target.name} names no endpoint and no file in [certificates]: nothing to look at"
        )
    clock = asking.clocks().get(ApiConnection.name)
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame["problem"] = frame["problem"].fillna("")
    frame["offset"] = float(clock.offset) if clock is not None else None
    return frame


def _days(one: Certificate, now: datetime) -> dict[str, Any]:
    return {
        "certificate": one.title,
        "not_before": one.not_before,
        "not_after": one.not_after,
        "left": (one.not_after - now).total_seconds() / 86400,
        "lifetime": (one.not_after - one.not_before).total_seconds() / 86400,
        "problem": "",
    }


def check(frame: pd.DataFrame, *, warning: float = 30, critical: float = 14) -> list[Finding]:
    """Judge the days that are left of each certificate.

    certbot renews when 30 days are left: with fewer, a renewal was missed. The alert CertificateExpiresSoon fires at
    14, which leaves two weeks to mend what keeps it from being renewed. One that lives shorter than 90 days is judged
    by a third of its life, and a sixth of it. What is not valid yet is refused as what has expired is.
    """
    findings = [_judged(row, warning, critical) for row in frame.to_dict("records")]
    findings.sort(key=lambda finding: finding.status.severity)
    told = first_of(findings, "certificates")
    offset = frame["offset"].iloc[0]
    if offset is not None and abs(offset) > DOUBTFUL_SECONDS:
        way = "behind" if offset > 0 else "ahead of"
        message = (
            f"this machine's clock is {abs(offset):,.0f} s {way} the API's: the days above are counted by a doubtful "
            "clock; set the right one first"
        )
        told.append(Finding(object="this machine's clock", status=Status.UNKNOWN, message=message, source="date -u"))
    return told


def _judged(row: Any, warning: float, critical: float) -> Finding:
    where = f"{row['where']}, {row['certificate']}" if row["kind"] == "chain" else str(row["where"])
    if row["problem"]:
        message = f"its certificate could not be looked at: {row['problem']}"
        return Finding(object=where, status=Status.UNKNOWN, message=message, source=row["source"])
    left, lifetime = row["left"], row["lifetime"]
    limit, worst = min(warning, lifetime / 3), min(critical, lifetime / 6)
    facts = {"value": round(left, 2), "unit": "days", "source": row["source"]}
    if left <= 0:
        message = f"expired {-left:.1f} days ago, on {row['not_after']:%Y-%m-%d %H:%M} UTC: who checks it refuses it"
        return Finding(object=where, status=Status.CRITICAL, message=message, threshold=0.0, **facts)
    if left > lifetime:
        message = (
            f"not valid before {row['not_before']:%Y-%m-%d %H:%M} UTC, in {left - lifetime:.1f} days: who checks it "
            "refuses it until then"
        )
        return Finding(object=where, status=Status.CRITICAL, message=message, threshold=0.0, **facts)
    status = Status.CRITICAL if left < worst else Status.WARNING if left < limit else Status.OK
    threshold = round(worst if status is Status.CRITICAL else limit, 2)
    message = f"{left:.1f} of {lifetime:.0f} days are left"
    if status is not Status.OK:
        message += f", until {row['not_after']:%Y-%m-%d %H:%M} UTC: fewer than {threshold:g}, so its renewal was missed"
    return Finding(object=where, status=status, message=message, threshold=threshold, **facts)


expiry = Question(
    name="certificates.expiry",
    title="How many days are left of each certificate?",
    probe=probe,
    check=check,
    source="openssl s_client -connect HOST:PORT -servername NAME </dev/null | openssl x509 -noout -dates",
    needs=(TlsEndpoints, ApiConnection),
    next=f"{to_run('certificate-management')} tells whether certbot could; after a renewal reload what serves it",
)
