"""Questions on certificates: what is served, what lies on the disk, who renews it; and the plans that renew it."""

from runbook.certificates.expiry import expiry
from runbook.certificates.on_disk import on_disk
from runbook.certificates.plots import DaysLeft
from runbook.certificates.reload import reload
from runbook.certificates.renew import renew
from runbook.certificates.renewal import renewal
from runbook.certificates.replace_secret import replace_secret
from runbook.certificates.secret import secret
from runbook.certificates.strength import strength
from runbook.certificates.trust import trust

questions = (expiry, trust, strength, on_disk, renewal, secret)
changes = (renew, reload, replace_secret)

__all__ = [
    "DaysLeft",
    "changes",
    "expiry",
    "on_disk",
    "questions",
    "reload",
    "renew",
    "renewal",
    "replace_secret",
    "secret",
    "strength",
    "trust",
]
