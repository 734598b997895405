"""The stand-in for the service: as the runbook documents it, or as it was built.

Run by `stack.up` as a process: ``python -m runbook_sandbox.service FOLDER FD``; in a container with ``ADDRESS:PORT``.
"""

import json
import socket
import sys
from pathlib import Path

import uvicorn

from runbook_sandbox import as_built, documented

MODES = {"documented": documented.build, "as-built": as_built.build}


def main() -> None:
    """Serve on the socket that the parent opened, or at an address and port."""
    folder, where = Path(sys.argv[1]), sys.argv[2]
    settings = json.loads((folder / "service.json").read_text())
    app = MODES[settings["mode"]](folder, settings)
    address, _, port = where.rpartition(":")
    listening = socket.create_server((address, int(port))) if address else socket.socket(fileno=int(where))
    config = uvicorn.Config(app, log_level="info", access_log=True, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
