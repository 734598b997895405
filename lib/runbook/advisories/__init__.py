"""Questions on known vulnerabilities of the packages that the service is made of."""

from runbook.advisories.database import database
from runbook.advisories.outdated import outdated
from runbook.advisories.packages import packages
from runbook.advisories.scanners import scanners

questions = (database, packages, scanners, outdated)

__all__ = ["database", "outdated", "packages", "questions", "scanners"]
