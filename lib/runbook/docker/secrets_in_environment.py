"""Do the containers' environments and images hold secrets, or switch debugging on?"""

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, Finding, Question, Status, first_of
from runbook.model.units import counted
from runbook.redaction import scan
from runbook.redaction.keys import kind_of_key
from runbook.redaction.well_known import is_well_known

ENVIRONMENT, IMAGE, HISTORY = "environment", "image", "history of the image"
_MOST = 11
_LONGEST = 65_536
_REFERENCE = re.compile(r"(?:/var)?/run/secrets/\S+|(?:file|env|keyring|vault):\S+")
# In a container nothing is put in the place of a variable any more; in a step that built an image it may be.
_VARIABLE = re.compile(r"\$\{?\w+\}?")
# What a variable of a secret's name may say that is none: a switch, a number of days or characters.
_SETTING = re.compile(r"true|false|yes|no|on|off|none|null|\d{1,4}", re.IGNORECASE)
_SECRET_NAME = re.compile(r"(?:_KEY|_PW|_PASSWORT|_CREDENTIALS?)\Z|\APW\Z", re.IGNORECASE)
_SAMPLE = re.compile(
    r"<[\w\s./-]+>|(?:YOUR|MY|THE)[_-][\w-]+|(?:\w+[_-])?(?:PASSWORD|PASSWD|SECRET|TOKEN|KEY)|change[_-]?\w+",
    re.IGNORECASE,
)
# Keys that hide nothing: images of Python, for one, name the key that their release was signed with.
_PUBLIC = re.compile(r"(?:GPG|PGP|PUBLIC|SORT|PRIMARY|FOREIGN|PARTITION)_?KEYS?\Z", re.IGNORECASE)
_OF_A_FILE = re.compile(r"_(?:FILE|PATH)\Z", re.IGNORECASE)
_ASSIGNED = re.compile(r"(\w{1,100})(?:[\"']?\s?=\s?|[\"']?:\s|[\"']:)[\"']?\Z")
_URL_USER = re.compile(r"://([^:/@\s]{0,64}):\Z")
_ON = ("1", "true", "t", "yes", "y", "on")
_SWITCHES = {"DEBUG": _ON, "FASTAPI_DEBUG": _ON,
             "ENVIRONMENT": ("development", "dev", "debug"), "APP_ENV": ("development", "dev", "debug"),
             "FLASK_DEBUG": _ON, "FLASK_ENV": ("development",)}  # fmt: skip


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each secret that was found, never its value: part, container, place (environment, image, or the
    history of the image), variable ("" where none is named), kind, well_known (whether its value is one that everybody
    knows). attrs hold ``looked`` (how many variables and steps), ``containers`` (how many) and ``lacking`` (those that
    could not be looked at).
    """
    connection = asking.connection(ContainersConnection)
    rows: list[dict[str, Any]] = []
    looked, seen, lacking = 0, 0, []
    for part, name in connection.named.items():
        told = connection.inspect(name)
        if told is None:
            lacking.append(f"{part} ({name})")
            continue
        seen += 1
        found = connection.image(str(told.get("Image", "")))
        built, history = found if found is not None else ({}, [])
        if found is None:
            lacking.append(f"the image of {part} ({name})")
        of_image = _variables(built)
        own = [one for one in _variables(told) if one not in of_image]
        steps = [str(step.get("CreatedBy") or "") for step in history]
        looked += len(own) + len(of_image) + len(steps)
        where = {"part": part, "container": name}
        for place, variables in ((ENVIRONMENT, own), (IMAGE, of_image)):
            rows += [{**where, "place": place, **fact} for one in variables for fact in _of_variable(one)]
        baked = {row["variable"] for row in rows if row["place"] == IMAGE and row["container"] == name}
        for step in steps:
            facts = [fact for fact in _of_step(step) if not fact["variable"] or fact["variable"] not in baked]
            rows += [{**where, "place": HISTORY, **fact} for fact in facts]
    columns = ["part", "container", "place", "variable", "kind", "well_known"]
    frame = pd.DataFrame(rows, columns=columns).sort_values("well_known", ascending=False, kind="stable")
    frame = frame.drop_duplicates(subset=columns[:5], ignore_index=True)
    frame.attrs = {"looked": looked, "containers": seen, "lacking": lacking}
    return frame


def _variables(told: dict[str, Any]) -> list[str]:
    return [str(one)[:_LONGEST] for one in (told.get("Config") or {}).get("Env") or []]


def _of_variable(text: str) -> Iterator[dict[str, Any]]:
    """Yield what a variable of an environment is: a secret by its name or by its value's form, or a switch."""
    name, _, value = text.partition("=")
    if value.strip().lower() in _SWITCHES.get(name.upper(), ()):
        yield {"variable": name, "kind": "debugging", "well_known": False}
        return
    if _REFERENCE.fullmatch(value.strip()) or _OF_A_FILE.search(name) or _PUBLIC.search(name):
        return
    kind = kind_of_key(name) or ("a key" if _SECRET_NAME.search(name) else None)
    if kind is not None:
        if value.strip() and (is_well_known(value) or not _SETTING.fullmatch(value.strip())):
            known = is_well_known(value) or _SAMPLE.fullmatch(value.strip()) is not None
            yield {"variable": name, "kind": kind, "well_known": known}
        return
    yield from ({**fact, "variable": name} for fact in _by_form(value))


def _of_step(text: str) -> Iterator[dict[str, Any]]:
    """Yield what a step that built an image shows of secrets: arguments of a build stand in it as they were given."""
    yield from _by_form(text[:_LONGEST])


def _by_form(text: str) -> Iterator[dict[str, Any]]:
    for span in scan.spans(text):
        value, before = text[span.start : span.end], text[max(0, span.start - 120) : span.start]
        if _REFERENCE.fullmatch(value) or _VARIABLE.fullmatch(value):
            continue
        named, user = _ASSIGNED.search(before), _URL_USER.search(before)
        well_known = is_well_known(value) or (user is not None and user[1] == value)
        yield {"variable": named[1] if named else "", "kind": span.kind, "well_known": well_known}


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each by its place: what an image holds is there for everybody who can pull it, and a value that everybody
    knows is none: CRITICAL. In an environment it is open to all who may ask the engine, and to every child process:
    WARNING.
    """
    findings = [_judged(row) for row in frame.to_dict("records")]
    findings.sort(key=lambda one: one.status.severity)
    lacking = [
        Finding(object=name, status=Status.UNKNOWN, message="is not there to be looked at")
        for name in frame.attrs["lacking"]
    ]
    if findings or not frame.attrs["containers"]:
        return [*first_of(findings, "secrets", _MOST), *lacking]
    message = (
        f"none among {counted(frame.attrs['looked'], 'variable and step', 'variables and steps')} of "
        f"{counted(frame.attrs['containers'], 'container')}"
    )
    return [Finding(object="environments", status=Status.OK, message=message), *lacking]


def _judged(row: dict[Any, Any]) -> Finding:
    name = f"{row['part']} ({row['container']})"
    variable = str(row["variable"])[:80]
    subject = f"{name} {variable or row['kind']}, {row['place']}"
    if row["kind"] == "debugging":
        message = "switches debugging on: errors then show a program's insides, and more may be open"
        return Finding(object=subject, status=Status.WARNING, message=message, next="take it out, or set it to false")
    if row["well_known"]:
        message = f"{row['kind']} with a value that everybody knows"
        after = "change it at once, where it is checked and here; then look who came in with it"
        return Finding(object=subject, status=Status.CRITICAL, message=message, next=after)
    if row["place"] == ENVIRONMENT:
        message = f"{row['kind']} stands in the environment: docker inspect shows it, and each child process has it"
        return Finding(object=subject, status=Status.WARNING, message=message)
    message = f"{row['kind']} stands in the image: whoever can pull the image has it"
    after = "change the secret, and build the image without it (docker build --secret)"
    return Finding(object=subject, status=Status.CRITICAL, message=message, next=after)


secrets_in_environment = Question(
    name="docker.secrets_in_environment",
    title="Do the containers' environments and images hold secrets?",
    probe=probe,
    check=check,
    source="docker inspect --format '{{range .Config.Env}}{{println .}}{{end}}' NAME | cut -d= -f1; "
    "docker history --no-trunc IMAGE"
    "   # shows values: not to be kept",
    needs=(ContainersConnection,),
    deadline=15.0,
    explained_by=EXPLAINED_BY,
    next="hand it over as a file (secrets: in the Compose file, NAME_FILE=/run/secrets/…), and change what was shown",
)
