"""Who gets into Redis, and what could they do there?"""

from typing import Any

import pandas as pd

from runbook.connections import RedisConnection, answers_without_password
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status, Unreachable
from runbook.redis.explanations import EXPLAINED_BY

# What ends, empties, rewrites or reads all of a server, with arguments that make each a whole command. None is run:
# the server is asked whether it would be.
DANGEROUS = (
    ("FLUSHALL",), ("FLUSHDB",), ("CONFIG", "SET", "x", "y"), ("DEBUG", "HELP"), ("KEYS", "*"), ("SHUTDOWN",),
    ("MODULE", "LOAD", "x"), ("REPLICAOF", "x", "1"), ("SCRIPT", "FLUSH"), ("ACL", "SETUSER", "x"), ("MONITOR",),
)  # fmt: skip
_OPEN = ("", "*", "0.0.0.0", "::", "* -::*")  # noqa: S104 - looked for, not listened on


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: user (as whom the profile connects), open (answers without a password), may (the dangerous
    commands that the user may run), default (what the user "default" is: its flags and commands), bind, protected.

    What may not be asked is None; ``attrs`` tell why (acl, config).
    """
    connection = asking.connection(RedisConnection)
    row: dict[str, Any] = {"user": None, "open": answers_without_password(asking.target), "may": None, "default": None}
    row |= {"bind": None, "protected": None}
    reasons = {"acl": "", "config": ""}
    try:
        row["user"] = str(connection.ask("ACL", "WHOAMI"))
        row["may"] = ", ".join(_may(connection, row["user"]))
        row["default"] = _default(connection.ask("ACL", "LIST"))
    except Unreachable:
        raise
    except CouldNotFindOut as refused:
        reasons["acl"] = str(refused)
    try:
        told = connection.ask("CONFIG", "GET", "bind")
        row["bind"] = told.get("bind")
        row["protected"] = connection.ask("CONFIG", "GET", "protected-mode").get("protected-mode")
    except Unreachable:
        raise
    except CouldNotFindOut as refused:
        reasons["config"] = str(refused)
    frame = pd.DataFrame([row])
    frame.attrs.update(reasons)
    return frame


def _may(connection: RedisConnection, user: str) -> list[str]:
    """Return the dangerous commands that a user may run; one that was renamed is none."""
    may = []
    for command in DANGEROUS:
        if connection.simulated(user, *command):
            may.append(" ".join(command[:2]) if command[0] in ("CONFIG", "MODULE", "SCRIPT", "ACL") else command[0])
    return may


def _default(users: list[Any]) -> str:
    """Return what the user "default" is, without its keys and the hash of its password; "off" where it is off."""
    line = next((str(user) for user in users if str(user).startswith("user default ")), "")
    words = [word for word in line.split()[2:] if word in ("on", "off", "nopass") or word[:1] in "+-"]
    return "off" if "off" in words else " ".join(words[:20])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge who gets in (without a password: CRITICAL) and what they could do there (WARNING).

    A server that keeps ACL and CONFIG to itself is UNKNOWN there, which speaks for it.
    """
    row, reasons = frame.iloc[0], frame.attrs
    findings = [_password(row), _commands(row, reasons["acl"])]
    if row["default"] is not None and row["default"] != "off" and "+@all" in row["default"]:
        message = f"the user default is on, with every right ({row['default']}): the service needs a user with less"
        findings.append(Finding(object="user default", status=Status.WARNING, message=message))
    findings.append(_network(row, reasons["config"]))
    return findings


def _password(row: "pd.Series[Any]") -> Finding:
    if row["open"]:
        message = "answers everybody who can reach it, without a password"
        after = "set requirepass, or a user for the service by ACL SETUSER, and the service's own address to it"
        return Finding(object="password", status=Status.CRITICAL, message=message, next=after)
    return Finding(object="password", status=Status.OK, message="refuses who gives no password")


def _commands(row: "pd.Series[Any]", reason: str) -> Finding:
    if row["may"] is None:
        message = f"what its user may do could not be asked, which is good: {reason}"
        after = "where it is to be known: +acl|whoami +acl|dryrun +acl|list for the user that asks"
        return Finding(object="commands", status=Status.UNKNOWN, message=message, next=after)
    if not row["may"]:
        message = f"user {row['user']} may run none of the dangerous commands"
        return Finding(object="commands", status=Status.OK, message=message, value=0, unit="commands")
    message = f"user {row['user']} may run {row['may']}: one mistake loses everything"
    after = "ACL SETUSER with -@dangerous -@admin for the service's user; it needs none of them"
    return Finding(object="commands", status=Status.WARNING, message=message, next=after)


def _network(row: "pd.Series[Any]", reason: str) -> Finding:
    if row["bind"] is None:
        message = f"where it listens could not be asked, which is good: {reason}"
        after = "where it is to be known: +config|get for the user that asks, or look at its configuration file"
        return Finding(object="network", status=Status.UNKNOWN, message=message, next=after)
    told = f"bind {row['bind'] or '(all)'}, protected-mode {row['protected']}"
    if row["bind"].strip() in _OPEN and row["open"]:
        message = f"listens on every address, without a password: {told}"
        return Finding(object="network", status=Status.CRITICAL, message=message)
    if row["bind"].strip() in _OPEN or (row["open"] and row["protected"] != "yes"):
        message = f"listens on every address: {told}" if row["bind"].strip() in _OPEN else f"is not protected: {told}"
        return Finding(object="network", status=Status.WARNING, message=message)
    return Finding(object="network", status=Status.OK, message=told)


access = Question(
    name="redis.access",
    title="Who gets into Redis, and what could they do there?",
    probe=probe,
    check=check,
    source=(
        "redis-cli -h HOST -p PORT PING   # without a password\n"
        "redis-cli -u {redis} ACL WHOAMI\n"
        "redis-cli -u {redis} ACL DRYRUN USER FLUSHALL   # and so on: it runs nothing\n"
        "redis-cli -u {redis} ACL LIST\n"
        "redis-cli -u {redis} CONFIG GET bind; redis-cli -u {redis} CONFIG GET protected-mode"
    ),
    needs=(RedisConnection,),
    next="bind it to the addresses that need it, and give it a password and protected-mode yes",
    explained_by=EXPLAINED_BY,
)
