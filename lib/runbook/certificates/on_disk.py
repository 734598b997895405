"""Is what is served what lies on the disk, and does its key belong to it?"""

import grp
import shlex
import stat
from pathlib import Path
from typing import Any

import pandas as pd

from runbook.certificates.reading import Certificate, from_file, public_key_of
from runbook.certificates.seen import Chain, by_hand, chains
from runbook.connections import TlsEndpoints
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status, first_of

# Groups of people on the usual systems; a key is for a group of servers, such as ssl-cert.
_WIDE = ("users", "staff", "everyone", "nogroup", "nobody")


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each endpoint whose file the profile names: whether both are the same, and its key.

    ``endpoint, file, served, on_disk`` (first letters of the fingerprints, SHA-256), ``newer`` (the file's is the newer
    one), ``problem``; ``key_file, key_fits, key_problem``, ``key_mode`` (of the file, as ls shows it), ``key_group``
    (that may read it, or ""), ``exposed`` (who else may read or change it), ``source``. Raises `DoesNotApply` where the
    profile names no file.
    """
    rows = [_row(chain) for chain in chains(asking) if chain.endpoint.file or chain.endpoint.key_file]
    if not rows:
        raise DoesNotApply(
            f"the profile of {asking.target.name} names no file of an endpoint (file, key_file in "
            "[[certificates.endpoints]]): what is served cannot be compared with what should be"
        )
    return pd.DataFrame(rows)


def _row(chain: Chain) -> dict[str, Any]:
    endpoint, problem = chain.endpoint, chain.problem
    own = chain.certificates[0] if chain.certificates else None
    found: Certificate | None = None
    if endpoint.file is not None:
        try:
            found = from_file(endpoint.file)[0]
        except CouldNotFindOut as error:
            problem = str(error)
    served, on_disk = own.fingerprint if own else "", found.fingerprint if found else ""
    path = shlex.quote(str(endpoint.file or "FILE"))
    print_it = "openssl x509 -noout -fingerprint -sha256"
    return {
        "endpoint": endpoint.label,
        "file": str(endpoint.file or ""),
        "served": served[:16],
        "on_disk": on_disk[:16],
        "same": bool(own and found) and served == on_disk,
        "newer": bool(own and found and found.not_before > own.not_before),
        "problem": problem,
        **_key(endpoint.key_file, found or own),
        "source": f"{by_hand(endpoint)} | {print_it}; {print_it} -in {path}",
    }


def _key(path: Path | None, certificate: Certificate | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"key_file": str(path or ""), "key_fits": None}
    facts |= dict.fromkeys(("key_problem", "key_mode", "key_group", "exposed"), "")
    if path is None:
        return facts
    try:
        about = path.stat()
        facts["key_mode"] = stat.filemode(about.st_mode)
        group = _group(about.st_gid) if about.st_mode & stat.S_IRGRP else ""
        facts |= {"key_group": group, "exposed": _exposed(about.st_mode, group)}
    except OSError as error:
        return {**facts, "key_problem": f"{path} cannot be looked at: {error.strerror}"}
    try:
        key = public_key_of(path)
    except CouldNotFindOut as error:
        return {**facts, "key_problem": str(error)}
    return {**facts, "key_fits": key == certificate.public_key if certificate else None}


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _exposed(mode: int, group: str) -> str:
    """Return who may do with a key what nobody but its owner, and a group of servers, should."""
    if group in _WIDE:
        return f"whoever is in the group {group} may read it, which is no group of servers"
    if mode & stat.S_IROTH:
        return "every user of this machine may read it"
    if mode & (stat.S_IWOTH | stat.S_IWGRP):
        return "others than its owner may change it"
    return ""


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each endpoint: served must be what lies on the disk; the key must belong to it, and be nobody else's.

    A certificate that was renewed and is not served yet is CRITICAL: it runs out as if nobody had renewed it. A key
    that others may read is CRITICAL: whoever has it can pass for the service.
    """
    findings = [finding for row in frame.to_dict("records") for finding in _judged(row)]
    findings.sort(key=lambda finding: finding.status.severity)
    return first_of(findings, "endpoints")


def _judged(row: Any) -> list[Finding]:
    source, found = row["source"], []
    if row["file"]:
        where = row["endpoint"]
        if row["problem"]:
            status, message = Status.UNKNOWN, f"could not be compared: {row['problem']}"
        elif row["same"]:
            status, message = Status.OK, "what is served is what lies on the disk"
        else:
            which = "a newer one lies" if row["newer"] else "another one lies"
            status = Status.CRITICAL
            message = (
                f"it serves the certificate {row['served']}…, while {which} in {row['file']} ({row['on_disk']}…): "
                "what serves it has not taken it up"
            )
        found.append(Finding(object=where, status=status, message=message, source=source))
    if row["key_file"]:
        found.append(_judged_key(row))
    return found


def _judged_key(row: Any) -> Finding:
    where, path = f"key of {row['endpoint']}", shlex.quote(row["key_file"])
    source = f"ls -l {path}; openssl pkey -in {path} -pubout"
    if row["key_fits"] is False:
        message = (
            f"the key in {row['key_file']} does not belong to the certificate: a reload would fail, or serve neither"
        )
        return Finding(object=where, status=Status.CRITICAL, message=message, source=source)
    if row["exposed"]:
        message = f"{row['key_file']} is {row['key_mode']}: {row['exposed']}"
        after = f"chmod o=,g-w {path}; where somebody may have read it: a new key, and have the old certificate revoked"
        return Finding(object=where, status=Status.CRITICAL, message=message, source=source, next=after)
    if row["key_fits"] is None:
        message = row["key_problem"] or "whether it belongs to the certificate is not known: that could not be seen"
        return Finding(object=where, status=Status.UNKNOWN, message=message, source=source)
    message = f"it belongs to the certificate, and is {row['key_mode']}"
    message += f"; the group {row['key_group']} may read it" if row["key_group"] else ""
    return Finding(object=where, status=Status.OK, message=message, source=source)


on_disk = Question(
    name="certificates.on_disk",
    title="Is what is served what lies on the disk?",
    probe=probe,
    check=check,
    source="openssl x509 -in FILE -noout -fingerprint -sha256",
    needs=(TlsEndpoints,),
    next="the second plan of certificate-management reloads what serves it; then look at what is served",
)
