"""The key that seals: by reference, made on first use outside the archive; and the public keys that are trusted."""

import os
import stat
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from runbook.evidence.archive import state_folder
from runbook.model import CouldNotFindOut, RunFailed, UsageError
from runbook.model.layout import make_private

VARIABLE = "RUNBOOK_SIGNING_KEY"
_PRIVATE, _PUBLIC = "evidence.pem", "evidence.pub"


def keys_folder() -> Path:
    """Return the folder of the key that this user's runs are sealed with."""
    return state_folder() / "keys"


def signer() -> Any:
    """Return what seals (securesystemslib's CryptoSigner, ed25519).

    RUNBOOK_SIGNING_KEY refers to the key as a profile does to a secret (env:, file:, keyring:), for workers of a
    scheduler; without it the key of this user's state folder is taken, made on first use. Raises `RunFailed` with what
    keeps it from being used.
    """
    reference = os.environ.get(VARIABLE)
    if reference:
        from runbook.target.secret import is_reference, resolve  # profiles, which `verify` does not need

        if not is_reference(reference):
            raise RunFailed(f"{VARIABLE} must say where the key is: env:NAME, file:/PATH or keyring:SERVICE/NAME")
        try:
            return _signer_of(resolve(reference).replace("\\n", "\n").encode(), f"what {VARIABLE} refers to")
        except CouldNotFindOut as reason:
            raise RunFailed(f"the key that seals evidence cannot be had: {reason}") from reason
    path = keys_folder() / _PRIVATE
    try:
        return _signer_of(_own_key(path), str(path))
    except OSError as error:
        raise RunFailed(f"the key that seals evidence, {path}, cannot be used: {error.strerror}") from error


def _own_key(path: Path) -> bytes:
    if not path.exists():
        _make(path)
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise RunFailed(f"others can read the key that seals evidence; make it yours alone: chmod 600 {path}")
    return path.read_bytes()


def _make(path: Path) -> None:
    from securesystemslib.signer import CryptoSigner

    make_private(path.parent)
    made = CryptoSigner.generate_ed25519()
    new = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(made.private_bytes)
        file.flush()
        os.fsync(file.fileno())
    try:
        with suppress(FileExistsError):  # another run was quicker: its key is the one
            os.link(new, path)
    finally:
        new.unlink()
    public = path.parent / _PUBLIC
    public.touch(mode=0o644)  # whatever the umask lets through: nobody else is to put a key of theirs there
    public.write_text(public_text(_signer_of(path.read_bytes(), str(path)).public_key))


def _signer_of(content: bytes, what: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError) as error:
        raise RunFailed(f"{what} holds no private key in PEM (PKCS 8, without a password)") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise RunFailed(f"{what} holds a key of another kind than ed25519")
    return CryptoSigner(key)


def public_text(key: Any) -> str:
    """Return a public key as PEM, for who is to verify."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(str(key.keyval["public"])))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def trusted_keys(files: list[str]) -> dict[str, Any]:
    """Return the public keys by their ids: those in the files named, else this user's own and those beside it.

    Raises `UsageError` where there is none, or a file holds none.
    """
    found = {}
    if files:
        paths = [Path(file) for file in files]
    elif os.environ.get(VARIABLE):
        own = signer().public_key
        found[own.keyid] = own
        paths = sorted(set(keys_folder().glob("*.pub")) - {keys_folder() / _PUBLIC})
    else:
        paths = sorted(keys_folder().glob("*.pub")) or [keys_folder() / _PUBLIC]
    for path in paths:
        key = _public(path)
        found[key.keyid] = key
    return found


def _public(path: Path) -> Any:
    try:
        return key_of(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise UsageError(f"there is no public key {path} to verify with; name one with --key FILE") from error
    except OSError as error:
        raise UsageError(f"the public key {path} cannot be read: {error.strerror}") from error


def key_of(content: bytes, what: str) -> Any:
    """Return a public key from its PEM, as securesystemslib has it; raises `UsageError` where it is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        key = load_pem_public_key(content)
    except ValueError as error:
        raise UsageError(f"{what} holds no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{what} holds a key of another kind than ed25519")
    return SSlibKey.from_crypto(key)
