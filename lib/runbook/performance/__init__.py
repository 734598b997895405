"""How fast the service is: under a bounded load, as its clients and as it itself see it, and where the time goes."""

from runbook.performance.compared import compared
from runbook.performance.flame import Flame
from runbook.performance.load import load
from runbook.performance.plots import LatencyCurve
from runbook.performance.profile import profile
from runbook.performance.time_spent import time_spent
from runbook.performance.under_load import put_under_load
from runbook.performance.views import views

questions = (load, views, time_spent, profile, compared)

__all__ = [
    "Flame",
    "LatencyCurve",
    "compared",
    "load",
    "profile",
    "put_under_load",
    "questions",
    "time_spent",
    "views",
]
