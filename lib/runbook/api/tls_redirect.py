"""Is who comes over plain http sent to https?"""

import ipaddress
from urllib.parse import urlsplit

import pandas as pd

from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.api.strangers import shortened
from runbook.connections import ApiConnection
from runbook.model import Asking, DoesNotApply, Finding, Question, Status, Unreachable

_PLAIN_PORT_IS_CLOSED = ("refused", "timeout")


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: asked (address without TLS), https (whether the profile's own is with TLS), answered, kind and
    reason (why not), status, leads_to.

    Asked is the profile's api.plain_url, else port 80 of the same host. Raises `DoesNotApply` where the profile has the
    service on this machine itself, over http.
    """
    api, named = asking.connection(ApiConnection), asking.target.api
    parts = urlsplit(named.url)
    if parts.scheme == "http" and _on_loopback(parts.hostname or ""):
        raise DoesNotApply(f"the profile has the service at {named.url}: nothing leaves this machine there")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    plain = named.plain_url or (named.url if parts.scheme == "http" else f"http://{host}")
    row = {"asked": plain, "https": parts.scheme == "https", "answered": False, "kind": "", "reason": ""}
    with api.stranger(plain) as stranger:
        try:
            answer = stranger.get("/health", seconds=asking.target.deadlines.connect)
        except Unreachable as error:
            return pd.DataFrame([{**row, "kind": error.kind, "reason": error.reason, "status": 0, "leads_to": ""}])
    return pd.DataFrame([{**row, "answered": True, "status": answer.status, "leads_to": answer.leads_to}])


def _on_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the answer without TLS: sent to https, or no answer at all, is well."""
    row = frame.iloc[0]
    asked, status = str(row["asked"]), int(row["status"])
    if not row["answered"]:
        found = Status.OK if row["kind"] in _PLAIN_PORT_IS_CLOSED and row["https"] else Status.UNKNOWN
        return [Finding(object=asked, status=found, message=f"no answer without TLS: {row['reason']}")]
    if str(row["leads_to"]).lower().startswith("https://"):
        message = f"answered {status} and leads to {shortened(str(row['leads_to']))}"
        return [Finding(object=asked, status=Status.OK, message=message)]
    message = (
        f"answered {status} over plain http and does not lead to https: passwords and tokens can be read on the way"
    )
    return [Finding(object=asked, status=Status.WARNING, message=message, value=status, unit="HTTP status")]


tls_redirect = Question(
    name="api.tls_redirect",
    title="Is who comes over plain http sent to https?",
    probe=probe,
    check=check,
    source="curl -sS -o /dev/null -w '%{http_code} %{redirect_url}\n' http://HOST/health   "
    "# or the profile's api.plain_url",
    needs=(ApiConnection,),
    deadline=10.0,
    next="have the proxy answer 308 to https on its plain port, or close that port",
    explained_by=EXPLAINED_BY_SILENCE,
)
