"""What it takes to ask amcheck."""

from collections.abc import Mapping
from typing import Any

from psycopg import sql


def missing(told: Mapping[str, Any], signature: str) -> str:
    """Return what lacks to call a function of amcheck's, and how to get it."""
    role = sql.Identifier(told["role"]).as_string()
    grant = f"GRANT EXECUTE ON FUNCTION {signature} TO {role}"
    if told["tool_schema"] is not None and told.get("there", True):
        return f"role {role} may not call amcheck; as a superuser: {grant}"
    if told["tool_schema"] is not None:
        return (
            f"the amcheck of this database is too old for it; as a superuser: ALTER EXTENSION amcheck UPDATE; {grant}"
        )
    how = "" if told["available"] else " (the server has no amcheck: its contrib package is to be installed first)"
    return f"the extension amcheck is not in this database; as a superuser: CREATE EXTENSION amcheck; {grant}{how}"
