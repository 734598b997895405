"""What certbot renews: its lineages, as their renewal configuration and their certificates say."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from runbook.certificates.reading import Certificate, content, from_file
from runbook.model import CouldNotFindOut
from runbook.target import Certbot

MOST = 100
# What certbot takes a lineage for due by, unless its configuration says otherwise.
USUAL_DAYS = 30.0
_UNITS = {"minute": 1 / 1440, "hour": 1 / 24, "day": 1.0, "week": 7.0, "month": 30.0, "year": 365.0}
_NAME = re.compile(r"[A-Za-z0-9*_][A-Za-z0-9._*-]{0,252}")


@dataclass(frozen=True)
class Lineage:
    """One lineage: ``server`` is the ACME server that it was made by, "" where its configuration does not say.

    ``due`` is when certbot takes it for due; None where its certificate could not be read (``problem``).
    """

    name: str
    server: str
    key_type: str
    renews_itself: bool
    certificate: Certificate | None = None
    due: datetime | None = None
    problem: str = ""

    @property
    def is_due(self) -> bool:
        """Tell whether it should be renewed now."""
        return self.due is not None and datetime.now(UTC) >= self.due


def lineages(certbot: Certbot) -> list[Lineage]:
    """Return certbot's lineages, by name; raises `CouldNotFindOut` where its folder cannot be read."""
    folder = certbot.config_dir / "renewal"
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".conf")
    except PermissionError as error:
        raise CouldNotFindOut(
            f"{folder} may not be read by who runs this; run it as one who may (certbot's folders are root's)"
        ) from error
    except OSError as error:
        raise CouldNotFindOut(f"certbot's folder {folder} cannot be read: {error.strerror}") from error
    if len(paths) > MOST:
        raise CouldNotFindOut(f"{folder} holds {len(paths)} lineages, more than the {MOST} that are read")
    return [_lineage(path) for path in paths]


def require_program(certbot: Certbot) -> None:
    """Raise `CouldNotFindOut` where certbot is not installed."""
    if shutil.which(certbot.program) is None:
        raise CouldNotFindOut(
            f"{certbot.program} is not installed on this machine: whether it could renew is not known; install it "
            "(apt install certbot), or run this where it is"
        )


def settings(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return what a renewal configuration says at its top, and in its section [renewalparams]."""
    top: dict[str, str] = {}
    parameters: dict[str, str] = {}
    now = top
    for line in text.splitlines():
        header = re.fullmatch(r"\s*(\[+)\s*([^\]]*?)\s*\]+\s*", line)
        if header:
            now = parameters if (header[1], header[2]) == ("[", "renewalparams") else {}
            continue
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            now[key.strip()] = value.strip().strip("\"'")
    return top, parameters


def _lineage(path: Path) -> Lineage:
    name = path.stem
    try:
        top, parameters = settings(content(path).decode("utf-8"))
    except UnicodeDecodeError:
        return Lineage(name, "", "", True, problem=f"{path} is not text")
    except CouldNotFindOut as error:
        return Lineage(name, "", "", True, problem=str(error))
    server, key_type = parameters.get("server", ""), parameters.get("key_type", "")
    itself = top.get("autorenew", parameters.get("autorenew", "True")).lower() not in ("false", "0", "no")
    if not _NAME.fullmatch(name):
        return Lineage(name[:80], server, key_type, itself, problem="its name is none that certbot gives")
    if not top.get("cert", "").startswith("/"):
        return Lineage(name, server, key_type, itself, problem=f"{path} does not say where its certificate is")
    try:
        certificate = from_file(Path(top["cert"]))[0]
    except CouldNotFindOut as error:
        return Lineage(name, server, key_type, itself, problem=str(error))
    before = _before(top, certificate)
    if before is None:
        problem = f"{path}: renew_before_expiry = {top.get('renew_before_expiry')} is no length of time"
        return Lineage(name, server, key_type, itself, certificate, problem=problem[:200])
    return Lineage(name, server, key_type, itself, certificate, certificate.not_after - before)


def _before(top: Mapping[str, str], certificate: Certificate) -> timedelta | None:
    """Return how long before its end certbot takes a certificate for due; None where that is no length of time."""
    written = top.get("renew_before_expiry")
    if written is None:
        lifetime = certificate.not_after - certificate.not_before
        # By the version that wrote the configuration last, since to ask certbot itself takes it a second.
        major = top.get("version", "").partition(".")[0]
        if not (major.isascii() and major.isdigit() and int(major) >= 4):
            return timedelta(days=USUAL_DAYS)
        # From version 4 on: a third of its life, a half of one that lives for ten days or less.
        return lifetime / 2 if lifetime <= timedelta(days=10) else lifetime / 3
    found = re.fullmatch(r"(\d{1,6}) *([a-z]+?)s?", written.strip().lower())
    if found is None or found[2] not in _UNITS:
        return None
    return timedelta(days=int(found[1]) * _UNITS[found[2]])
