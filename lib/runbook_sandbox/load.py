"""Requests as users send them: the same mix every time, at a steady rate, for a bounded time."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from runbook_sandbox.place import Place, SandboxError

MOST_SECONDS, MOST_PER_SECOND = 3600.0, 50.0
_AT_ONCE = 4  # fewer than the service has connections: it is to be used, not to be overrun
_SENTENCE = {
    "doc_id": "doc001",
    "sent_id": "doc001-s1",
    "text": "White spot disease spread among shrimp in warm ponds.",
}
_MIX = (
    ("POST", "/candidates/generate"), ("GET", "/documents?limit=20"),
    ("POST", "/candidates/generate"), ("GET", "/triage/queue?limit=20"),
    ("POST", "/candidates/generate"), ("GET", "/documents?limit=20"),
    ("POST", "/candidates/generate"), ("GET", "/documents/doc001"),
    ("POST", "/candidates/generate"), ("POST", "/auth/login"),
)  # fmt: skip


def load(place: Place, seconds: float, per_second: float) -> Counter[str]:
    """Send requests to a sandbox's service and return how many ended in which way.

    Half of them ask for candidates. It ends early when the sandbox does. Raises `SandboxError` for bounds passed.
    """
    if not 0 < seconds <= MOST_SECONDS or not 0 < per_second <= MOST_PER_SECOND:
        bounds = f"{MOST_SECONDS:.0f} s and {MOST_PER_SECOND:.0f} requests/s"
        raise SandboxError(f"a load is bounded: at most {bounds}, and more than 0 of each")
    ends: Counter[str] = Counter()
    login = {"username": "annotator1", "password": (place.folder / "secrets" / "annotator1").read_text()}
    bodies: dict[str, Any] = {"/candidates/generate": _SENTENCE, "/auth/login": login}
    url = f"http://127.0.0.1:{place.read('state.json')['ports']['api']}"

    def ask(method: str, path: str) -> str:
        try:
            return str(client.request(method, path, json=bodies.get(path)).status_code)
        except httpx.HTTPError as error:
            return type(error).__name__

    with httpx.Client(base_url=url, timeout=10, trust_env=False) as client, ThreadPoolExecutor(_AT_ONCE) as threads:
        began = time.monotonic()
        sent = []
        for number in range(max(round(seconds * per_second), 1)):
            time.sleep(max(began + number / per_second - time.monotonic(), 0))
            if time.monotonic() - began > seconds or not place.exists:
                break
            sent.append(threads.submit(ask, *_MIX[number % len(_MIX)]))
            if number >= _AT_ONCE:
                sent[number - _AT_ONCE].result()  # no heap of requests where answers take longer than the pace allows
        ends.update(done.result() for done in sent)
    return ends
