"""What Alertmanager's webhook sends (version 4), checked to the last field that is read."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

_Text = Annotated[str, msgspec.Meta(max_length=20_000)]
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
# What always fires tells that alerts arrive, and of no trouble.
HEARTBEAT = "none"


class NotUnderstood(Exception):
    """What came in is no notification of Alertmanager's; the message says what is wrong where."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert. What Alertmanager may add to it in time is passed over."""

    status: Literal["firing", "resolved"]
    labels: dict[str, _Text]
    starts_at: _Moment = msgspec.field(name="startsAt")
    ends_at: _Moment = msgspec.field(name="endsAt")
    annotations: dict[str, _Text] = {}

    @property
    def name(self) -> str:
        """Return its name; "" where it has none."""
        return self.labels.get("alertname", "")

    @property
    def severity(self) -> str:
        """Return how bad it says it is: critical, warning, none, or whatever its rule says."""
        return self.labels.get("severity", "").lower()

    @property
    def identity(self) -> str:
        """Return what is the same as often as it is told of, and another when it has begun anew."""
        told = json.dumps([sorted(self.labels.items()), self.starts_at.astimezone(UTC).isoformat()])
        return hashlib.sha256(told.encode(errors="replace")).hexdigest()[:24]


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of one group of alerts."""

    version: Literal["4"]
    group_key: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)] = msgspec.field(name="groupKey")
    status: Literal["firing", "resolved"]
    alerts: Annotated[list[Alert], msgspec.Meta(min_length=1)]
    truncated: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="truncatedAlerts", default=0)

    @property
    def group(self) -> str:
        """Return what the group is known by."""
        return hashlib.sha256(self.group_key.encode(errors="replace")).hexdigest()[:24]


_DECODER = msgspec.json.Decoder(Notification)


def read_notification(body: bytes) -> Notification:
    """Return what a body says; raises `NotUnderstood`."""
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise NotUnderstood(f"this is no notification of Alertmanager's webhook, version 4: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotUnderstood("this is no JSON") from error
