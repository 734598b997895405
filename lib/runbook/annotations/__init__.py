"""What the service's own data has to be like: questions about documents, sentences, candidates and items."""

from runbook.annotations.rules import rules

questions = (rules,)

__all__ = ["questions", "rules"]
