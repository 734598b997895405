"""Passwords of the practice stack's users, kept as salted hashes."""

import hashlib
import hmac
import secrets


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return a salted hash of a password, with its salt before it."""
    salt = salt or secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1).hex()}"


def is_password(password: str, kept: str) -> bool:
    """Tell whether a password belongs to a kept hash."""
    return hmac.compare_digest(hash_password(password, bytes.fromhex(kept.split("$")[1])), kept)
