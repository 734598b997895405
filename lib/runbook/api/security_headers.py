"""Does the service tell browsers what to keep from, and keep to itself what it runs on?"""

import re

import pandas as pd

from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.api.strangers import catches_all, not_believed, shortened, user_path
from runbook.connections import ApiConnection
from runbook.model import Asking, Finding, Question, Status, at_least

HEADERS = (
    "strict-transport-security",
    "x-content-type-options",
    "content-security-policy",
    "x-frame-options",
    "cache-control",
    "server",
    "x-powered-by",
)
_DAY = 86_400


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for /health and one for the profile's user_request, asked without a token: path, status, https,
    control (status of a path that nobody serves), and each of `HEADERS` ("" where it is not sent).
    """
    rows = []
    with asking.connection(ApiConnection).stranger() as stranger:
        control = stranger.nowhere()
        for path in ("/health", user_path(asking)):
            answer = stranger.get(path)
            told = {name: answer.headers.get(name, "")[:2000] for name in HEADERS}
            https = stranger.place.startswith("https://")
            row = {"path": path, "status": answer.status, "https": https, "control": control.status}
            rows.append({**row, "catches_all": catches_all(control), **told})
    return pd.DataFrame(rows)


def check(frame: pd.DataFrame, *, hsts_days: float = 180) -> list[Finding]:
    """Judge each header over both answers; what only one of them lacks counts as lacking.

    OWASP's list of secure headers has these for interfaces too, since their answers are opened in browsers. Half a year
    of HSTS is what Mozilla's observatory asks for; it means nothing over plain http.
    """
    if (frame["status"].eq(429) | frame["status"].ge(500)).all():
        statuses = ", ".join(map(str, sorted(set(frame["status"]))))
        message = f"every request was answered {statuses}: what headers an ordinary answer carries is not known"
        return [Finding(object="headers", status=Status.UNKNOWN, message=message)]
    findings = [_hsts(frame, hsts_days)] if frame["https"].all() else []
    sniffing = frame["x-content-type-options"].str.strip().str.lower().eq("nosniff")
    findings.append(_told("X-Content-Type-Options", frame[~sniffing], "nosniff", "a browser may run data as a script"))
    framed = frame["content-security-policy"].str.contains(r"frame-ancestors\s", case=False) | frame[
        "x-frame-options"
    ].str.strip().str.lower().isin(["deny", "sameorigin"])
    protection = "frame-ancestors in Content-Security-Policy, or X-Frame-Options"
    findings.append(_told("frame protection", frame[~framed], protection, "another site may show it in a frame"))
    data = frame.iloc[1:]
    kept = data["cache-control"].str.contains(r"no-store|private|no-cache", case=False)
    findings.append(
        _told("Cache-Control", data[~kept], "no-store, private or no-cache", "a cache on the way may keep users' data")
    )
    findings.append(_versions(frame))
    if frame["catches_all"].any():
        findings.append(not_believed(int(frame["control"].iloc[0])))
    return findings


def _hsts(frame: pd.DataFrame, days: float) -> Finding:
    ages = frame["strict-transport-security"].str.extract(r"max-age\s*=\s*\"?(\d{1,10})", flags=re.IGNORECASE)[0]
    least = ages.astype(float).fillna(0).min() / _DAY
    message = f"Strict-Transport-Security holds for {least:,.0f} days"
    if not least:
        message = "Strict-Transport-Security is not sent: the first request of a browser may go over plain http"
    return at_least("Strict-Transport-Security", float(least), days, -1, unit="days", message=message)


def _told(header: str, lacking: pd.DataFrame, wanted: str, harm: str) -> Finding:
    if lacking.empty:
        return Finding(object=header, status=Status.OK, message="sent")
    paths = " and ".join(lacking["path"])
    message = f"{paths} answered {', '.join(map(str, lacking['status']))} without {wanted}: {harm}"
    return Finding(object=header, status=Status.WARNING, message=message)


def _versions(frame: pd.DataFrame) -> Finding:
    sent = {value for name in ("server", "x-powered-by") for value in frame[name] if value}
    telling = sorted(shortened(value) for value in sent if re.search(r"\d", value))
    if not telling:
        return Finding(object="version", status=Status.OK, message="no header tells the version of what it runs on")
    message = f"a header tells everybody what it runs on: {'; '.join(telling)}"
    return Finding(object="version", status=Status.WARNING, message=message)


security_headers = Question(
    name="api.security_headers",
    title="Does the service tell browsers what to keep from?",
    probe=probe,
    check=check,
    source="curl -sS -D - -o /dev/null {api}/health; curl -sS -D - -o /dev/null {api}$USER_REQUEST",
    needs=(ApiConnection,),
    deadline=15.0,  # three requests
    next="set the header in the proxy or in a middleware of the service",
    explained_by=EXPLAINED_BY_SILENCE,
)
