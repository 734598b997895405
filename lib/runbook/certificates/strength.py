"""Are keys, signatures and versions of TLS strong enough?"""

from typing import Any

import pandas as pd

from runbook.certificates.reading import Certificate
from runbook.certificates.seen import by_hand, chains
from runbook.connections import TlsEndpoints
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, first_of

_WEAK_DIGESTS = ("md5", "sha1")
_OLD = ("TLS 1.0", "TLS 1.1")
_NEW = ("TLS 1.2", "TLS 1.3")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each certificate sent: endpoint, place (0: its own), certificate, key, bits, signed_by, root.

    ``accepted``, ``refused`` and ``unknown`` are the versions of TLS of its endpoint; ``problem`` says why there is no
    certificate.
    """
    rows: list[dict[str, Any]] = []
    for chain in chains(asking):
        versions = chain.served.versions
        facts = {
            "endpoint": chain.endpoint.label,
            "accepted": ", ".join(name for name, taken in versions.items() if taken),
            "refused": ", ".join(name for name, taken in versions.items() if taken is False),
            "unknown": ", ".join(name for name, taken in versions.items() if taken is None),
            "problem": chain.problem,
            "source": by_hand(chain.endpoint),
        }
        rows += [{**facts, "place": place, **_key(one)} for place, one in enumerate(chain.certificates)]
        if chain.problem:
            rows.append({**facts, "place": 0, "certificate": "", "key": "", "bits": 0, "signed_by": "", "root": False})
    if not rows:
        raise CouldNotFindOut(f"the profile of {asking.target.name} names no endpoint in [certificates]")
    return pd.DataFrame(rows)


def _key(one: Certificate) -> dict[str, Any]:
    facts = {"certificate": one.title, "key": one.key, "bits": one.key_bits, "signed_by": one.signed_by}
    return {**facts, "root": one.self_signed}


def check(frame: pd.DataFrame, *, rsa_bits: float = 2048, curve_bits: float = 256) -> list[Finding]:
    """Judge each endpoint: its keys, the digests of its signatures, the versions of TLS that it takes.

    RSA below 2048 bits and curves below 256 are refused by every public CA (CA/Browser Forum, 6.1.5) and by OpenSSL at
    its usual level; MD5 and SHA-1 can be forged. A root's own signature proves nothing, and is not judged. TLS 1.0 and
    1.1 are deprecated (RFC 8996): a WARNING.
    """
    findings = [
        _judged(str(endpoint), rows.to_dict("records"), rsa_bits, curve_bits)
        for endpoint, rows in frame.groupby("endpoint", sort=False)
    ]
    findings.sort(key=lambda finding: finding.status.severity)
    return first_of(findings, "endpoints")


def _judged(endpoint: str, rows: list[Any], rsa_bits: float, curve_bits: float) -> Finding:
    own = rows[0]
    source = own["source"]
    if own["problem"]:
        message = f"could not be looked at: {own['problem']}"
        return Finding(object=endpoint, status=Status.UNKNOWN, message=message, source=source)
    weak = [words for row in rows if (words := _weak(row, rsa_bits, curve_bits))]
    accepted = own["accepted"].split(", ")
    old = [version for version in _OLD if version in accepted]
    unknown = own["unknown"].split(", ") if own["unknown"] else []
    if weak:
        also = f"; it takes {' and '.join(old)} as well" if old else ""
        return Finding(object=endpoint, status=Status.CRITICAL, message="; ".join(weak) + also, source=source)
    if old:
        message = f"it takes {' and '.join(old)}, which RFC 8996 deprecates: allow TLS 1.2 and 1.3 only"
        return Finding(object=endpoint, status=Status.WARNING, message=message, source=source)
    not_known = [version for version in _OLD if version in unknown]
    if not_known or not [version for version in _NEW if version in accepted]:
        message = f"whether it takes {' and '.join(not_known or _NEW)} is not known: nothing that can be read was told"
        return Finding(object=endpoint, status=Status.UNKNOWN, message=message, source=source)
    key = f"{own['key']} of {own['bits']} bits, signed with {own['signed_by']}"
    message = f"{key}; takes {own['accepted']}"
    return Finding(object=endpoint, status=Status.OK, message=message, source=source)


def _weak(row: Any, rsa_bits: float, curve_bits: float) -> str:
    whose = "its key" if row["place"] == 0 else f"the key of {row['certificate']}"
    if row["key"] in ("RSA", "DSA") and row["bits"] < rsa_bits:
        return f"{whose} is weak: {row['key']} of {row['bits']} bits, where {rsa_bits:g} is the least"
    if row["key"] == "EC" and row["bits"] < curve_bits:
        return f"{whose} is weak: a curve of {row['bits']} bits, where {curve_bits:g} is the least"
    if row["signed_by"] in _WEAK_DIGESTS and not (row["root"] and row["place"] > 0):
        of = "its signature" if row["place"] == 0 else f"the signature of {row['certificate']}"
        return f"{of} is weak: {row['signed_by'].upper()} can be forged"
    return ""


strength = Question(
    name="certificates.strength",
    title="Are keys, signatures and versions of TLS strong enough?",
    probe=probe,
    check=check,
    source="openssl s_client -connect HOST:PORT -servername NAME -tls1_1 </dev/null",
    needs=(TlsEndpoints,),
    next="renew with a new key (RSA of 2048 bits or more, or P-256), and set the least version of TLS to 1.2",
)
