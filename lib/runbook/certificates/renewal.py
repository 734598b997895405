"""Does certbot renew what is due?"""

import shlex
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from runbook.certificates.lineages import Lineage, lineages, require_program
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status, first_of
from runbook.target import Certbot

# Let's Encrypt's server for trials: no client trusts what it issues.
_STAGING = "acme-staging"


def certbot_of(asking: Asking) -> Certbot:
    """Return the profile's certbot.

    Raises `DoesNotApply` where it names certificates and no certbot, `CouldNotFindOut` where it names neither.
    """
    named = asking.target.certificates
    if named is None:
        raise CouldNotFindOut(f"the profile of {asking.target.name} has no [certificates], and names no certbot")
    if named.certbot is None:
        raise DoesNotApply(
            f"the profile of {asking.target.name} names no [certificates.certbot]: whoever renews its certificates, "
            "it is not asked here"
        )
    found: Certbot = named.certbot
    return found


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each lineage of certbot: name, server, wanted_server, key_type, renews_itself, names, renewed,
    due, not_after, left (days), due_since (days; below 0 it is not due yet), problem.

    Raises what `certbot_of` raises, `CouldNotFindOut` where it is not installed, or its folders cannot be read.
    """
    certbot = certbot_of(asking)
    require_program(certbot)
    found = lineages(certbot)
    if not found:
        raise CouldNotFindOut(f"certbot renews nothing: there is no lineage in {certbot.config_dir / 'renewal'}")
    now = datetime.now(UTC)
    return pd.DataFrame([_row(lineage, certbot, now) for lineage in found])


def _row(lineage: Lineage, certbot: Certbot, now: datetime) -> dict[str, Any]:
    one = lineage.certificate
    return {
        "name": lineage.name,
        "server": lineage.server,
        "wanted_server": certbot.server or "",
        "key_type": lineage.key_type,
        "renews_itself": lineage.renews_itself,
        "names": ", ".join(one.names[:5]) if one else "",
        "renewed": one.not_before if one else None,
        "due": lineage.due,
        "not_after": one.not_after if one else None,
        "left": (one.not_after - now).total_seconds() / 86400 if one else None,
        "due_since": (now - lineage.due).total_seconds() / 86400 if lineage.due else None,
        "problem": lineage.problem,
        "source": f"certbot certificates --config-dir {shlex.quote(str(certbot.config_dir))}",
    }


def check(frame: pd.DataFrame, *, patience: float = 1) -> list[Finding]:
    """Judge each lineage: whether it is renewed from where it should be, by itself, and within ``patience`` days.

    certbot's timer comes twice a day: what is due for more than a day was tried and failed, or nobody tries.
    """
    findings = [_judged(row, patience) for row in frame.to_dict("records")]
    findings.sort(key=lambda finding: finding.status.severity)
    return first_of(findings, "lineages")


def _judged(row: Any, patience: float) -> Finding:
    def finding(status: Status, message: str, value: float | None = None) -> Finding:
        return Finding(
            object=f"lineage {row['name']}", status=status, message=message, source=row["source"],
            value=value, threshold=None if value is None else patience, unit="" if value is None else "days",
        )  # fmt: skip

    if row["problem"]:
        return finding(Status.UNKNOWN, f"could not be looked at: {row['problem']}")
    if not row["server"]:
        message = "its configuration names no server: certbot would renew it from its own default, whatever made it"
        return finding(Status.CRITICAL, message)
    if row["wanted_server"] and row["server"] != row["wanted_server"]:
        return finding(Status.CRITICAL, f"it is renewed from {row['server']}; the profile says {row['wanted_server']}")
    if _STAGING in row["server"] and not row["wanted_server"]:
        message = f"it is renewed from {row['server']}, a server for trials: no client trusts what that issues"
        return finding(Status.CRITICAL, message)
    since = float(row["due_since"])
    if since > patience:
        message = (
            f"due for {since:.1f} days and not renewed ({row['left']:.1f} days are left): see certbot's log, or "
            "whether its timer runs (systemctl list-timers)"
        )
        return finding(Status.CRITICAL if row["left"] <= 0 else Status.WARNING, message, round(since, 2))
    if not row["renews_itself"]:
        return finding(Status.WARNING, "it is not renewed by itself (autorenew = False)")
    if since > 0:
        message = f"due since {row['due']:%Y-%m-%d %H:%M} UTC, not renewed yet; {row['left']:.1f} days are left"
        return finding(Status.OK, message, round(since, 2))
    return finding(Status.OK, f"renewed {row['renewed']:%Y-%m-%d}, next due {row['due']:%Y-%m-%d} from {row['server']}")


renewal = Question(
    name="certificates.renewal",
    title="Does certbot renew what is due?",
    probe=probe,
    check=check,
    source="certbot certificates",
    next="the first plan of certificate-management renews what is due, from the server that made it",
)
