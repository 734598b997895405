"""The places of secrets in nested data: keys that say so by their name."""

import re
from collections.abc import Mapping
from typing import Any

from runbook.redaction.rules import KUBERNETES

# Names that end so: "db_password", "accessToken", "X-Api-Key"; "token_type" and "password_set" do not.
_KEYS = (
    (
        "a password",
        re.compile(r"(?:password|passwd|passphrase|pwd|\Apass|_pass|requirepass|masterauth|rediscli_auth)\Z", re.I),
    ),
    ("a secret", re.compile(r"secret(?:[_-]?(?:access[_-]?)?key)?\Z", re.I)),
    ("a token", re.compile(r"token\Z", re.I)),
    ("a key", re.compile(r"(?:api|private|access|account|signing|encryption|routing|integration)[_-]?key\Z", re.I)),
    ("a cookie", re.compile(r"\A(?:set-)?cookie\Z", re.I)),
    ("an authorization header", re.compile(r"\A(?:proxy-)?authorization\Z", re.I)),
)


def kind_of_key(key: Any) -> str | None:
    """Return the kind of secret that a key of nested data, or a column, names; None where it names none."""
    if not isinstance(key, str):
        return None
    return next((kind for kind, pattern in _KEYS if pattern.search(key)), None)


def named_values(data: Mapping[Any, Any]) -> dict[Any, str]:
    """Return the kind of each secret in a dictionary, by key: said by the key, or by what stands beside it."""
    kinds = {key: kind for key in data if (kind := kind_of_key(key)) is not None}
    if data.get("kind") == "Secret":
        kinds |= {key: KUBERNETES for key in ("data", "stringData") if key in data}
    name = data.get("name", data.get("key"))
    if "value" in data and (kind := kind_of_key(name)) is not None:
        kinds["value"] = kind  # an entry of a list of names and values
    if data.get("_model_name") == "PasswordModel" and "value" in data:
        kinds["value"] = "a password"  # a field for a password, as widgets keep it
    return kinds
