"""What tells a server that a confirmed plan has started from everything else that a run has started.

All that a run has started ends with it, also what calls itself a daemon. A process whose environment holds this name is
left, with its children: a plan started it on purpose, to stay.
"""

MARK = "RUNBOOK_STAYS"
