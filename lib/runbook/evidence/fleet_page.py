"""All targets and all notebooks on one page: what each last run found. It is derived, as the index is."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.evidence.page import counted, part, policy, style_class, template
from runbook.model.layout import is_baseline_id

if TYPE_CHECKING:
    from runbook.evidence.index import Entry

FLEET_FILE = "fleet.html"
# The worst first, as the eye looks for it; a word that is none of these stands with UNKNOWN.
_ORDER = ("FAILED", "DID NOT END", "CRITICAL", "UNKNOWN", "WARNING", "OK", "SKIPPED")


@dataclass(frozen=True)
class Row:
    """A target, and its last run of each notebook in the order of the columns; None where there never was one."""

    target: str
    cells: "list[Entry | None]"

    @property
    def worst(self) -> str:
        """Return the worst of its last verdicts."""
        return min((cell.status for cell in self.cells if cell is not None), key=_rank)


def fleet_page(newest: "Iterable[Entry]") -> bytes | None:
    """Return the page of an archive's runs, which come newest first; None where they are of fewer than two targets."""
    last: dict[tuple[str, str], Entry] = {}
    for entry in newest:
        if entry.target and entry.status != "PRUNED" and not is_baseline_id(entry.run_id):
            last.setdefault((entry.target, entry.notebook), entry)
    notebooks = sorted({notebook for _, notebook in last})
    targets = sorted({target for target, _ in last})
    if len(targets) < 2:
        return None
    rows = [Row(target, [last.get((target, notebook)) for notebook in notebooks]) for target in targets]
    rows.sort(key=lambda row: (_rank(row.worst), row.target))
    style = part("common.css") + part("fleet.css")
    page: str = template("fleet.html").render(
        notebooks=notebooks,
        rows=rows,
        counts=dict(sorted(counted(row.worst for row in rows).items(), key=lambda told: _rank(told[0]))),
        style=style,
        policy=policy(style),
        style_class=style_class,
    )
    return page.encode(errors="replace")


def _rank(status: str) -> int:
    return _ORDER.index(status if status in _ORDER else "UNKNOWN")
