"""The stand-in for the service: as the runbook documents it, or as it was built.

Run by `stack.up` as a process: ``python -m runbook_sandbox.service FOLDER FD``, or in a container with ``:PORT``.
"""

import json
import socket
import sys
from pathlib import Path

import uvicorn

from runbook_sandbox import as_built, documented

MODES = {"documented": documented.build, "as-built": as_built.build}


def main() -> None:
    """Serve on the socket that the parent opened, or on a port of this machine."""
    folder, where = Path(sys.argv[1]), sys.argv[2]
    settings = json.loads((folder / "service.json").read_text())
    app = MODES[settings["mode"]](folder, settings)
    listening = (
        socket.create_server(("127.0.0.1", int(where[1:])))
        if where.startswith(":")
        else socket.socket(fileno=int(where))
    )
    config = uvicorn.Config(app, log_level="info", access_log=True, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
