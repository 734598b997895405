"""Questions to the language model that finds candidates: does it answer, with the service's own key?"""

from runbook.llm.reachable import reachable
from runbook.llm.told import told

questions = (reachable, told)

__all__ = ["questions", "reachable", "told"]
