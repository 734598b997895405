"""Renew what is due with certbot, from the server that made it, and have it taken up."""

import os
import shlex
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from runbook.certificates import taking_up
from runbook.certificates.lineages import Lineage, lineages, require_program
from runbook.certificates.renewal import certbot_of
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, NotPlanned, Step
from runbook.target import Certbot

# An ACME order takes seconds; what takes longer waits for a server that does not answer.
CERTBOT_SECONDS = 120
MOST_AT_ONCE = 10


def observe(asking: Asking, lineage: str = "") -> dict[str, Any]:
    """Return what is due: ``due`` in words, ``lineages`` (name, server, serial), and how a new one is taken up.

    ``lineage`` names one of them. ``wanted_server`` is the profile's. Raises `DoesNotApply` where the profile names no
    certbot or there is no such lineage, `CouldNotFindOut` where certbot is not installed or its folders cannot be read.
    """
    certbot = certbot_of(asking)
    require_program(certbot)
    found = lineages(certbot)
    if lineage and lineage not in [one.name for one in found]:
        raise DoesNotApply(f"certbot has no lineage {lineage[:80]}; it has {', '.join(one.name for one in found[:10])}")
    due = [one for one in found if one.is_due and lineage in ("", one.name)][:MOST_AT_ONCE]
    return {
        "due": ", ".join(f"{one.name} (serial {_serial(one)})" for one in due),
        "lineages": [{"name": one.name, "server": one.server, "serial": _serial(one)} for one in due],
        "next": _next(found),
        "wanted_server": certbot.server or "",
        "certbot": _certbot(certbot),
        "reload": taking_up.way(asking),
    }


def _serial(lineage: Lineage) -> str:
    return lineage.certificate.serial if lineage.certificate else ""


def _next(found: list[Lineage]) -> str:
    due = sorted((one.due, one.name) for one in found if one.due is not None)
    return f"{due[0][1]} is next, on {due[0][0]:%Y-%m-%d}" if due else "none of them could be read"


def _certbot(certbot: Certbot) -> list[str]:
    folders = {"config": certbot.config_dir, "work": certbot.work_dir, "logs": certbot.logs_dir}
    return [certbot.program, *(word for name, path in folders.items() for word in (f"--{name}-dir", str(path)))]


def draft(facts: Mapping[str, Any], lineage: str = "") -> Draft:
    """Write out the renewal of each lineage that is due, and the reload after it.

    Raises `DoesNotApply` where nothing is due, `NotPlanned` where a lineage has no saved server, or not the profile's.
    """
    due = facts["lineages"]
    if not due:
        raise DoesNotApply(f"nothing is due: {facts['next']}; what is not due is not renewed by force")
    for one in due:
        if not one["server"]:
            raise NotPlanned(
                f"the configuration of {one['name']} names no server: certbot would ask its own default; "
                "write the one that made it into [renewalparams] first"
            )
        if facts["wanted_server"] and one["server"] != facts["wanted_server"]:
            raise NotPlanned(
                f"{one['name']} was made by {one['server']}, while the profile says {facts['wanted_server']}: "
                "find out which is right first"
            )
    steps = [_step(facts["certbot"], one) for one in due]
    reload = taking_up.step(facts["reload"])
    servers = " and ".join(sorted({one["server"] for one in due}))
    reaches = [
        f"one order for each at {servers}, which counts them (rate limits)",
        "certbot runs the hooks of its configuration as well (renewal-hooks/, those of the lineage): read them first",
    ]
    if reload is not None:
        steps.append(reload)
        reaches.append("what serves the certificate takes up the new one; open connections keep the old one")
    else:
        reaches.append("the profile names no [certificates.reload]: what is served stays the old one until its server "
                       "is reloaded by hand")  # fmt: skip
    return Draft(
        summary=f"renew {', '.join(one['name'] for one in due)}",
        steps=tuple(steps),
        blast_radius=tuple(reaches),
        expected={"due": ""},
        irreversible="a certificate that was issued stays so; the former one is kept in certbot's archive folder",
    )


def _step(certbot: list[str], one: Mapping[str, str]) -> Step:
    argv = [certbot[0], "renew", "--cert-name", one["name"], "--non-interactive", "--no-random-sleep-on-renew"]
    argv += certbot[1:]
    arguments = {"argv": argv, "name": one["name"], "server": one["server"], "serial": one["serial"]}
    return Step(act="renew", shown=shlex.join(argv), arguments=arguments)


def _renew(asking: Asking, arguments: Mapping[str, Any]) -> str:
    certbot = certbot_of(asking)
    before = _named(certbot, arguments["name"])
    if before.server != arguments["server"] or _serial(before) != arguments["serial"]:
        raise ChangeFailed(f"{before.name} has another server or certificate now; nothing was asked for")
    environment = taking_up.environment_of(asking.target)
    if certbot.ca_file is not None:
        environment["REQUESTS_CA_BUNDLE"] = str(certbot.ca_file)
    status, told = _call(list(arguments["argv"]), environment)
    if status != 0:
        raise ChangeFailed(f"certbot ended with {status}: {taking_up.last_words(told)}")
    after = _named(certbot, arguments["name"])
    if _serial(after) == arguments["serial"]:
        raise ChangeFailed(f"certbot did not renew {after.name}: {taking_up.last_words(told)}")
    assert after.certificate is not None
    return f"{after.name} is valid until {after.certificate.not_after:%Y-%m-%d %H:%M} UTC now"


def _call(argv: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Call certbot, and return its exit status and what it said; whatever it started ends with it."""
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env=environment, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise ChangeFailed(f"{argv[0]} could not be called: {error.strerror}; nothing was asked for") from error
    try:
        told, _ = process.communicate(timeout=CERTBOT_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=5)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise CouldNotFindOut(f"certbot did not end within {CERTBOT_SECONDS} s, and was ended") from None
    return process.returncode, told


def _named(certbot: Certbot, name: str) -> Lineage:
    for lineage in lineages(certbot):
        if lineage.name == name:
            if lineage.certificate is None:
                raise CouldNotFindOut(lineage.problem)
            return lineage
    raise CouldNotFindOut(f"certbot has no lineage {name} any more")


def _was_renewed(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    serial: str = arguments["serial"]
    return _serial(_named(certbot_of(asking), arguments["name"])) != serial


renew = Change(
    name="certificates.renew",
    title="Renew what is due",
    observe=observe,
    draft=draft,
    acts={"renew": Act(_renew, _was_renewed), taking_up.ACT: taking_up.reload_act},
    needs=(),
    watched=("due", "lineages", "wanted_server", "certbot", "reload"),
    patience=10.0,
    partial=True,
)
