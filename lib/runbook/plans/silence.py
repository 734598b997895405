"""Silence, for a time, the alerts that a change will cause: a step that every plan may begin with."""

import shlex
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from runbook.connections.prometheus import alertmanager_client
from runbook.model import Act, Asking, CouldNotFindOut, Step
from runbook.model.text import printable
from runbook.target import Target

ACT = "silence"
_SECONDS = 3.0


def silencing(target: Target, summary: str) -> list[Step]:
    """Return the step that silences a target's alerts; none where its profile names no Alertmanager, or no label."""
    named = target.alertmanager
    if named is None or not named.matchers:
        return []
    matchers = [f"{name}={value}" for name, value in named.matchers.items()]
    told = ["amtool", "silence", "add", f"--alertmanager.url={named.url}", f"--duration={named.minutes}m", *matchers]
    if named.user or named.token or named.ca_file:
        told.insert(3, "--http.config.file=http.yml")  # amtool takes them from a file only
    arguments = {"url": named.url, "matchers": dict(named.matchers), "minutes": named.minutes, "why": summary}
    return [Step(act=ACT, shown=shlex.join(told), arguments=arguments)]


def _silences(asking: Asking, arguments: Mapping[str, Any]) -> str:
    """Make the silence and return its id and end; where that fails, say so: the change itself is worth more."""
    named = asking.target.alertmanager
    if named is None or named.url != arguments["url"]:
        return _not_silenced("the profile names another Alertmanager than the plan")  # it would get the password
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
        with alertmanager_client(named, "runbook", _SECONDS) as client:
            answer = client.post("/api/v2/silences", json=silence, timeout=_SECONDS)
        if answer.status_code != 200:
            return _not_silenced(f"Alertmanager answered {answer.status_code}")
        made = printable(str(answer.json()["silenceID"]))[:40]
    except CouldNotFindOut as reason:
        return _not_silenced(str(reason))
    except (httpx.HTTPError, ssl.SSLError, ValueError, KeyError, TypeError) as error:
        return _not_silenced(type(error).__name__)
    return f"silence {made} until {ends:%H:%M:%S} UTC"


def _not_silenced(why: str) -> str:
    return f"NOT SILENCED, alerts will fire ({why}); the change goes on"


def _is_silenced(asking: Asking, arguments: Mapping[str, Any], begun: datetime) -> bool | None:
    return True  # one that is missing lets alerts fire; a second one would help nobody


silence = Act(_silences, _is_silenced)
