"""The rule file of Prometheus, made from the rules."""

import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

from runbook.prometheus.rules.catalogue import groups
from runbook.prometheus.rules.rule import Rule, Terms, duration

_FOLDER = Path(__file__).parent
SHIPPED = _FOLDER / "shrimp.rules.yml"
# The runbook's own four, kept as proof of what each gets wrong; they are never loaded.
AS_WRITTEN = _FOLDER / "runbook-as-written.yml"

_HEADER = """\
# Alert rules of the Shrimp Annotation Pipeline, for `rule_files` of Prometheus.
# Made by `runbook alerts rules`: change the rules or the profile's thresholds, and make it anew.
"""


def rule_file(terms: Terms | None = None, *, base: str = "", without: Collection[str] = ()) -> str:
    """Return the text of the rule file.

    ``base`` is the address under which the repository is seen, put before each notebook's path in ``runbook_url``;
    the alerts ``without`` are left out.
    """
    from ruamel.yaml import YAML  # in a kernel only where it is needed: it brings filters of warnings

    document = {
        "groups": [
            {"name": name, "rules": [_entry(rule, base) for rule in rules if rule.name not in without]}
            for name, rules in groups(terms or Terms()).items()
        ]
    }
    out = io.StringIO()
    yaml = YAML()
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(document, out)
    return _HEADER + out.getvalue()


def runbook_url(rule: Rule, base: str = "") -> str:
    """Return where a rule's notebook is seen: below an address, or as a path in the repository."""
    path = f"notebooks/{rule.notebook}.ipynb"
    return f"{base.rstrip('/')}/{path}" if base else path


def _entry(rule: Rule, base: str) -> dict[str, Any]:
    from ruamel.yaml.scalarstring import LiteralScalarString

    entry: dict[str, Any] = {
        "alert": rule.name,
        "expr": LiteralScalarString(rule.expr + "\n") if "\n" in rule.expr else rule.expr,
    }
    if rule.wait:
        entry["for"] = duration(rule.wait)
    entry["labels"] = {"severity": rule.severity}
    entry["annotations"] = {
        "summary": rule.summary,
        "description": rule.description,
        "runbook_url": runbook_url(rule, base),
    }
    return entry
