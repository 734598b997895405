"""Take secrets out of everything that is shown or written."""

from runbook.redaction.document import redact_notebook
from runbook.redaction.redactor import Redactor

__all__ = ["Redactor", "redact_notebook"]
