"""All rules, in the order of the rule file."""

from runbook.prometheus.rules import database, machine, service
from runbook.prometheus.rules.rule import Rule, Terms

GROUPS = {"shrimp-api": service.rules, "shrimp-database": database.rules, "shrimp-machine": machine.rules}


def groups(terms: Terms) -> dict[str, list[Rule]]:
    """Return the rules by the name of their group."""
    return {name: made(terms) for name, made in GROUPS.items()}


def all_rules(terms: Terms | None = None) -> list[Rule]:
    """Return every rule, made with these terms or the defaults."""
    return [rule for rules in groups(terms or Terms()).values() for rule in rules]
