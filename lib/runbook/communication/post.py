"""Post a message about an incident to the webhook of the profile."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from runbook.communication.facts import story
from runbook.communication.messages import TITLES
from runbook.communication.payloads import payload
from runbook.communication.sent import ACT, CHANGE
from runbook.model import Act, Asking, Change, ChangeFailed, CouldNotFindOut, DoesNotApply, Draft, Step
from runbook.transport.tls import tls
from runbook.transport.webhook import deliver, place

COPY = "copy the text, which stands under `to be copied`"


def observe(asking: Asking, message: Mapping[str, Any]) -> dict[str, Any]:
    """Return where the message would go, and which ones about the incident went out before.

    ``host``, ``form`` (slack or json), ``encrypted``, ``kept`` (the reference of the address), ``messages`` (their
    kinds, the oldest first). Raises `DoesNotApply` where there is nothing to tell or the profile has no webhook,
    `CouldNotFindOut` where its address or its CA file is not there.
    """
    if not message["text"]:
        raise DoesNotApply(f"there is nothing to post: {message['why']}")
    webhook = asking.target.webhook
    if webhook is None:
        raise DoesNotApply(f"the profile of {asking.target.name} names no [webhook]: {COPY}")
    at = place(webhook)
    tls("webhook", webhook.ca_file)
    before = story(message["facts"].get("incident", "")).sent
    return {
        "host": at.host,
        "form": webhook.kind,
        "encrypted": at.encrypted,
        "kept": webhook.url,
        "messages": ", ".join(one.kind for one in before) or "none",
    }


def draft(facts: Mapping[str, Any], message: Mapping[str, Any]) -> Draft:
    """Write out the posting of one message, exactly as it will be sent.

    Raises `DoesNotApply` for what belongs to no incident, and for what is told once and was told.
    """
    kind, incident = message["kind"], message["facts"].get("incident", "")
    if not incident:
        raise DoesNotApply(f"what is posted belongs to an incident: open one (`runbook incident open`), or {COPY}")
    before = [name for name in facts["messages"].split(", ") if name in TITLES]
    if "resolved" in before or (kind == "alert" and before):
        raise DoesNotApply(f"{TITLES[before[-1]]} of {incident} was posted already; where it is needed twice, {COPY}")
    body = json.dumps(payload(facts["form"], message), ensure_ascii=False)
    reaches = ["whoever reads there; nothing of the target itself is changed, and no alert is silenced"]
    if not facts["encrypted"]:
        reaches.append("it is sent without encryption: whoever is on the way can read it, and the webhook's address")
    return Draft(
        summary=f"post {TITLES[kind]} of {incident} to {facts['host']}",
        steps=(
            Step(
                act=ACT,
                shown=by_hand(facts["kept"], body),
                arguments={"host": facts["host"], "kind": kind, "body": body},
            ),
        ),
        blast_radius=tuple(reaches),
        irreversible="what was read cannot be taken back; a mistake is corrected by the next update",
    )


def by_hand(reference: str, body: str) -> str:
    """Return the command that posts the same by hand: the address only as where it is kept."""
    scheme, _, where = reference.partition(":")
    if scheme == "env":
        address = f'"${where}"'
    elif scheme == "file":
        home, path = ("~/", where[2:]) if where.startswith("~/") else ("", where)  # in quotes ~ is no home
        address = f'"$(cat {home}{shlex.quote(path)})"'
    else:
        address = f'"$(keyring get {" ".join(map(shlex.quote, where.split("/", 1)))})"'
    return f"curl --json {shlex.quote(body)} {address}"


def _post(asking: Asking, arguments: Mapping[str, Any]) -> str:
    webhook = asking.target.webhook
    if webhook is None:
        raise ChangeFailed("not delivered: the profile names no [webhook] any more")
    try:
        return deliver(webhook, arguments["body"].encode(), "runbook", arguments["host"])
    except ChangeFailed as error:
        raise ChangeFailed(f"{error}; {COPY}") from error
    except CouldNotFindOut as error:
        raise CouldNotFindOut(f"{error} If it did not, {COPY}") from error


post = Change(
    name=CHANGE,
    title="Post a message about an incident",
    observe=observe,
    draft=draft,
    # Nobody but its readers can tell later whether it arrived.
    acts={ACT: Act(_post)},
    needs=(),
    watched=("host", "form", "messages"),
    patience=1.0,
    deadline=20.0,
    of_target=False,
    to_copy=lambda message: str(message["text"]),
    concerns=lambda message: str(message["facts"].get("incident", "")),
)
