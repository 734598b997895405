"""Questions on what else happened: restarts, deployments, configurations and plans, by their distance from a moment."""

from runbook.happened.around import around

questions = (around,)

__all__ = ["around", "questions"]
