"""A certificate authority of the sandbox's own: good certificates, and bad ones of every kind."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAYS = 90.0


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and those between it and the root."""

    certificate: x509.Certificate
    key: Any
    between: tuple[x509.Certificate, ...] = ()

    def pem(self, *, whole: bool = True) -> bytes:
        """Return the certificate, with those between it and the root unless it is not to be ``whole``."""
        chain = (self.certificate, *(self.between if whole else ()))
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)

    def key_pem(self) -> bytes:
        """Return the private key."""
        pem: bytes = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem

    def write(self, certificate: Path, key: Path | None = None, *, whole: bool = True) -> None:
        """Write the certificate, whole or not at all, and its key, for its owner only."""
        for path, data, mode in ((key, self.key_pem(), 0o600), (certificate, self.pem(whole=whole), 0o644)):
            if path is not None:
                new = path.with_name(f"{path.name}.new")
                new.unlink(missing_ok=True)
                new.touch(mode=mode)
                new.write_bytes(data)
                new.replace(path)


class Authority:
    """A root, or what a root has made an authority."""

    def __init__(self, name: str = "runbook sandbox CA", above: "Authority | None" = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self._above = above
        issuer = above if above is not None else self
        self._name = _name(name)
        now = datetime.now(UTC)
        builder = _builder(self._name, issuer._name, self.key, now - timedelta(days=2000), now + timedelta(days=3650))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = builder.add_extension(usage, critical=True)
        self.certificate = _by(builder, issuer).sign(issuer.key, hashes.SHA256())

    def issue(
        self,
        names: Sequence[str],
        *,
        days: float = DAYS,
        age: float = 0.0,
        key: Any = None,
        digest: hashes.HashAlgorithm | None = None,
        self_signed: bool = False,
    ) -> Issued:
        """Return a certificate for names, valid for ``days`` from now, which is ``age`` days old.

        Below 0 days it has expired, with an age below 0 it is not valid yet.
        """
        key = key if key is not None else ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        subject = _name(names[0] if names else "nobody")
        issuer_name, issuer_key = (subject, key) if self_signed else (self._name, self.key)
        builder = _builder(subject, issuer_name, key, now - timedelta(days=age), now + timedelta(days=days))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        if not self_signed:
            builder = _by(builder, self)
        made = builder.sign(issuer_key, digest or hashes.SHA256())
        return Issued(made, key, () if self_signed else self._between())

    def write(self, path: Path) -> None:
        """Write the authority's own certificate, which clients are given to trust."""
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _between(self) -> tuple[x509.Certificate, ...]:
        return (self.certificate, *self._above._between()) if self._above is not None else ()


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text.encode()[:64].decode(errors="ignore"))])


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(subject: x509.Name, issuer: x509.Name, key: Any, begins: datetime, ends: datetime) -> Any:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _by(builder: Any, issuer: Authority) -> Any:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    return builder.add_extension(identifier, critical=False)
