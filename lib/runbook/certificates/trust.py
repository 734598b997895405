"""Would a client trust what is served?"""

from typing import Any

import pandas as pd

from runbook.certificates.reading import is_for
from runbook.certificates.seen import Chain, by_hand, chains
from runbook.connections import TlsEndpoints
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of

# Codes of OpenSSL (X509_V_ERR_…) for a chain that leads to a trusted CA; the days are judged by their own question.
_IN_TIME = {9, 10}
_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _NO_FIRST_ISSUER, _TOO_LONG = 18, 19, 20, 21, 22


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each endpoint: what it sends, what OpenSSL thinks of it, whether it is for the name asked.

    ``endpoint, wanted, names, is_for, subject, issuer, self_signed, sent, verify_code, verify_message, speaks_tls,
    clients, problem, source``.
    """
    rows = [_row(chain) for chain in chains(asking)]
    if not rows:
        raise CouldNotFindOut(f"the profile of {asking.target.name} names no endpoint in [certificates]")
    frame = pd.DataFrame(rows)
    frame["verify_code"] = frame["verify_code"].astype("Int64")
    return frame


def _row(chain: Chain) -> dict[str, Any]:
    served, own = chain.served, chain.certificates[0] if chain.certificates else None
    names = own.names if own else ()
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return {
        "endpoint": chain.endpoint.label,
        "wanted": chain.endpoint.name,
        "names": ", ".join(names[:5]) + more,
        "is_for": is_for(names, chain.endpoint.name),
        "subject": own.subject if own else "",
        "issuer": own.issuer if own else "",
        "self_signed": bool(own and own.self_signed),
        "sent": chain.sent,
        "verify_code": served.verify_code,
        "verify_message": served.verify_message,
        "speaks_tls": served.speaks_tls,
        "clients": chain.endpoint.clients,
        "problem": chain.problem,
        "source": by_hand(chain.endpoint),
    }


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each endpoint as a client does that checks: a chain to a CA that it trusts, and the name that it asked for.

    Of clients that do not check (PostgreSQL's ``sslmode=require``) it is a WARNING: they notice nothing, which is what
    whoever stands in between hopes for.
    """
    findings = [_judged(row) for row in frame.to_dict("records")]
    findings.sort(key=lambda finding: finding.status.severity)
    return first_of(findings, "endpoints")


def _judged(row: Any) -> Finding:
    def finding(status: Status, message: str) -> Finding:
        return Finding(object=row["endpoint"], status=status, message=message, source=row["source"])

    if row["problem"]:
        status = Status.UNKNOWN if row["speaks_tls"] else Status.CRITICAL
        return finding(status, f"no TLS with it: {row['problem']}")
    code = None if pd.isna(row["verify_code"]) else int(row["verify_code"])
    wrong = []
    if not row["is_for"]:
        told = f"it is for {row['names']}" if row["names"] else "it names no host (no subject alternative name)"
        wrong.append((f"it is not for {row['wanted']}: {told}", row["clients"] == "check all"))
    if (mistrust := _mistrust(row, code)) != "":
        wrong.append((mistrust, row["clients"] != "check nothing"))
    if wrong:
        noticed = any(one[1] for one in wrong)
        unnoticed = "" if noticed else f"; its clients {row['clients']}, and do not notice"
        status = Status.CRITICAL if noticed else Status.WARNING
        return finding(status, "; ".join(one[0] for one in wrong) + unnoticed)
    if code is None:
        return finding(Status.UNKNOWN, f"whether it is trusted is not known: {row['verify_message']}")
    how = "by a chain of one" if row["sent"] == 1 else f"by a chain of {row['sent']}"
    return finding(Status.OK, f"trusted {how}, and for {row['wanted']}")


def _mistrust(row: Any, code: int | None) -> str:
    """Return why a client does not trust the chain, in words; "" where it does, or that is not known."""
    if code is None or code == 0 or code in _IN_TIME:
        return ""
    if row["self_signed"]:
        return "it is self-signed, and no client trusts it that was not given it"
    if code == _SELF_SIGNED_IN_CHAIN:
        return f"its chain ends at a CA that is not trusted here ({row['issuer']} issued it)"
    if code in (_NO_ISSUER, _NO_FIRST_ISSUER):
        if row["sent"] == 1:
            return (
                f"its issuer ({row['issuer']}) is neither sent with it nor trusted here: the intermediate certificate "
                "is missing (serve fullchain.pem, not cert.pem), or its CA is trusted by nobody"
            )
        return f"its chain of {row['sent']} leads to no CA that is trusted here ({row['issuer']} issued it)"
    if code == _TOO_LONG:
        return f"its chain of {row['sent']} is too long"
    return f"clients refuse it: {row['verify_message']}"


trust = Question(
    name="certificates.trust",
    title="Would a client trust what is served?",
    probe=probe,
    check=check,
    source="openssl s_client -connect HOST:PORT -servername NAME -verify_return_error -verify_hostname NAME </dev/null",
    needs=(TlsEndpoints,),
    next="serve the certificate that is for this name, with its intermediates, from a CA that the clients trust",
)
