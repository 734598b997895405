"""Run the notebooks on a healthy reference sandbox and store their outputs, which nbval compares later.

Call it after a notebook or what it shows has changed, then read the difference:
``.venv/bin/python tests/store_outputs.py [NAME…]``.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from runbook.model.collection import all_notebooks
from runbook_sandbox import stack

TARGET = "sandbox"


def main() -> None:
    """Store the outputs of the named notebooks, or of all."""
    wanted = set(sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="rbt-") as own:
        Path(own).chmod(0o711)  # PostgreSQL runs as another user when root does this
        for name, folder in (("TARGETS", "targets"), ("EVIDENCE", "evidence")):
            os.environ[f"RUNBOOK_{name}"] = f"{own}/{folder}"
        os.environ["XDG_STATE_HOME"] = f"{own}/home"  # the key that seals the baseline of the sandbox's files
        os.environ["TMPDIR"] = tempfile.tempdir = own
        place = stack.up(TARGET, recorded=True)
        try:
            for notebook in all_notebooks():
                if not wanted or notebook.name in wanted:
                    store(notebook.path, str(place.folder))
        finally:
            stack.down(place)


def store(path: Path, folder: str) -> None:
    """Run one notebook and write it back with its outputs and nothing else changed.

    The sandbox's folder, which is another on each machine, is kept as SANDBOX.
    """
    notebook = nbformat.read(path, as_version=4)
    metadata = json.loads(json.dumps(notebook.metadata))
    client = NotebookClient(notebook, timeout=60, record_timing=False, resources={"metadata": {"path": path.parent}})
    client.execute()
    notebook.metadata = nbformat.from_dict(metadata)
    path.write_text(nbformat.writes(notebook).replace(folder, "SANDBOX") + "\n")
    sys.stdout.write(f"stored {path.name}\n")


if __name__ == "__main__":
    main()
