"""Is the certificate in the cluster's secret the one that lies on the disk, with its key?"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.certificates.reading import Certificate, content, from_bytes, public_key_from
from runbook.connections import KubernetesConnection
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status
from runbook.model.text import printable
from runbook.target import TlsSecret

TYPE = "kubernetes.io/tls"
COLUMNS = ["secret", "exists", "type", "problem", "in_cluster", "chain", "until", "key_fits", "file", "on_disk",
           "file_problem", "newer", "now", "source"]  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain, and whether the key that lies beside it belongs to it (None: it cannot be read)."""

    chain: tuple[Certificate, ...] = ()
    key_fits: bool | None = None
    problem: str = ""

    @property
    def fingerprints(self) -> list[str]:
        """Return the fingerprints of the whole chain (SHA-256), its own first."""
        return [one.fingerprint for one in self.chain]

    @property
    def told(self) -> str:
        """Return what tells this one from another, to be read."""
        if not self.chain:
            return "nothing that can be read"
        own = self.chain[0]
        more = f", {len(self.chain)} in its chain" if len(self.chain) > 1 else ""
        return f"{own.fingerprint[:16]} (for {own.title}, until {own.not_after:%Y-%m-%d}{more})"


def pair_of(certificate: bytes, key: bytes, where: str) -> Pair:
    """Return what a certificate's file and its key's say; of the key nothing but whether it belongs to it."""
    try:
        chain = tuple(from_bytes(certificate, f"the certificate of {where}"))
    except CouldNotFindOut as error:
        return Pair(problem=str(error))
    try:
        fits = public_key_from(key, f"the key of {where}") == chain[0].public_key
    except CouldNotFindOut as error:
        return Pair(chain, None, str(error))
    return Pair(chain, fits, "" if fits else f"the key of {where} does not belong to its certificate")


def differences(there: Pair, here: Pair) -> list[str]:
    """Return in words what of two certificates is not the same; of their keys only whether they are one."""
    if not (there.chain and here.chain):
        return []
    old, new = there.chain[0], here.chain[0]
    told = {
        "names": [", ".join(one.names) for one in (old, new)],
        "issuer": [one.issuer for one in (old, new)],
        "serial number": [one.serial for one in (old, new)],
        "valid from": [f"{one.not_before:%Y-%m-%d %H:%M} UTC" for one in (old, new)],
        "valid until": [f"{one.not_after:%Y-%m-%d %H:%M} UTC" for one in (old, new)],
        "kind of key": [f"{one.key} {one.key_bits}" for one in (old, new)],
        "certificates in the chain": [str(len(pair.chain)) for pair in (there, here)],
    }
    found = [f"{name} {before} becomes {after}" for name, (before, after) in told.items() if before != after]
    return [*found, f"the key {'stays the same' if old.public_key == new.public_key else 'is another one'}"]


def on_disk(named: TlsSecret) -> Pair:
    """Return the pair that the secret is made of; raises `CouldNotFindOut` where a file cannot be read."""
    return pair_of(content(named.file), content(named.key_file), str(named.file))


def in_cluster(found: dict[str, Any], name: str) -> Pair:
    """Return the pair that a secret holds."""
    data = found.get("data") or {}
    try:
        certificate, key = (base64.b64decode(data.get(one) or "", validate=True) for one in ("tls.crt", "tls.key"))
    except (binascii.Error, ValueError, TypeError):
        return Pair(problem=f"secret {name} holds what is no base64")
    if not certificate or not key:
        return Pair(problem=f"secret {name} lacks {'tls.crt' if not certificate else 'tls.key'}")
    return pair_of(certificate, key, f"secret {name}")


def named_secret(asking: Asking) -> TlsSecret:
    """Return the secret that the profile names; raises `DoesNotApply` where it names none."""
    if lacking := KubernetesConnection.lacking(asking.target):
        raise DoesNotApply(lacking)
    named: TlsSecret | None = asking.target.kubernetes.tls_secret
    if named is None:
        raise DoesNotApply(f"the profile of {asking.target.name} names no [kubernetes.tls_secret]")
    return named


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: secret (with its cluster), exists, type, problem (of what it holds), in_cluster and on_disk
    (first letters of the fingerprints, SHA-256), chain (whether the whole chains are the same), until (when the one in
    the cluster ends), key_fits (whether the secret's key belongs to its certificate), file, file_problem, newer (the
    file's is the newer one), now, source. Of keys nothing else is kept or shown.

    Raises `DoesNotApply` where the profile names no cluster, or no secret.
    """
    named = named_secret(asking)
    connection = asking.connection(KubernetesConnection)
    row: dict[str, Any] = {
        "secret": f"{named.name} ({connection.cluster})", "exists": False, "file": str(named.file), "file_problem": "",
        "now": datetime.now(UTC),
        "source": connection.shown("get", "secret", named.name, "--output", "jsonpath={.data.tls\\.crt}")
        + " | base64 --decode | openssl x509 -noout -fingerprint -sha256 -enddate",
    }  # fmt: skip
    here = Pair()
    try:
        here = on_disk(named)
    except CouldNotFindOut as error:
        here = Pair(problem=str(error))
    row |= {"on_disk": here.fingerprints[0][:16] if here.chain else "", "file_problem": here.problem}
    found = connection.read("secrets", named.name)
    if found is None:
        return pd.DataFrame([row], columns=COLUMNS)
    there = in_cluster(found, named.name)
    own, mine = (one.chain[0] if one.chain else None for one in (there, here))
    row |= {
        "exists": True, "type": printable(str(found.get("type", ""))), "problem": there.problem,
        "in_cluster": own.fingerprint[:16] if own else "", "until": own.not_after if own else None,
        "chain": bool(own) and there.fingerprints == here.fingerprints, "key_fits": there.key_fits,
        "newer": bool(own and mine and mine.not_before > own.not_before),
    }  # fmt: skip
    return pd.DataFrame([row], columns=COLUMNS)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the secret: it must hold a certificate with its own key, the one of the file, that has not ended.

    What is missing, has ended or does not fit is CRITICAL: what serves from it serves its own default certificate, or
    none. Another one than the file's is CRITICAL as well where the file's is newer: it was renewed, and not taken up.
    """
    (row,) = frame.to_dict("records")
    status, message, then = _told(row)
    return [Finding(object=row["secret"], status=status, message=message, next=then, source=row["source"])]


def _told(row: dict[Any, Any]) -> tuple[Status, str, str]:
    plan = "the third plan of certificate-management puts the file's there"
    if not row["exists"]:
        return Status.CRITICAL, "there is no such secret: what serves from it serves another certificate, or none", plan
    if row["problem"]:
        return Status.CRITICAL, row["problem"], plan
    has = f"the secret has {row['in_cluster']}…, until {row['until']:%Y-%m-%d}"
    if row["until"] < row["now"]:
        return Status.CRITICAL, f"{has}: it has ended", plan
    if row["type"] != TYPE:
        told = f"{has}; it is of type {row['type']}, and an ingress takes {TYPE} only"
        return Status.WARNING, told, "delete it, and have the plan make it anew"
    if row["file_problem"]:
        return Status.UNKNOWN, f"{has}; it could not be compared: {row['file_problem']}", ""
    if row["chain"]:
        return Status.OK, f"{has}, as in {row['file']}, and its key belongs to it", ""
    if row["in_cluster"] == row["on_disk"]:
        return Status.CRITICAL, f"{has}, with another chain than {row['file']}: clients may not trust it", plan
    which = "a newer one lies" if row["newer"] else "another one lies"
    status = Status.CRITICAL if row["newer"] else Status.WARNING
    return status, f"{has}, while {which} in {row['file']} ({row['on_disk']}…)", plan


secret = Question(
    name="certificates.secret",
    title="Has the cluster's secret the certificate that lies on the disk?",
    probe=probe,
    check=check,
    source="kubectl get secret NAME | openssl x509 -noout -fingerprint -sha256",
    needs=(KubernetesConnection,),
    explained_by={"kubernetes.reachable": "the API server of the cluster does not answer at all"},
    deadline=8,
    next="renew it first where the one on the disk is no good either",
)
