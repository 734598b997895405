"""Which rules are of use to a target, by what its profile says that it has."""

from runbook.prometheus.rules.catalogue import all_rules
from runbook.prometheus.rules.rule import Rule, Terms
from runbook.target import Target


def rules_of(target: Target) -> list[Rule]:
    """Return the rules as they are made for a target."""
    return all_rules(Terms.of(target))


def why_not(rule: Rule, target: Target) -> str:
    """Return why a rule is of no use to a target, as its profile says; "" where it is."""
    if rule.part == "standby" and target.standby is None and not (target.postgres and target.postgres.standbys):
        return "the profile names no standby"
    if rule.part == "tls" and not (target.api and target.api.url.startswith("https:")):
        return "the profile's [api] is not served over TLS"
    if rule.part == "containers" and not (target.containers and target.containers.named) and target.compose is None:
        return "the profile names no container"
    if rule.part == "backups" and not (target.prometheus and target.prometheus.backups):
        return "the profile does not say that backups are reported ([prometheus] backups)"
    return ""


def fires_for_nothing(target: Target) -> frozenset[str]:
    """Return the alerts that would fire always, since they miss what a target does not have, as its profile says."""
    return frozenset(rule.name for rule in rules_of(target) if rule.absent and why_not(rule, target))
