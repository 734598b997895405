"""Which back ends has the service given up on for now?"""

from collections.abc import Hashable
from typing import Any

import pandas as pd

from runbook.api.answers import mapping_of, missing_key
from runbook.api.explanations import EXPLAINED_BY_SILENCE
from runbook.connections import ApiConnection
from runbook.model import Asking, Finding, Question, Status


def probe(asking: Asking) -> pd.DataFrame:
    """Return a row for each breaker that exists: breaker, state, failures, last_failure (UTC or NaT).

    /ready lists the critical ones that are open, /health all of them; both are read. No rows means that no guarded
    back end was called since the service started.
    """
    api = asking.connection(ApiConnection)
    health = mapping_of(api, "/health")
    if not isinstance(health.get("circuit_breakers"), dict):
        raise missing_key("/health", "circuit_breakers", health)
    rows = [_row(str(name), told) for name, told in health["circuit_breakers"].items()]
    ready = api.get("/ready").mapping()
    told = ready["detail"] if isinstance(ready.get("detail"), dict) else ready
    critical = told.get("critical_breakers_open")
    opened = critical if isinstance(critical, list) else []
    known = {row["breaker"] for row in rows}
    rows += [_row(str(name), {"state": "open"}) for name in opened if str(name) not in known]
    return pd.DataFrame(rows, columns=["breaker", "state", "failures", "last_failure"])


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge each breaker: open is CRITICAL, half-open WARNING, closed OK, any other word UNKNOWN."""
    if frame.empty:
        message = "no guarded back end was called since the service started, so no breaker exists yet (not: closed)"
        return [Finding(object="breakers", status=Status.OK, message=message)]
    return [_judge(row) for row in frame.to_dict("records")]


def _judge(row: dict[Hashable, Any]) -> Finding:
    state = str(row["state"]).lower().replace("-", "_")
    status = {"closed": Status.OK, "half_open": Status.WARNING, "open": Status.CRITICAL}.get(state, Status.UNKNOWN)
    failures = f" after {row['failures']} failures" if row["failures"] else ""
    return Finding(object=str(row["breaker"]), status=status, message=f"{row['state']}{failures}", value=state)


def _row(name: str, told: object) -> dict[str, object]:
    facts = told if isinstance(told, dict) else {"state": told}
    when = _time(facts.get("last_failure_time"))
    failures = facts.get("failure_count")
    return {
        "breaker": name,
        "state": str(facts.get("state", "not told")),
        "failures": failures if isinstance(failures, int) and 0 <= failures < 1 << 53 else 0,
        "last_failure": when,
    }


def _time(told: object) -> Any:
    """Return a time told in seconds since 1970; NaT for what is no number, or too far off to be a time."""
    if isinstance(told, float | int) and 0 < told < 1e11:
        return pd.Timestamp(told, unit="s", tz="UTC")
    return pd.NaT


circuit_breakers = Question(
    name="api.circuit_breakers",
    title="Which back ends has the service given up on?",
    probe=probe,
    check=check,
    source="curl -sS {api}/health | jq .circuit_breakers; curl -sS {api}/ready | jq .critical_breakers_open",
    needs=(ApiConnection,),
    deadline=10.0,  # two requests
    next="see whether that back end answers; the breaker closes by itself when it does",
    explained_by=EXPLAINED_BY_SILENCE,
    caused_by={"llm.reachable": ("ollama", "openai", "llm")},  # as breakers of the language model are named
)
