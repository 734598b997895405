"""Read what the service answers into frames, without believing that it is what was expected."""

from typing import Any

from runbook.connections import ApiConnection, Response
from runbook.model import CouldNotFindOut, Finding, Status, Unreachable


def ask_once(api_or_error: ApiConnection | Unreachable, path: str) -> tuple[dict[str, Any], Response | None]:
    """Return a frame's row on one request, and the answer where there was one.

    Columns: path, answered (bool), kind and reason (why not answered), status, ms, problem (why its body is no JSON
    object, else "").
    """
    row: dict[str, Any] = {"path": path, "answered": False, "kind": "", "reason": "", "status": 0, "ms": 0.0}
    try:
        if isinstance(api_or_error, Unreachable):
            raise api_or_error
        response = api_or_error.get(path)
    except Unreachable as error:
        return {**row, "kind": error.kind, "reason": error.reason, "problem": ""}, None
    row |= {"answered": True, "status": response.status, "ms": response.seconds * 1000, "problem": ""}
    try:
        response.mapping()
    except CouldNotFindOut as problem:
        row["problem"] = str(problem)
    return row, response


def mapping_of(api: ApiConnection, path: str) -> dict[str, Any]:
    """Return the JSON object that a path answers with 200; raises `CouldNotFindOut` for any other answer."""
    response = api.get(path)
    if response.status != 200:
        raise CouldNotFindOut(f"{path} answered {response.status}")
    return response.mapping()


def missing_key(path: str, key: str, body: dict[str, Any]) -> CouldNotFindOut:
    """Return the refusal to guess a value that the service did not tell: with the keys that did come."""
    came = ", ".join(sorted(map(str, body))[:12]) or "none"
    return CouldNotFindOut(f"{path} does not tell {key}; the keys that came: {came}")


def not_answered(obj: str, kind: str, reason: str) -> Finding:
    """Return the finding on a service that gave no HTTP answer: CRITICAL, or UNKNOWN where nothing was configured.

    It says itself what to do next: no dependency of the service explains a process that does not answer.
    """
    status = Status.UNKNOWN if kind == "not-configured" else Status.CRITICAL
    after = "see whether its process or container runs and what its last log lines say"
    if kind == "timeout":
        after = (
            "where it accepts and keeps silent it hangs: keep what it does now (docker top, its last log lines) before "
            "a restart; where not even that, see its process or container, its host and the network"
        )
    return Finding(object=obj, status=status, message=reason, value=kind, next=after)
