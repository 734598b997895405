"""Names of files as they are told: on one line, without anything that hides, whatever bytes they are made of."""

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence

# What holds a secret as a rule and is short enough to be guessed from its digest; never what is code by its name, which
# would then be compared by its size and time alone.
_SECRET_FILES = (
    ".env", ".env.*", "*.env", "*.key", "*.pem", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.secret",
    "*.token", "*.password", "*.passwd", "password", "passwords", "password.txt", "passwords.txt", "id_rsa", "id_dsa",
    "id_ecdsa", "id_ed25519", ".pgpass", ".netrc", ".htpasswd", ".git-credentials", "credentials", "credentials.json",
    "credentials.csv", "credentials.txt", "credentials.toml", "credentials.ini", "credentials.yaml", "credentials.yml",
    "secrets.json", "secrets.toml", "secrets.yaml", "secrets.yml",
)  # fmt: skip
_SECRET_FOLDERS = (".gnupg", ".ssh", "secrets")
_CODE = ("*.py", "*.pyc", "*.so", "*.js", "*.ts", "*.jsx", "*.tsx", "*.html", "*.css", "*.sql", "*.md", "*.sh")


def shown(name: str) -> str:
    r"""Return a name or path of the file system so that it can be told, and no two are told alike.

    Bytes that are no UTF-8 are written as \xNN, what is not printable or reorders a line as \uNNNN, a backslash as two.
    """
    if name.isprintable() and "\\" not in name:
        return name
    return "".join(sign if sign.isprintable() and sign != "\\" else _escaped(sign) for sign in name)


def _escaped(sign: str) -> str:
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that Python could not decode
        return f"\\x{code - 0xDC00:02x}"
    return "\\\\" if sign == "\\" else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def left_out(patterns: Iterable[str]) -> Callable[[str, str], bool]:
    """Return what tells of a name and its path from the tree's top whether it is left out.

    A pattern with a slash in it is of the path, any other of the name alone; * and ? stand for any letters.
    """
    of_names = [pattern for pattern in patterns if "/" not in pattern]
    of_paths = [pattern.strip("/") for pattern in patterns if "/" in pattern]
    name_fits, path_fits = fits(of_names), fits(of_paths)

    def is_left_out(name: str, path: str) -> bool:
        return name_fits(name) or path_fits(path)

    return is_left_out


def fits(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return what tells whether a text fits any of some patterns; * and ? stand for any letters, also for a slash."""
    if not patterns:
        return lambda text: False
    expression = re.compile("|".join(f"(?:{fnmatch.translate(pattern)})" for pattern in patterns), re.DOTALL)
    return lambda text: expression.match(text) is not None


_is_secret_file, _is_secret_folder, _is_code = fits(_SECRET_FILES), frozenset(_SECRET_FOLDERS), fits(_CODE)


def may_be_secret(path: str) -> bool:
    """Tell whether a file, by its path, may hold a secret that could be guessed from its digest."""
    folder, _, name = path.rpartition("/")
    return _is_secret_file(name.lower()) or (
        not _is_secret_folder.isdisjoint(folder.split("/")) and not _is_code(name.lower())
    )


def leads_out(top: str, folder: str, target: str) -> bool:
    """Tell whether a link in a folder leads out of the tree, by its text alone: nothing is followed."""
    return not f"{os.path.normpath(os.path.join(top, folder, target))}/".startswith(f"{top.rstrip('/')}/")  # noqa: PTH118
