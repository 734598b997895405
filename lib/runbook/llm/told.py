"""Does what the service says of its language model agree with what that answers itself?"""

from typing import Any

import pandas as pd

from runbook.connections import EXPOSITION, ApiConnection, LanguageModelConnection
from runbook.llm.reachable import check as judge
from runbook.llm.reachable import probe as ask
from runbook.model import Asking, CouldNotFindOut, Finding, Question, Status
from runbook.model.text import printable
from runbook.model.units import counted

GENERATED = "candidate_generation_total"


def probe(asking: Asking) -> pd.DataFrame:
    """Return one row: health (the word of /health), breakers (how many it tells; NaN: it tells of none at all),
    open_breakers (their names, ""), succeeded and failed (generations as the service counts them since its start; NaN:
    it counts none), model_status and model_says (what `llm.reachable` finds, in a word or two).
    """
    api = asking.connection(ApiConnection)
    health = api.get("/health").mapping()
    breakers = health.get("circuit_breakers")
    there = breakers if isinstance(breakers, dict) else {}
    opened = [
        str(name)
        for name, told in there.items()
        if str(told.get("state") if isinstance(told, dict) else told).lower() == "open"
    ]
    succeeded, failed = _generated(api)
    found = judge(ask(asking))[0]  # what is found of its key stands behind it
    row = {
        "health": printable(str(health.get("status", "not told")))[:80],
        "breakers": len(there) if isinstance(breakers, dict) else float("nan"),
        "open_breakers": printable(", ".join(sorted(opened)))[:200], "succeeded": succeeded, "failed": failed,
        "model_status": str(found.status), "model_says": str(found.value or found.message),
    }  # fmt: skip
    return pd.DataFrame([row])


def _generated(api: ApiConnection) -> tuple[float, float]:
    try:
        counts = [(one.labels.get("status", ""), one.value) for one in api.exposition() if one.name == GENERATED]
    except CouldNotFindOut:
        counts = []
    if not counts:
        return float("nan"), float("nan")
    succeeded = sum(value for status, value in counts if status == "success")
    return succeeded, sum(value for _, value in counts) - succeeded


def check(frame: pd.DataFrame) -> list[Finding]:
    """Judge whether the service's words can be believed: "healthy" and nothing but successes, while the model does not
    answer or its breaker is open, is a WARNING. Without a breaker, or where the model itself could not be asked, there
    is nothing to hold them against: UNKNOWN.

    As built a failed generation is answered 200 with what the rules found, counted as a success, and logged as "LLM
    request completed" with provider openai and model gpt-4o, whatever was asked.
    """
    row: dict[Any, Any] = frame.iloc[0].to_dict()
    bad = [f"the model itself does not work: {row['model_says']}"] if row["model_status"] == Status.CRITICAL else []
    if row["open_breakers"]:
        bad.append(f"breaker {row['open_breakers']} is open: the service does not even ask it")
    counts = not pd.isna(row["succeeded"])
    says = [f'/health says "{row["health"]}"']
    if counts:
        well = counted(int(row["succeeded"]), "generation is", "generations are")
        says.append(f"{well} counted as a success, {row['failed']:,.0f} as failed")
    told = " and ".join(says)
    if not bad:
        return [_not_contradicted(row, told)]
    silent = row["health"] == "healthy" and (not counts or not row["failed"])
    message = f"{'; '.join(bad)}; and yet {told}" if silent else f"{'; '.join(bad)}; {told}"
    if silent:
        message += (
            ": a 200 and a success of this service prove nothing about its model (its log names openai and gpt-4o"
        )
        message += " whatever it asked)"
    after = "do not judge the model by the service's words: look whether candidates are empty, and mend the model first"
    return [Finding(object="service", status=Status.WARNING, message=message, next=after)]


def _not_contradicted(row: dict[Any, Any], told: str) -> Finding:
    """Return the finding where nothing speaks against the service's words: is there anything that speaks for them?"""
    unknown, after = [], ""
    if pd.isna(row["breakers"]):
        unknown.append("it tells of no circuit breakers")
        after = "see in its log whether its requests to the model succeed"
    elif not row["breakers"]:
        unknown.append("it has no breaker yet: no calls of the model since it started (not: closed)")
        after = "have candidates generated once, and ask again"
    if row["model_status"] == Status.UNKNOWN:
        unknown.append(f"whether the model itself works is not known: {row['model_says']}")
        after = "see llm.reachable for what keeps that from being known, and ask again"
    if unknown:
        message = f"{told}, and whether that is true is not known: {'; '.join(unknown)}"
        return Finding(object="service", status=Status.UNKNOWN, message=message, next=after)
    model = "answers" if row["model_status"] == Status.OK else "answers, with trouble"
    message = f"{told}; no breaker is open, and the model itself {model}"
    return Finding(object="service", status=Status.OK, message=message)


told = Question(
    name="llm.told",
    title="Does the service tell the truth about its language model?",
    probe=probe,
    check=check,
    source="curl -sS {api}/health | jq '.status, .circuit_breakers'; "
    f"curl -sS {{api}}{EXPOSITION} | grep {GENERATED}",
    needs=(ApiConnection, LanguageModelConnection),
    deadline=40.0,
    next="believe what the model answers itself, above, not what the service says of it",
)
