"""A made history of the service's log whose truth is known without reading it: to test and measure readers of logs."""

from runbook_sandbox.history.event import SCANNER, SQL_INJECTION, TRAVERSAL, Event, request
from runbook_sandbox.history.files import Written, fast_file, write
from runbook_sandbox.history.generator import events
from runbook_sandbox.history.rendering import STYLES, as_json, as_text
from runbook_sandbox.history.truth import Seen, Truth

__all__ = [
    "SCANNER",
    "SQL_INJECTION",
    "STYLES",
    "TRAVERSAL",
    "Event",
    "Seen",
    "Truth",
    "Written",
    "as_json",
    "as_text",
    "events",
    "fast_file",
    "request",
    "write",
]
