"""Can everybody read how the service's interface is used?"""

from typing import Any

import pandas as pd

from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.api.strangers import catches_all, not_believed, shortened
from runbook.connections import ApiConnection, Response
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.units import counted

PLACES = ("/docs", "/redoc", "/openapi.json")
_WRITES = ("post", "put", "patch", "delete")
# A login is where authentication begins.
_WAYS_IN = ("login", "token", "refresh", "register")
_SHOWN, _MOST = 5, 1000


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each place of the documentation, asked without a token: path, status, open (whether what came
    is really a documentation), control (status of a path that nobody serves), catches_all.

    attrs hold ``writes`` (how many operations write, by the schema, at most 1,000 are looked at) and ``unprotected``
    (those of them for which the schema names no authentication).
    """
    rows: list[dict[str, Any]] = []
    writes, unprotected = 0, list[str]()
    with asking.connection(ApiConnection).stranger() as stranger:
        control = stranger.nowhere()
        for path in PLACES:
            answer = stranger.get(path)
            schema = _schema(answer) if path.endswith(".json") else None
            is_open = answer.status == 200 and (schema is not None or _is_page(answer))
            if schema:
                writes, unprotected = _writing(schema)
            row = {"path": path, "status": answer.status, "open": is_open, "control": control.status}
            rows.append({**row, "catches_all": catches_all(control)})
    frame = pd.DataFrame(rows)
    frame.attrs = {"writes": writes, "unprotected": unprotected}
    return frame


def _is_page(answer: Response) -> bool:
    body = answer.body[:100_000].lower()
    return answer.is_html and (b"swagger-ui" in body or b"redoc" in body)


def _schema(answer: Response) -> dict[str, Any] | None:
    """Return the schema that an answer holds; {} where it is one, but too long to be read; None where it is none."""
    if answer.cut:
        return {} if b'"openapi"' in answer.body[:1000] else None
    try:
        told = answer.mapping()
    except CouldNotFindOut:
        return None
    return told if isinstance(told.get("paths"), dict) and ("openapi" in told or "swagger" in told) else None


def _writing(schema: dict[str, Any]) -> tuple[int, list[str]]:
    """Return how many operations write, and which of them need no authentication as far as the schema tells."""
    found, unprotected = 0, []
    for path, operations in list(schema["paths"].items())[:_MOST]:
        for method in _WRITES:
            operation = operations.get(method) if isinstance(operations, dict) else None
            if not isinstance(operation, dict):
                continue
            found += 1
            protected = operation.get("security", schema.get("security"))
            if not protected and not any(way in str(path).lower() for way in _WAYS_IN):
                unprotected.append(f"{method.upper()} {shortened(str(path))}")
    return found, unprotected


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each place: whoever looks for a way in reads it first. What the schema names as writing without
    authentication is a finding of its own; a check in the service's own code is not in the schema.
    """
    findings = [_judged(row) for row in frame.to_dict("records")]
    unprotected = frame.attrs["unprotected"]
    if unprotected:
        more = f" and {len(unprotected) - _SHOWN} more" if len(unprotected) > _SHOWN else ""
        of = counted(frame.attrs["writes"], "operation")
        message = f"the schema names no authentication for {len(unprotected)} of {of} that write: "
        message += f"{', '.join(unprotected[:_SHOWN])}{more}"
        after = "ask each without a token; what is not refused with 401 is open to everybody"
        findings.append(
            Finding(
                object="operations that write",
                status=Status.WARNING,
                message=message,
                value=float(len(unprotected)),
                unit="operations",
                next=after,
            )
        )
    if frame["catches_all"].any():
        findings.append(not_believed(int(frame["control"].iloc[0])))
    return findings


def _judged(row: dict[Any, Any]) -> Finding:
    status = int(row["status"])
    if row["open"]:
        told, message = Status.WARNING, "open to everybody: it lists every path and what each takes"
    elif status == 429 or status >= 500:
        told, message = Status.UNKNOWN, f"answered {status}: whether it is open is not known"
    elif 200 <= status < 300:
        told, message = Status.OK, f"answered {status} with something else than a documentation"
    else:
        told, message = Status.OK, f"answered {status} without a token"
    return Finding(object=str(row["path"]), status=told, message=message, value=status, unit="HTTP status")


open_documentation = Question(
    name="api.open_documentation",
    title="Can everybody read how the service's interface is used?",
    probe=probe,
    check=check,
    source="for path in /docs /redoc /openapi.json; do "
    'curl -sS -o /dev/null -w "$path %{http_code}\n" {api}$path; done',
    needs=(ApiConnection,),
    deadline=20.0,  # four requests
    next="FastAPI(docs_url=None, redoc_url=None, openapi_url=None) in production, or close these paths at the proxy",
    explained_by=EXPLAINED_BY_SILENCE,
)
