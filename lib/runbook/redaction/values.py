"""Tell what stands where a secret could stand from a secret: placeholders, references, words, names in code."""

import re

_PLACEHOLDER = re.compile(
    r"""\*+|[xX]{3,}|[•●]+|[.…]+|-+|_+        # what others put where a secret was
    |<[\w\s./-]+>|&lt;[\w\s./-]+&gt;          # <password>
    |\{[^{}]*\}?|\{\{.*\}\}|%\(\w+\)s|%s|\?    # of templates, f-strings and SQL
    |\$\{[^}]*\}?|\$\([^)]*\)|\$\d+|\$[A-Z_][A-Z0-9_]*|\$(?:pw|pass|password|secret|token)|:[a-z_]+
    |env:\w+|file:[/~].*|keyring:[^/]+/.+     # the references of a profile
    |(?:[A-Z]+_)*(?:PASSWORD|PASSWD|PASS|PW|SECRET|TOKEN|KEY|VALUE|NAME)|CHANGE_?ME|YOUR_[A-Z_]+
    |(?i:none|null|nil|nan|true|false|redacted|hidden|masked|removed)""",
    re.VERBOSE,
)
# A passphrase has fewer words.
_SENTENCE = re.compile(r"[A-Za-z][a-z']*,?(?>(?: [A-Za-z][a-z'-]*[,;:]?){6,}).?")
# What is said of a secret without quotes, and is none: states, and types in code.
_WORDS = frozenset(
    re.findall(
        r"\S+",
        "yes no on off ok is are was not and or in of for to at by the a an expired invalid missing valid required "
        "optional revoked rotated unknown present absent set unset empty wrong bad changed unchanged enabled disabled "
        "failed denied rejected accepted refused str bytes int bool float object any string secretstr self cls "
        "password passwd secret token key value bearer basic md5 scram-sha-256 plaintext encrypted",
    )
)
_NAME_IN_CODE = re.compile(
    r"\([A-Za-z_.]+|[A-Za-z_]\w*(?:\.\w+|\[[^\]]*\])*[(\[][^\s]*|[A-Za-z_]+\.[A-Za-z_.]+|_?[a-z]+(?:_[a-z]+)+"
)
_BESIDE = ",)]}`"


def may_be_secret(value: str) -> bool:
    """Tell whether a quoted text in a secret's place may be one; a placeholder, a reference or a sentence is none."""
    bare = value.strip()
    return any(map(str.isalnum, bare)) and _PLACEHOLDER.fullmatch(bare) is None and _SENTENCE.fullmatch(bare) is None


def bare_value(value: str) -> str:
    """Return a value without quotes, without the commas and brackets of what surrounds it."""
    return value.rstrip(_BESIDE)


def may_be_bare_secret(value: str) -> bool:
    """Tell whether a text without quotes in a secret's place may be one: no placeholder, word or name in code."""
    bare = bare_value(value)
    return (
        may_be_secret(bare)
        and bare.lower().strip("|:") not in _WORDS
        and not (bare.isdigit() and len(bare) < 4)
        and _NAME_IN_CODE.fullmatch(value) is None
        and _NAME_IN_CODE.fullmatch(bare) is None
    )


def looks_random(text: str) -> bool:
    """Tell whether a text is no word: it has digits and letters, or is long."""
    return (any(map(str.isdigit, text)) and any(map(str.isalpha, text))) or len(text) >= 24
