"""The command ``doctor``: what of a target can be asked and changed, what a missing thing costs, how to get it."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from runbook.model import Question, Status
from runbook.model.collection import all_notebooks
from runbook.model.text import printable

if TYPE_CHECKING:
    from runbook.session.run import Run

THERE, MISSING, UNUSED, APART = "there", "missing", "not configured", "does not apply"
_REACHED = {"reachable", "liveness", "scraping"}
_NOT_CONFIGURED = re.compile(r"the profile of \S+ (?:has no|names no)|names no |the profile names no")


@dataclass(frozen=True)
class Capability:
    """Something that a target can give: the questions that show that it does, the section of the profile that it needs,
    or the connection that plans need.
    """

    name: str
    questions: tuple[str, ...] = ()
    section: str = ""
    connection: str = ""


CAPABILITIES = (
    Capability("the API", ("api.liveness", "api.user_request"), "[api] url"),
    Capability("the API's administrator", ("users.accounts", "users.interface"), "[api] admin_password"),
    Capability("the database, as the service uses it", ("postgres.reachable",), "[postgres] application_dsn"),
    Capability("what other sessions do (pg_monitor)", ("postgres.connections", "postgres.blocking", "postgres.wal"),
               "[postgres] dsn"),
    Capability("the rows of the service's tables", ("postgres.foreign_keys", "annotations.rules", "queue.oldest_item",
               "queue.annotators", "postgres.active_users"), "[postgres] dsn"),
    Capability("statements that were slow (pg_stat_statements)", ("postgres.slow_queries",), "[postgres] dsn"),
    Capability("inside of tables and indexes (amcheck)", ("postgres.index_integrity", "postgres.heap_integrity"),
               "[postgres] dsn"),
    Capability("bloat (pgstattuple)", ("postgres.bloat",), "[postgres] dsn"),
    Capability("who may log in to the database", ("postgres.roles", "postgres.hba", "postgres.password_encryption"),
               "[postgres] dsn"),
    Capability("changes of the database", (), "[postgres] operator_dsn", "operator database"),
    Capability("Redis", ("redis.reachable", "redis.memory", "redis.access"), "[redis] url"),
    Capability("Docker", ("docker.reachable", "docker.containers"), "[containers]"),
    Capability("Kubernetes", ("kubernetes.reachable", "kubernetes.deployment", "kubernetes.pods", "kubernetes.top"),
               "[kubernetes]"),
    Capability("Prometheus", ("prometheus.scraping",), "[prometheus] url"),
    Capability("Alertmanager", ("prometheus.silences",), "[alertmanager] url"),
    Capability("the service's log", ("logs.coverage",), "[logs] api"),
    Capability("the server's own log", ("logs.postgres_log",), "[logs] postgres"),
    Capability("the machine", ("host.disk", "host.memory"), "[host]"),
    Capability("the language model", ("llm.reachable",), "[llm]"),
    Capability("certificates", ("certificates.expiry",), "[certificates]"),
    Capability("backups", ("backups.age", "backups.sound"), "[[backups.sets]]"),
    Capability("restoring", ("recovery.position",), "[backups] restore_dsn", "restoring database"),
)  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What came of looking at a capability: there, missing or not configured; what it unlocks (notebooks), what lacks
    and how to get it.
    """

    capability: str
    state: str
    unlocks: list[str]
    lacks: list[str] = field(default_factory=list)
    add: str = ""


def show(name: str, *, as_json: bool) -> int:
    """Look at each capability of a target, and print it; return 0 where all is there that the profile names, else 1."""
    from runbook.session import open_run  # the libraries that all questions need cost a second

    run = open_run("doctor", target=name, needs=_needs())
    try:
        found = list(_look(run))
    finally:
        run.close()
    if as_json:
        document = {"schema": 1, "target": run.target.name, "capabilities": [asdict(told) for told in found]}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
    else:
        sys.stdout.write(f"what can be asked and changed of {run.target.name}\n")
        for told in found:
            sys.stdout.writelines(f"{printable(line)}\n" for line in _lines(told))
        by_state = {state: sum(told.state == state for told in found) for state in (THERE, MISSING, UNUSED, APART)}
        sys.stdout.write(", ".join(f"{count} {state}" for state, count in by_state.items() if count) + "\n")
    return int(any(told.state == MISSING for told in found))


def _needs() -> list[str]:
    from runbook.connections import KINDS

    return [name for name in KINDS if name not in ("load generator", "standby database")]


def _look(run: "Run") -> Iterator[Told]:
    from runbook.connections import KINDS
    from runbook.kernels.questions import all_questions

    questions = {question.name: question for question in all_questions()}
    asked_by = _asked_by()
    for capability in CAPABILITIES:
        unlocks = {name for one in capability.questions for name in asked_by.get(one, ())}
        lacks, skipped = dict[str, list[str]](), list[str]()
        for one in capability.questions:
            for status, text in _lacking(run, questions[one]):
                if status is Status.SKIPPED:
                    skipped.append(text)
                else:
                    lacks.setdefault(text, []).append(one)
        if capability.connection:
            unlocks |= _planning(capability.connection)
            if lacking := run.lacks(KINDS[capability.connection]):
                lacks[lacking] = ["its plans"]
        state = THERE if not lacks and not skipped else MISSING if lacks else APART
        if lacks and all(_NOT_CONFIGURED.search(text) for text in lacks):
            state = UNUSED
        told = [f"{text} ({', '.join(names)})" for text, names in lacks.items()] or list(dict.fromkeys(skipped))
        add = capability.section if state == UNUSED else ""
        yield Told(capability.name, state, sorted(unlocks), told, add)


def _lacking(run: "Run", question: Question) -> Iterator[tuple[Status, str]]:
    """Yield why a question could not be answered, or does not apply; nothing where it was answered, whatever it is.

    Of the questions whether something can be reached at all, a CRITICAL says that it cannot.
    """
    shown = run.ask(question)
    for finding in shown.findings:
        reached = question.name.rpartition(".")[2] in _REACHED
        if finding.status is Status.UNKNOWN or (reached and finding.status is Status.CRITICAL):
            then = f": {finding.next}" if finding.status is Status.CRITICAL and finding.next else ""
            yield Status.UNKNOWN, finding.message.removeprefix("could not be asked: ") + then
        elif finding.status is Status.SKIPPED and shown.frame is None:
            yield Status.SKIPPED, finding.message


def _asked_by() -> dict[str, set[str]]:
    """Return the notebooks that ask each question."""
    found: dict[str, set[str]] = {}
    for notebook in all_notebooks():
        for cell in notebook.document["cells"]:
            if cell["cell_type"] == "code":
                for package, name in re.findall(r"\b(\w+)\.(\w+)\b", "".join(cell["source"])):
                    found.setdefault(f"{package}.{name}", set()).add(notebook.name)
    return found


def _planning(connection: str) -> set[str]:
    """Return the notebooks that plan a change which acts on a connection."""
    from runbook.kernels.questions import all_changes

    by = _asked_by()
    names = {
        one.name
        for one in all_changes()
        if any(getattr(kind, "name", "") == connection for kind in (*one.acts_on, *one.needs))
    }
    return {notebook for name in names for notebook in by.get(name, ())}


def _lines(told: Told) -> Iterator[str]:
    yield f"  {told.state.upper() if told.state == MISSING else told.state:<15} {told.capability}"
    for text in told.lacks if told.state in (MISSING, APART) else ():
        yield f"  {'':<15}   {text}"
    if told.add:
        yield f"  {'':<15}   add to the profile: {told.add}"
    if told.state in (MISSING, UNUSED) and told.unlocks:
        yield f"  {'':<15}   without it something is UNKNOWN, or not planned, in: {', '.join(told.unlocks)}"
