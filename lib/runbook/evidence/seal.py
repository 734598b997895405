"""Seal a statement in a DSSE envelope, and open one: nothing in it is read before its signature holds."""

import json
from collections.abc import Mapping
from typing import Any

from runbook.evidence.archive import NotTrusted, UnknownKey, read_json
from runbook.evidence.keys import keys_folder
from runbook.evidence.statement import PAYLOAD_TYPE, Statement, as_payload, read_payload

SEAL_FILE = "seal.json"


def sealed(statement: Statement, signer: Any) -> bytes:
    """Return a statement in its envelope, signed."""
    from securesystemslib.dsse import Envelope

    envelope = Envelope(as_payload(statement), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return _written(envelope)


def _written(envelope: Any) -> bytes:
    return json.dumps(envelope.to_dict(), indent=1).encode() + b"\n"


def opened(content: bytes, keys: Mapping[str, Any], what: str) -> Statement:
    """Return the statement in a sealed envelope; raises `NotTrusted` with what is wrong with it."""
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import VerificationError

    told = read_json(content, what)
    if set(told) != {"payload", "payloadType", "signatures"}:
        raise NotTrusted(f"{what} is no sealed envelope")
    if told["payloadType"] != PAYLOAD_TYPE:
        raise NotTrusted(f"{what} says it holds {told['payloadType']!r}, not {PAYLOAD_TYPE}")
    try:
        named = [str(signature["keyid"]) for signature in told["signatures"]]
        if len(named) != 1:
            raise NotTrusted(f"{what} carries {len(named)} signatures, not one")
        envelope = Envelope.from_dict(told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotTrusted(f"{what} is no sealed envelope") from error
    if named[0] not in keys:
        raise UnknownKey(
            f"{what} was sealed with a key that is not trusted here (key {named[0][:16]}…); if you do trust it, "
            f"put its public key into {keys_folder()} as NAME.pub, or name it with --key FILE"
        )
    try:
        envelope.verify([keys[named[0]]], 1)
    except VerificationError as error:
        raise NotTrusted(f"{what}: the signature does not fit what it seals") from error
    if _written(envelope) != content:
        raise NotTrusted(f"{what} is not written as it was sealed: a byte of it was changed")
    return read_payload(envelope.payload, what)
