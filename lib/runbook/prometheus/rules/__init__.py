"""The alert rules: each is defined once, here, and written into the rule file that ships with the package."""

from runbook.prometheus.rules.catalogue import all_rules
from runbook.prometheus.rules.limits import LIMITS, Limit
from runbook.prometheus.rules.rule import Rule, Terms
from runbook.prometheus.rules.rulefile import AS_WRITTEN, SHIPPED, rule_file

__all__ = ["AS_WRITTEN", "LIMITS", "SHIPPED", "Limit", "Rule", "Terms", "all_rules", "rule_file"]
