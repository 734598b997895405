"""The command ``demo``: every read-only notebook on a practice stack that is there for the demo only."""

import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

from runbook.cli.report import Report
from runbook.cli.run import exit_status, into_index, run_all, stopping, template
from runbook.kernels import DEFAULT
from runbook.model import RunFailed, Status
from runbook.model.collection import all_notebooks
from runbook.model.protocol import RunRecord
from runbook.runner.batch import Task
from runbook.target import load_target


def run() -> int:
    """Run the demo and return the exit status of its runs; the stack is taken down again whatever happens."""
    try:
        from runbook_sandbox import stack
        from runbook_sandbox.place import Place, SandboxError, all_places
        from runbook_sandbox.servers import NoServerError
    except ImportError as error:
        raise RunFailed(f"the demo needs the extra `sandbox` (pip install 'lib[sandbox]'): {error}") from error
    signal.signal(signal.SIGTERM, _interrupt)
    for place in all_places():
        if place.name.startswith("demo-") and not _runs(place.name.removeprefix("demo-")):
            stack.down(place)  # of a demo that was killed
    name = f"demo-{os.getpid()}"
    began = time.monotonic()
    sys.stdout.write("starting PostgreSQL, Redis and a stand-in for the service\n")
    sys.stdout.flush()
    place = Place(name)
    try:
        # In the stack's own folder: a demo leaves nothing in the user's configuration.
        targets = place.folder / "targets"
        os.environ["RUNBOOK_TARGETS"] = os.pathsep.join(filter(None, [str(targets), os.environ.get("RUNBOOK_TARGETS")]))
        stack.up(name, targets=targets, recorded=True)
        sys.stdout.write(f"up after {time.monotonic() - began:.1f} s\n")
        notebooks = [notebook for notebook in all_notebooks() if notebook.metadata.changes == "none"]
        notebooks = [notebook for notebook in notebooks if not notebook.metadata.about_incident]  # there is none here
        tasks = [Task(notebook, load_target(name), {}) for notebook in notebooks]
        report = Report(quiet=False, runs=len(tasks))
        with stopping() as stop, template(DEFAULT, len(tasks)) as forking:
            records = run_all(dict(enumerate(tasks)), report, forking, stop)
        report.table(records)
        into_index(report)
        apply = [record for record in records if not _does_not_apply(record)]
        for record in records:
            if record not in apply:
                sys.stdout.write(f"{record.notebook}: {record.findings[0].message}: nothing of it applies here\n")
        return exit_status(apply)
    except (SandboxError, NoServerError) as error:
        raise RunFailed(str(error)) from error
    except KeyboardInterrupt:
        raise RunFailed("interrupted; the practice stack was taken down") from None
    finally:
        if place.exists:
            stack.down(place)


def _does_not_apply(record: RunRecord) -> bool:
    """Tell whether a notebook found that the practice stack has nothing for it, as on a machine without Prometheus."""
    return record.error is None and {finding.status for finding in record.findings} == {Status.SKIPPED}


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _runs(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
