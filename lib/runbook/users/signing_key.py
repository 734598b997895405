"""Are the service's tokens signed with a key that everybody knows?"""

import base64
import binascii
import hashlib
import hmac
import json
from typing import Any

import pandas as pd

from runbook.connections import ApiConnection
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.redaction.well_known import WELL_KNOWN
from runbook.target import resolve
from runbook.users.administrator import administrator
from runbook.users.explanations import EXPLAINED_BY

_DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
_PAIRS = ("RS", "ES", "PS", "EdDSA")
_LONGEST = 16_384


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row on the token at hand, which is not in it: algorithm, tried (how many well-known keys), matched
    (the number of the one that signs it; 0 for none).

    A token of the profile is verified here, and nothing is sent; where there is none the profile's administrator logs
    in, and its token is looked at and thrown away. Raises `CouldNotFindOut` where there is neither.
    """
    named = asking.target.api
    token = resolve(named.token) if named is not None and named.token is not None else administrator(asking).token()
    algorithm, signed, signature = _parts(token)
    digest = _DIGESTS.get(algorithm)
    matched = 0
    if digest is not None:
        for number, key in enumerate(WELL_KNOWN, 1):
            if hmac.compare_digest(hmac.digest(key.encode(), signed, digest), signature):
                matched = number
                break
    return pd.DataFrame([{"algorithm": algorithm, "tried": len(WELL_KNOWN) if digest else 0, "matched": matched}])


def _parts(token: str) -> tuple[str, bytes, bytes]:
    """Return a token's algorithm, what of it is signed, and its signature."""
    head, dot, rest = token.partition(".")
    body, dots, signature = rest.partition(".")
    try:
        if not dot or not dots or len(token) > _LONGEST:
            raise ValueError
        told: Any = json.loads(_decoded(head))
        return str(told["alg"])[:20], f"{head}.{body}".encode(), _decoded(signature)
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as error:
        raise CouldNotFindOut("the token at hand is no JSON Web Token: how it is signed cannot be told") from error


def _decoded(part: str) -> bytes:
    return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge the key: one that everybody knows lets anybody make a token of any user, also an administrator's."""
    row = frame.iloc[0]
    subject, algorithm = "signing key", str(row["algorithm"])
    if row["matched"]:
        message = (
            f"tokens ({algorithm}) are signed with a well-known default, number {row['matched']} of the list in "
            "runbook.redaction.well_known: anybody can make an administrator's token"
        )
        return [Finding(object=subject, status=Status.CRITICAL, message=message, value=float(row["matched"]))]
    if algorithm.lower() == "none":
        message = "the token at hand is not signed at all: anybody can make one"
        return [Finding(object=subject, status=Status.CRITICAL, message=message, value=algorithm)]
    if not row["tried"] and not algorithm.startswith(_PAIRS):
        message = f"tokens are signed by {algorithm}, which is none of the known ways: nothing can be told of their key"
        return [Finding(object=subject, status=Status.UNKNOWN, message=message, value=algorithm)]
    if not row["tried"]:
        message = f"tokens are signed by {algorithm}, a pair of keys: no shared secret can be guessed"
        return [Finding(object=subject, status=Status.OK, message=message, value=algorithm)]
    message = f"the token at hand ({algorithm}) is signed with none of {row['tried']} well-known keys"
    return [Finding(object=subject, status=Status.OK, message=message, value=algorithm)]


signing_key = Question(
    name="users.signing_key",
    title="Are the service's tokens signed with a key that everybody knows?",
    probe=probe,
    check=check,
    source="the signature of the token that api.token refers to, else of one that the administrator's log-in gives, "
    "compared with the well-known keys of runbook.redaction.well_known",
    needs=(ApiConnection,),
    deadline=15.0,
    explained_by=EXPLAINED_BY,
    next="set a random key of 32 bytes or more (openssl rand -base64 48) and start the service anew: all tokens end",
)
