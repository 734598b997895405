"""A message as a webhook takes it."""

from collections.abc import Mapping
from typing import Any

from runbook.transport.webhook import slack

SCHEMA = 1
# What a receiver may rely on: each is there, and null where it is not known.
FIELDS = (
    "incident", "severity", "component", "issue", "started", "impact", "doing", "owner", "next_update", "ended",
    "resolution", "root_cause", "status_page", "evidence",
)  # fmt: skip


def payload(form: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request: for "slack" what Slack and those like it take, for "json" every fact by name."""
    return slack(message["text"]) if form == "slack" else generic(message)


def generic(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message and its facts, those that are not known as null."""
    facts = message["facts"]
    return {
        "schema": SCHEMA,
        "message": message["kind"],
        "text": message["text"],
        **{name: facts.get(name) for name in FIELDS},
        "contacts": [facts[name] for name in sorted(facts) if name.startswith("contact_")],
        "found": [facts[name] for name in sorted(facts) if name.startswith("found_")],
        "now": facts.get("now"),
    }
