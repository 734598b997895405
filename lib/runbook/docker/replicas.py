"""Does each container of the service run, and answer by itself?"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pandas as pd

from runbook.connections import ContainersConnection
from runbook.docker.explanations import EXPLAINED_BY
from runbook.model import Asking, CouldNotFindOut, DoesNotApply, Finding, Question, Status
from runbook.model.units import counted
from runbook.target import resolve

COLUMNS = ["container", "state", "health", "address", "status", "ms", "problem"]
_SECONDS = 3.0


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each container of the service, also those that ended: container, state, health, address (on its
    own network; "" for none), status (of the request that stands for what users do, sent to that container alone; 0:
    no answer), ms, problem (why no answer).

    Raises `DoesNotApply` where the profile names no Compose project.
    """
    connection = asking.connection(ContainersConnection)
    named = asking.target.compose
    if named is None:
        raise DoesNotApply(f"the profile of {asking.target.name} names no [compose] project")
    found = connection.containers_of(named.name, named.service)
    if not found:
        raise CouldNotFindOut(f"the Compose project {named.name} has no container of the service {named.service}")
    rows = [_row(told) for told in sorted(found, key=lambda told: told["Name"])]
    with ThreadPoolExecutor(min(16, len(rows))) as pool:
        answers = list(pool.map(lambda row: _answer(asking, row, named.port), rows))
    return pd.DataFrame([{**row, **answer} for row, answer in zip(rows, answers, strict=True)], columns=COLUMNS)


def answer_of(asking: Asking, told: dict[str, Any]) -> dict[str, Any]:
    """Return how a container answers by itself, as the engine inspects it: status, ms, and the problem where not."""
    named = asking.target.compose
    assert named is not None
    return _answer(asking, _row(told), named.port)


def _row(told: dict[str, Any]) -> dict[str, Any]:
    networks = (told.get("NetworkSettings") or {}).get("Networks") or {}
    addresses = [network["IPAddress"] for network in networks.values() if network.get("IPAddress")]
    return {
        "container": told["Name"].lstrip("/"),
        "state": told["State"]["Status"],
        "health": (told["State"].get("Health") or {}).get("Status", ""),
        "address": addresses[0] if addresses else "",
    }


def _answer(asking: Asking, row: dict[str, Any], port: int) -> dict[str, Any]:
    if row["state"] != "running":
        return {"status": 0, "ms": float("nan"), "problem": f"it is {row['state']}"}
    if not row["address"]:
        return {"status": 0, "ms": float("nan"), "problem": "it has no address of its own"}
    api = asking.target.api
    headers = {"authorization": f"Bearer {resolve(api.token)}"} if api is not None and api.token is not None else {}
    url = f"http://{row['address']}:{port}{api.user_request if api is not None else '/health'}"
    try:
        answer = httpx.get(url, headers=headers, timeout=_SECONDS, trust_env=False)
    except httpx.HTTPError as error:
        return {"status": 0, "ms": float("nan"), "problem": f"no answer at {row['address']}:{port} ({_words(error)})"}
    return {"status": answer.status_code, "ms": answer.elapsed.total_seconds() * 1000, "problem": ""}


def _words(error: httpx.HTTPError) -> str:
    return "no answer in time" if isinstance(error, httpx.TimeoutException) else type(error).__name__


def check(frame: pd.DataFrame, *, wanted: float = 0) -> list[Finding]:
    """Judge whether ``wanted`` containers answer (0: as many as there are), each asked by itself.

    Fewer is CRITICAL: the others carry their load. More is a WARNING.
    """
    findings = []
    good, wanted = 0, wanted or len(frame)
    for row in frame.to_dict("records"):
        well = not row["problem"] and row["status"] < 500 and row["health"] in ("", "healthy")
        good += well
        told = row["problem"] or f"answered {row['status']} in {row['ms']:.0f} ms"
        told += f", {row['health']}" if row["health"] else ""
        findings.append(
            Finding(
                object=row["container"],
                status=Status.OK if well else Status.WARNING if row["health"] == "starting" else Status.CRITICAL,
                message=told,
                value=int(row["status"]),
                unit="HTTP status",
            )
        )
    status = Status.OK if good == wanted else Status.CRITICAL if good < wanted else Status.WARNING
    message = f"{counted(good, 'container answers', 'containers answer')}, each by itself; wanted: {wanted:g}"
    whole = Finding(object="all", status=status, message=message, value=good, threshold=wanted, unit="containers")
    return [whole, *findings]


replicas = Question(
    name="docker.replicas",
    title="Does each container of the service run, and answer by itself?",
    probe=probe,
    check=check,
    source="docker compose ps; curl http://ADDRESS-OF-EACH:PORT",
    needs=(ContainersConnection,),
    explained_by=EXPLAINED_BY,
    deadline=15,
    next="see the last lines of the one that does not answer: docker logs --tail 50 NAME",
)
