"""Questions about the service's users, and changes of them."""

from runbook.users.accounts import accounts
from runbook.users.add import add
from runbook.users.can_log_in import can_log_in
from runbook.users.change_role import change_role
from runbook.users.deactivate import deactivate
from runbook.users.default_credentials import default_credentials
from runbook.users.interface import interface
from runbook.users.is_refused import is_refused
from runbook.users.revoke import revoke
from runbook.users.signing_key import signing_key

questions = (accounts, interface, default_credentials, can_log_in, is_refused, signing_key)
changes = (add, revoke, change_role, deactivate)

__all__ = [
    "accounts",
    "add",
    "can_log_in",
    "change_role",
    "changes",
    "deactivate",
    "default_credentials",
    "interface",
    "is_refused",
    "questions",
    "revoke",
    "signing_key",
]
