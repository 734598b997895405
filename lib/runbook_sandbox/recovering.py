"""Stop or start the service of a practice stack, as a command that a profile can name: PLACE stop | start."""

import sys
from pathlib import Path

from runbook_sandbox.place import Place


def main() -> None:
    """Do what is asked to the stack of that name."""
    from runbook_sandbox import processes, stack  # the stack itself names this command

    name, what = sys.argv[1:3]
    place = Place(name)
    if what == "stop":
        processes.end(processes.of_part(place, "api"))
    elif not processes.of_part(place, "api"):
        stack.start_part(place, "api")
        stack.wait_for(place, "api")


def profile(place: Place) -> str:
    """Return what the target file says of it."""
    own = f'"{sys.executable}", "-m", "runbook_sandbox.recovering", "{place.name}"'
    folders = ", ".join(f'"{Path(place.folder, name)}"' for name in ("redis", "deployed"))
    return (
        f'[recovery]\nstop = [{own}, "stop"]\nstart = [{own}, "start"]\n'
        f'folders = [{folders}]\npreserve = "{place.folder}/preserved"\n\n'
    )


if __name__ == "__main__":
    main()
