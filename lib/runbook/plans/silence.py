"""Silence, for a time, the alerts that a change will cause: a step that every plan may begin with."""

import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from runbook.model import Act, Asking, Step
from runbook.target import Target

ACT = "silence"
_SECONDS = 3.0


def silencing(target: Target, summary: str) -> list[Step]:
    """Return the step that silences a target's alerts; none where its profile names no Alertmanager."""
    named = target.alertmanager
    if named is None:
        return []
    matchers = [f"{name}={value}" for name, value in named.matchers.items()]
    told = ["amtool", "silence", "add", f"--alertmanager.url={named.url}", f"--duration={named.minutes}m", *matchers]
    arguments = {"url": named.url, "matchers": dict(named.matchers), "minutes": named.minutes, "why": summary}
    return [Step(act=ACT, shown=shlex.join(told), arguments=arguments)]


def _silences(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Make the silence and return its id and end; where that fails, say so: the change itself is worth more."""
    began = datetime.now(UTC)
    ends = began + timedelta(minutes=arguments["minutes"])
    silence = {
        "matchers": [
            {"name": name, "value": value, "isRegex": False, "isEqual": True}
            for name, value in arguments["matchers"].items()
        ],
        "startsAt": began.isoformat(),
        "endsAt": ends.isoformat(),
        "createdBy": "runbook",
        "comment": arguments["why"],
    }
    try:
        answer = httpx.post(f"{arguments['url']}/api/v2/silences", json=silence, timeout=_SECONDS, trust_env=False)
        answer.raise_for_status()
        made = str(answer.json()["silenceID"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        return f"NOT SILENCED, alerts will fire ({type(error).__name__}); the change goes on"
    return f"silence {made} until {ends:%H:%M:%S} UTC"


def _is_silenced(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return True  # one that is missing lets alerts fire; a second one would help nobody


silence = Act(_silences, _is_silenced)
