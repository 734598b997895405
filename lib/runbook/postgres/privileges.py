"""Refuse to judge from what a role cannot see."""

import pandas as pd

from runbook.model import CouldNotFindOut


def require_all_sessions(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame without its ``sees_all`` column; raises `CouldNotFindOut` with the missing grant.

    Without pg_monitor, pg_stat_activity hides what other roles do, and counts would be too low without a word.
    """
    if not frame["sees_all"].all():
        role = frame["role"].iloc[0]
        raise CouldNotFindOut(f"role {role} sees only its own sessions; as a superuser: GRANT pg_monitor TO {role}")
    return frame.drop(columns="sees_all")
