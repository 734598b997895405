"""Messages about an incident: what is known, in the runbook's words, to copy or to post by a plan."""

from runbook.communication.incident import incident
from runbook.communication.messages import Message, alert, due, resolved, update
from runbook.communication.post import post
from runbook.communication.updates import updates

questions = (incident, updates)
changes = (post,)

__all__ = ["Message", "alert", "changes", "due", "incident", "post", "questions", "resolved", "update", "updates"]
