"""What the service is in either mode: admission by Redis, faults switched on for practice, a line for each request."""

import asyncio
import ctypes
import json
import math
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any

import redis.asyncio
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from runbook_sandbox.request_log import RequestLog

VERSION = "1.0.0"
PERMISSIONS = {
    "admin": ["read:all", "write:all", "delete:all", "manage:users", "manage:system", "export:data", "view:analytics"],
    "annotator": ["read:all", "write:annotations"],
    "viewer": ["read:all"],
}
TOKEN_MINUTES = 30
# What each request leaves in a cache that fills up, and what is taken at a time until there is no more.
CACHED_BYTES, EATEN_AT_ONCE = 512 << 10, 32 << 20
PER_MINUTE, PER_HOUR = 6000, 100_000  # wide: a whole test suite asks from one address
LIMITS = {"enabled": True, "per_minute": PER_MINUTE, "per_hour": PER_HOUR}
SERVICES = ("ingestion_service", "llm_generator", "rule_engine", "triage_engine", "triplet_workflow")
API = "services.api.annotation_api"  # the logger of most of its lines


class Frame:
    """The state that both modes share; a mode says what its breakers are and what becomes of a request answered."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder = folder
        self._due = 0.0
        self._delayed = 0
        self._kept: deque[bytes] = deque()
        self.log = RequestLog(folder / "logs")
        self.signing_key: str = settings["signing_key"]
        self.redis = redis.asyncio.Redis.from_url(settings["redis_url"], socket_timeout=2, socket_connect_timeout=1)

    def faults(self) -> dict[str, Any]:
        """Return the faults that are switched on."""
        try:
            switched: dict[str, Any] = json.loads((self._folder / "faults.json").read_text())
        except FileNotFoundError:
            return {}
        return switched

    async def admit(self, client: str) -> tuple[bool, int]:
        """Count a request and tell whether it is within the limit, and after how many seconds to come again."""
        now = time.time()
        key = f"rate:{client}:{int(now // 60)}"
        count = await self.redis.incr(key)
        if count == 1:
            await self.redis.expire(key, 120)
        limit = 0 if self.faults().get("rate_limited") else PER_MINUTE
        return count <= limit, 60 - int(now % 60)

    def breakers(self) -> dict[str, dict[str, Any]]:
        """Return the state of each circuit breaker that is known."""
        if self.faults().get("breaker_open"):
            return {"ollama_api": {"state": "open", "failure_count": 3, "last_failure_time": time.time() - 30}}
        return self.own_breakers()

    def own_breakers(self) -> dict[str, dict[str, Any]]:
        """Return the breakers as they are while no fault is switched on."""
        return {}

    def _failed(self, request: Request) -> Response | None:
        """Return what a request fails with while a share of those of its path is to; None where it does not."""
        failing = self.faults().get("failing", {})
        if not _is_for(request, failing):
            return None
        self._due += failing["share"]  # counted, not drawn: of ten requests just as many fail
        if self._due < 1:
            return None
        self._due -= 1
        return JSONResponse({"detail": "Internal server error"}, 500)

    async def _burden(self, request: Request) -> None:
        """Hold a request up as the faults say: all of them, or those of one path; by waiting, or by computing."""
        faults = self.faults()
        await asyncio.sleep(faults.get("slow_seconds", 0))
        waiting, computing = faults.get("delayed", {}), faults.get("computing", {})
        if _is_for(request, waiting):
            self._delayed += 1
            await asyncio.sleep(delay(self._delayed, waiting["median_seconds"], waiting["sigma"]))
        if _is_for(request, computing):
            await run_in_threadpool(self._hold_the_interpreter, computing["seconds"])

    def _hold_the_interpreter(self, seconds: float) -> None:
        """Compute without a pause, as a handler in pure Python does, for so much of a processor's time."""
        end, number = time.thread_time() + seconds, 0
        while time.thread_time() < end and self.faults().get("computing"):
            for step in range(300_000):  # long enough to be what takes the time, short enough to be healed
                number = (number * 31 + step) % 65_521

    def _keep(self) -> None:
        """Keep memory for each request: for ever where it is to leak, the newest where a cache is to fill up, and all
        that can be had where it is to be killed.
        """
        faults = self.faults()
        if faults.get("leak_bytes"):
            self._kept.append(b"x" * faults["leak_bytes"])
        elif faults.get("cache_bytes"):
            self._kept.append(b"x" * CACHED_BYTES)
            if len(self._kept) * CACHED_BYTES > faults["cache_bytes"]:
                self._kept.popleft()
        elif faults.get("eaten_bytes"):
            while len(self._kept) * EATEN_AT_ONCE < faults["eaten_bytes"]:
                self._kept.append(b"x" * EATEN_AT_ONCE)
        elif self._kept:
            self._kept.clear()
            with suppress(AttributeError, OSError):  # of glibc alone: else it keeps what was freed for itself
                ctypes.CDLL(None).malloc_trim(0)

    async def who(self, _: Request) -> str | None:
        """Return who asks, as far as the log tells it."""
        return None

    def answered(self, request: Request, status: int, seconds: float, user: str | None) -> None:
        """Take note of a request that was answered."""

    def cover(self, request: Request, response: Response) -> None:
        """Set the headers that tell browsers what to keep from; as built there are none."""
        if self.faults().get("cors_open"):
            origin = request.headers.get("origin", "*")
            response.headers["access-control-allow-origin"] = origin
            response.headers["access-control-allow-credentials"] = "true"

    def is_closed(self, request: Request) -> bool:
        """Tell whether a request is answered as if there were nothing."""
        return False

    async def around(self, request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        """Admit a request, have it answered, take note of it."""
        began = time.monotonic()
        user = await self.who(request)  # now: the body cannot be read again afterwards
        response: Response
        try:
            admitted, seconds = await self.admit(client_of(request) or "unknown")
            if admitted:
                self._keep()
                await self._burden(request)
                response = self._failed(request) or _not_there(self.is_closed(request)) or await call(request)
            else:
                response = JSONResponse({"error": "Rate limit exceeded", "retry_after": seconds}, 429)
        except redis.exceptions.RedisError:
            # As the service does: its in-memory fallback is chosen at start only.
            response = JSONResponse({"detail": "Internal server error"}, 500)
        except Exception:  # noqa: BLE001 - a request has its line in the log, whatever became of it
            traceback.print_exc()
            response = JSONResponse({"detail": "Internal server error"}, 500)
        self.answered(request, response.status_code, time.monotonic() - began, user)
        self.cover(request, response)
        return response

    def add_health(self, app: FastAPI, environment: str) -> None:
        """Add /health, /ready and /alerts, which are the same in both modes."""

        @app.get("/health")
        def health() -> dict[str, Any]:
            return {
                "status": "healthy",
                "version": VERSION,
                "environment": environment,
                "timestamp": now(),
                "services": dict.fromkeys(SERVICES, True),
                "circuit_breakers": self.breakers(),
                "rate_limiting": LIMITS,
            }

        @app.get("/ready")
        def ready() -> JSONResponse:
            opened = [name for name, breaker in self.breakers().items() if breaker["state"] == "open"]
            body = {
                "ready": not opened,
                "services": dict.fromkeys(SERVICES, True),
                "critical_breakers_open": opened,
                "timestamp": now(),
            }
            return JSONResponse({"detail": body} if opened else body, 503 if opened else 200)

        @app.get("/alerts")
        def alerts() -> dict[str, Any]:
            active: dict[str, Any] = self.faults().get("alerts", {})
            return {"active_alerts": active, "alert_count": len(active)}


def delay(number: int, median_seconds: float, sigma: float) -> float:
    """Return how long the n-th delayed request waits: lognormal, and so evenly spread that a few hundred have its
    percentiles. (Steps of the golden ratio leave no gap.)
    """
    share = number * (math.sqrt(5) - 1) / 2 % 1
    return median_seconds * math.exp(sigma * NormalDist().inv_cdf(min(max(share, 1e-6), 1 - 1e-6)))


def _is_for(request: Request, fault: dict[str, Any]) -> bool:
    return (request.method, request.url.path) == (fault.get("method"), fault.get("path"))


def _not_there(closed: bool) -> Response | None:
    return JSONResponse({"detail": "Not Found"}, 404) if closed else None


def client_of(request: Request) -> str | None:
    """Return the address that a request came from."""
    return request.client.host if request.client else None


def now() -> str:
    """Return the time as the service tells it: UTC, without saying so."""
    return datetime.now(UTC).replace(tzinfo=None).isoformat()
