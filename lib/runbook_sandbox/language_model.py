"""A stand-in for the language model: it speaks OpenAI's language, knows one key, and finds nothing new.

Run by `stack.up` as a process: ``python -m runbook_sandbox.language_model FOLDER FD``. That it is a stand-in is told by
its answers: they name ``runbook-sandbox``.
"""

import http.server
import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

from runbook_sandbox.place import OWNER

MODEL = "gpt-4o"
PART = "llm"
_ERRORS = {
    # As OpenAI answers a key that was revoked; it shows a part of the key, which this does not.
    401: {"message": "Incorrect API key provided.", "param": OWNER, "code": "invalid_api_key"},
    429: {
        "message": "You exceeded your current quota, please check your plan and billing details.",
        "param": OWNER,
        "code": "insufficient_quota",
    },
    404: {"message": "Unknown request URL.", "param": OWNER, "code": "unknown_url"},
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    folder: Path

    def do_GET(self) -> None:
        """List the models."""
        listed = {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": OWNER}]}
        self._answer("/v1/models", listed)

    def do_POST(self) -> None:
        """Complete a chat, with no word."""
        self.rfile.read(min(int(self.headers.get("content-length", 0)), 1 << 20))
        choice = {"index": 0, "message": {"role": "assistant", "content": "[]"}, "finish_reason": "stop"}
        self._answer("/v1/chat/completions", {"object": "chat.completion", "model": MODEL, "choices": [choice]})

    def _answer(self, path: str, told: dict[str, Any]) -> None:
        status = 200 if self.path == path else 404
        switched = self._switched()
        time.sleep(float(switched.get("llm_slow_seconds") or 0))
        status = int(switched.get("llm_refuses") or status)
        if not self._admitted(switched):
            status = 401
        body = json.dumps(told if status == 200 else {"error": _ERRORS[status]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _switched(self) -> dict[str, Any]:
        try:
            switched: dict[str, Any] = json.loads((self.folder / "faults.json").read_text())
        except FileNotFoundError:
            return {}
        return switched

    def _admitted(self, switched: dict[str, Any]) -> bool:
        key = (self.folder / "secrets" / PART).read_text()
        return not switched.get("llm_key_revoked") and self.headers.get("authorization") == f"Bearer {key}"


class Server(http.server.ThreadingHTTPServer):
    """Serves on the socket that the parent opened."""

    daemon_threads = True

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(("", 0), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        listening.listen(64)


def main() -> None:
    """Serve until ended."""
    Handler.folder = Path(sys.argv[1])
    Server(socket.socket(fileno=int(sys.argv[2]))).serve_forever()


if __name__ == "__main__":
    main()
