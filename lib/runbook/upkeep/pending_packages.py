"""Which of the system's packages are to be updated, as a simulated upgrade tells?"""

import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from runbook.connections import Machine
from runbook.connections.programs import last_words
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status
from runbook.model.units import counted

_SECONDS = 30
_INSTALLS = re.compile(r"^Inst (\S+) (?:\[([^\]]*)\] )?\((\S+) ([^)]*)\)", re.MULTILINE)
_LISTS, _STAMP = Path("/var/lib/apt/lists"), Path("/var/lib/apt/periodic/update-success-stamp")
_RESTART = Path("/run/reboot-required")
_COLUMNS = ["package", "installed", "new", "security"]


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each package that an upgrade would bring: package, installed, new (versions), security (whether
    it comes from an archive of security updates).

    Nothing is installed and nothing fetched: apt-get simulates, by the lists that were fetched last. attrs hold
    ``listed_days`` (how old these are) and ``restart`` (whether the machine is to be restarted). Raises `DoesNotApply`
    where the target is only a share of the machine, `CouldNotFindOut` where there is no apt or it has no lists.
    """
    machine = asking.connection(Machine)
    machine.require_here("packages are asked for")
    if machine.host.share is not None:
        raise DoesNotApply(f"{asking.target.name} is a share of this machine, whose packages are its owner's")
    apt = shutil.which("apt-get")
    if apt is None:
        raise CouldNotFindOut(
            "this machine has no apt-get: see its own package manager (dnf check-update, apk version)"
        )
    fetched = [path.stat().st_mtime for path in (_STAMP, *_LISTS.glob("*Release")) if path.exists()]
    if not fetched:
        raise CouldNotFindOut("no package lists were ever fetched on this machine: apt-get update")
    argv = [apt, "-s", "-q", "-o", "Debug::NoLocking=1", "dist-upgrade"]
    try:
        ended = subprocess.run(
            argv, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL, check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CouldNotFindOut(f"apt-get did not end within {_SECONDS} s") from None
    if ended.returncode != 0:
        raise CouldNotFindOut(f"apt-get could not simulate an upgrade: {last_words(ended.stderr)}")
    rows = [(name, old or "", new, "security" in of.lower()) for name, old, new, of in _INSTALLS.findall(ended.stdout)]
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    days = (datetime.now(UTC).timestamp() - max(fetched)) / 86_400
    frame.attrs = {"listed_days": round(days, 2), "restart": _RESTART.exists()}
    return frame


def check(frame: pd.DataFrame, *, days: float = 7) -> list[Finding]:
    """Judge what is pending: security updates are a WARNING, others are told; and so is a restart that is due.

    Lists older than ``days`` (this runs weekly) say nothing of what came since: then nothing is well.
    """
    old, security = frame.attrs["listed_days"], frame[frame["security"].astype(bool)]
    then = (
        "see what they change, have a window for it, then: apt-get update && apt-get dist-upgrade; verify the service"
    )
    many = counted(len(frame), "package")
    findings = []
    if len(security):
        names = ", ".join(security["package"].iloc[:5])
        message = f"{counted(len(security), 'security update')} of {many} to be updated: {names}"
        findings.append(
            Finding(object="packages", status=Status.WARNING, message=message, value=len(security), next=then)
        )
    elif old > days:
        message = (
            f"the package lists are {old:.0f} days old: what came since is not known ({many} to be updated by them)"
        )
        findings.append(
            Finding(
                object="packages", status=Status.UNKNOWN, message=message, value=old, unit="days", next="apt-get update"
            )
        )
    else:
        message = f"no security update is pending; {many} to be updated" if len(frame) else "nothing is to be updated"
        findings.append(Finding(object="packages", status=Status.OK, message=message, value=len(frame)))
    if frame.attrs["restart"]:
        message = "the machine is to be restarted: what was updated is not in use until then"
        findings.append(Finding(object="restart", status=Status.WARNING, message=message, next="have a window for it"))
    return findings


pending_packages = Question(
    name="upkeep.pending_packages",
    title="Which of the system's packages are to be updated?",
    probe=probe,
    check=check,
    source="apt-get -s dist-upgrade; ls -l /var/lib/apt/periodic/update-success-stamp /run/reboot-required",
    needs=(Machine,),
    deadline=_SECONDS + 5.0,
    next="update in a window; this notebook's plan does not: updates restart services",
)
