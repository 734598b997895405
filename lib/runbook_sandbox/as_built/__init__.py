"""The service as it was built: what it answers in production, with what it does otherwise than its documents say."""

from runbook_sandbox.as_built.app import build
from runbook_sandbox.as_built.memory import DOCUMENT

__all__ = ["DOCUMENT", "build"]
