"""What was run in this kernel, so that a cell that was changed afterwards can be told from one that was not."""

import hashlib
from typing import Any

from runbook.redaction import Redactor


def executed_sources(redactor: Redactor) -> dict[str, str]:
    """Return the digest of each source that was run, scrubbed, by its execution count; nothing outside IPython.

    Blank lines around a source do not count: IPython keeps them or not, as it sees fit.
    """
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is None:
        return {}
    history: list[str] = shell.history_manager.input_hist_raw
    return {
        str(count): hashlib.sha256(redactor.text(source.strip()).encode()).hexdigest()
        for count, source in enumerate(history)
        if count and source
    }
