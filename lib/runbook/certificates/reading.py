"""Read certificates and keys from what a server sent or what lies in a file; every part of them may be anything."""

import ipaddress
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from runbook.model import CouldNotFindOut
from runbook.model.text import printable

# More than this is no certificate; a chain of a hundred has some 200 KiB.
FILE_BYTES = 1 << 20
MOST_IN_A_FILE = 20
_MOST_NAMES, _NAME_LENGTH = 100, 253
T = TypeVar("T")


@dataclass(frozen=True)
class Certificate:
    """What a certificate says; ``names`` are those of its subject alternative names, ``fingerprint`` is its SHA-256."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: str
    fingerprint: str
    key: str
    key_bits: int
    signed_by: str
    self_issued: bool
    self_signed: bool
    public_key: bytes = field(repr=False, default=b"")

    @property
    def title(self) -> str:
        """Return how people call it: its first name, or its subject."""
        return self.names[0] if self.names else self.subject


def from_der(data: bytes) -> Certificate:
    """Return what a certificate says; raises `CouldNotFindOut` where it cannot be read."""
    try:
        return _facts(x509.load_der_x509_certificate(data))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CouldNotFindOut(f"it holds a certificate that cannot be read ({type(error).__name__})") from error


def from_file(path: Path) -> list[Certificate]:
    """Return the certificates of a file, PEM or DER, the first one its own; raises `CouldNotFindOut` with the reason.

    Not more than `MOST_IN_A_FILE` are read.
    """
    return from_bytes(content(path), str(path))


def from_bytes(data: bytes, path: str) -> list[Certificate]:
    """Return the certificates of a file's content; ``path`` is what it is called where it cannot be read."""
    try:
        if b"-----BEGIN" in data:
            found = x509.load_pem_x509_certificates(data)
        else:
            found = [x509.load_der_x509_certificate(data)]
        return [_facts(one) for one in found[:MOST_IN_A_FILE]]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CouldNotFindOut(f"{path} holds no certificate that can be read, neither as PEM nor as DER") from error


def public_key_of(path: Path) -> bytes:
    """Return the public part of a private key's file, as DER; raises `CouldNotFindOut` with the reason.

    Nothing else of the key leaves this function.
    """
    return public_key_from(content(path), str(path))


def public_key_from(data: bytes, path: str) -> bytes:
    """Return the public part of a private key that was read from somewhere, as DER; as `public_key_of`."""
    load: Callable[..., Any] = (
        serialization.load_pem_private_key if b"-----BEGIN" in data else serialization.load_der_private_key
    )
    try:
        key = load(data, password=None)
    except TypeError as error:
        raise CouldNotFindOut(f"{path} is encrypted: whether it belongs to the certificate is not known") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # The library's own words are not repeated: they are about what is secret.
        raise CouldNotFindOut(f"{path} holds no private key that can be read") from error
    return _spki(key.public_key())


def content(path: Path) -> bytes:
    """Return the bytes of an ordinary file that is not too large; raises `CouldNotFindOut` with the reason."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CouldNotFindOut(f"{path} is no file")
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except PermissionError as error:
        raise CouldNotFindOut(
            f"{path} may not be read by who runs this; run it as one who may, or give the right (setfacl -m u:USER:r)"
        ) from error
    except OSError as error:
        raise CouldNotFindOut(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > FILE_BYTES:
        raise CouldNotFindOut(f"{path} is larger than {FILE_BYTES >> 20} MiB: no certificate")
    return data


def is_for(names: tuple[str, ...], wanted: str) -> bool:
    """Tell whether a certificate with these names is for a host: exactly, or by one wildcard for its first label."""
    address = _address(wanted)
    if address is not None:
        return any(_address(name) == address for name in names)
    host = _ascii(wanted)
    parent = host.partition(".")[2]
    return any(_ascii(name) == host or (bool(parent) and _ascii(name) == f"*.{parent}") for name in names)


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _ascii(name: str) -> str:
    """Return a host's name as certificates hold it: in small letters, other letters encoded, no dot at its end."""
    plain = name.lower().rstrip(".")
    try:
        return plain if plain.isascii() else plain.encode("idna").decode()
    except UnicodeError:
        return plain


def _facts(certificate: x509.Certificate) -> Certificate:
    key, bits, spki = _key(certificate)
    return Certificate(
        subject=_short(_or(lambda: certificate.subject.rfc4514_string()[:1000], "")) or "no subject",
        issuer=_short(_or(lambda: certificate.issuer.rfc4514_string()[:1000], "")) or "no issuer",
        names=_names(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        serial=f"{certificate.serial_number:x}",
        fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        key=key,
        key_bits=bits,
        signed_by=_signed_by(certificate),
        self_issued=_or(lambda: certificate.subject == certificate.issuer, False),
        self_signed=_or(lambda: _is_self_signed(certificate), False),
        public_key=spki,
    )


def _or(read: Callable[[], T], otherwise: T) -> T:
    """Return a part of a certificate, or something else where that part cannot be read: the others still can."""
    try:
        return read()
    except (ValueError, TypeError, KeyError, UnsupportedAlgorithm, x509.DuplicateExtension):
        return otherwise


def _is_self_signed(certificate: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    if certificate.subject != certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except (InvalidSignature, ValueError, TypeError, UnsupportedAlgorithm):
        # An old digest cannot be verified here: the names alone speak for it.
        return _signed_by(certificate) in ("md5", "sha1")
    return True


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        told = [str(name.value) for name in names if isinstance(name, x509.DNSName | x509.IPAddress)]
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError, TypeError):
        return ()
    return tuple(printable(name)[:_NAME_LENGTH] for name in told[:_MOST_NAMES])


def _key(certificate: x509.Certificate) -> tuple[str, int, bytes]:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "a kind that is not known", 0, b""
    if isinstance(key, rsa.RSAPublicKey):
        kind, bits = "RSA", key.key_size
    elif isinstance(key, ec.EllipticCurvePublicKey):
        kind, bits = "EC", key.key_size
    elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        kind, bits = "EdDSA", 256
    elif isinstance(key, dsa.DSAPublicKey):
        kind, bits = "DSA", key.key_size
    else:
        kind, bits = type(key).__name__, 0
    return kind, bits, _spki(key)


def _spki(key: Any) -> bytes:
    found: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return found


def _signed_by(certificate: x509.Certificate) -> str:
    try:
        digest = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return "a digest that is not known"
    return digest.name if digest is not None else "EdDSA"


def _short(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= 120 else f"{shown[:119]}…"
