"""A stand-in for the service: its HTTP contract as the runbook documents it, over a real PostgreSQL and Redis.

Run by `stack.up` as a process: ``python -m runbook_sandbox.service FOLDER FD``.
"""

import asyncio
import hashlib
import hmac
import json
import os
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, LiteralString

import jwt
import psycopg
import redis.asyncio
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout
from pydantic import BaseModel, Field

VERSION = "1.0.0"
PERMISSIONS = {
    "admin": ["read:all", "write:all", "delete:all", "manage:users", "manage:system", "export:data", "view:analytics"],
    "annotator": ["read:all", "write:annotations"],
    "viewer": ["read:all"],
}
TOKEN_MINUTES = 30
PER_MINUTE, PER_HOUR = 6000, 100_000  # wide: a whole test suite asks from one address
USER_COLUMNS = sql.SQL("id::text, username, email, role, is_active, created_at, last_login")
SERVICES = ("ingestion_service", "llm_generator", "rule_engine", "triage_engine", "triplet_workflow")


class Metrics:
    """The metrics that the runbook's alerts and dashboards name; every label is there from the start, at 0."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("http_requests", "Requests", ["method", "path", "status"], registry=self.registry)
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Time to answer",
            ["path"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10),
            registry=self.registry,
        )
        self.logins = Counter("user_login", "Log-ins", ["role"], registry=self.registry)
        self.queue = Gauge("triage_queue_size", "Items that wait", registry=self.registry)
        for status in ("200", "401", "404", "429", "500"):
            self.requests.labels("GET", "/documents", status)
        for role in PERMISSIONS:
            self.logins.labels(role)


class Login(BaseModel):
    """Who wants in."""

    username: str
    password: str


class NewUser(BaseModel):
    """A user to be added."""

    username: str = Field(min_length=1, max_length=64)
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")
    password: str = Field(min_length=8)
    role: str = "annotator"


class UserChange(BaseModel):
    """What may be changed of a user."""

    is_active: bool | None = None
    role: str | None = None


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return a salted hash of a password, with its salt before it."""
    salt = salt or secrets.token_bytes(16)
    return f"scrypt${salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1).hex()}"


def is_password(password: str, kept: str) -> bool:
    """Tell whether a password belongs to a kept hash."""
    return hmac.compare_digest(hash_password(password, bytes.fromhex(kept.split("$")[1])), kept)


class Service:
    """The state of the stand-in: its connections, its metrics, and the faults switched on for practice."""

    def __init__(self, folder: Path) -> None:
        settings = json.loads((folder / "service.json").read_text())
        self._folder = folder
        self.metrics = Metrics()
        self.signing_key: str = settings["signing_key"]
        self.pool = ConnectionPool(
            settings["dsn"],
            min_size=1,
            max_size=5,
            timeout=2,
            check=ConnectionPool.check_connection,
            kwargs={"application_name": "shrimp-api", "connect_timeout": 2},
            open=False,
        )
        self.redis = redis.asyncio.Redis.from_url(settings["redis_url"], socket_timeout=2, socket_connect_timeout=1)

    def faults(self) -> dict[str, Any]:
        """Return the faults that are switched on."""
        try:
            switched: dict[str, Any] = json.loads((self._folder / "faults.json").read_text())
        except FileNotFoundError:
            return {}
        return switched

    def rows(self, statement: LiteralString | sql.Composed, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of a statement in a transaction of its own."""
        with self.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

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
        """Return the state of each circuit breaker."""
        opened = bool(self.faults().get("breaker_open"))
        last = time.time() - 30 if opened else None
        state = "open" if opened else "closed"
        return {"ollama_api": {"state": state, "failure_count": 3 if opened else 0, "last_failure_time": last}}

    def queue_statistics(self) -> dict[str, Any]:
        """Return the figures of the triage queue."""
        counted = self.rows(
            "SELECT status, priority_level, count(*) AS n, avg(priority_score)::float8 AS score "
            "FROM triage_items GROUP BY status, priority_level"
        )
        waiting = [row for row in counted if row["status"] in ("pending", "in_review")]
        size = sum(row["n"] for row in waiting)
        self.metrics.queue.set(size)

        def by(key: str) -> dict[str, int]:
            return {name: sum(r["n"] for r in counted if r[key] == name) for name in sorted({r[key] for r in counted})}

        pending = {row["priority_level"]: row["n"] for row in counted if row["status"] == "pending"}
        return {
            "queue_size": size,
            "total_items": sum(row["n"] for row in counted),
            "by_status": by("status"),
            "by_priority": by("priority_level"),
            "completed_items": sum(row["n"] for row in counted if row["status"] == "completed"),
            "pending_critical": pending.get("CRITICAL", 0),
            "pending_high": pending.get("HIGH", 0),
        }


def build(service: Service) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Shrimp Annotation Pipeline (stand-in)", version=VERSION)
    app.middleware("http")(_around_each_request(service))
    app.add_exception_handler(psycopg.Error, _server_error)
    app.add_exception_handler(PoolTimeout, _server_error)
    _add_health(app, service)
    _add_metrics(app, service)
    _add_work(app, service)
    _add_users(app, service)
    return app


def _server_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"database error: {type(error).__name__}"}, 500)


def _around_each_request(
    service: Service,
) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    async def around(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.monotonic()
        response: Response
        try:
            admitted, seconds = await service.admit(request.client.host if request.client else "unknown")
            if admitted:
                await asyncio.sleep(service.faults().get("slow_seconds", 0))
                response = await call(request)
            else:
                response = JSONResponse({"error": "Rate limit exceeded", "retry_after": seconds}, 429)
        except redis.exceptions.RedisError:
            # As the service does: its in-memory fallback is chosen at start only.
            response = JSONResponse({"detail": "Internal server error"}, 500)
        path = getattr(request.scope.get("route"), "path", request.url.path if response.status_code != 404 else "other")
        service.metrics.requests.labels(request.method, path, str(response.status_code)).inc()
        service.metrics.duration.labels(path).observe(time.monotonic() - began)
        return response

    return around


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/")
    def root() -> dict[str, Any]:
        return {"message": "Shrimp Annotation Pipeline API (stand-in)", "status": "running", "version": VERSION}

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {
            "status": "healthy",
            "version": VERSION,
            "environment": "sandbox",
            "timestamp": _now(),
            "services": dict.fromkeys(SERVICES, True),
            "circuit_breakers": service.breakers(),
            "rate_limiting": {"enabled": True, "per_minute": PER_MINUTE, "per_hour": PER_HOUR},
        }

    @app.get("/ready")
    def ready() -> JSONResponse:
        opened = [name for name, breaker in service.breakers().items() if breaker["state"] == "open"]
        body = {
            "ready": not opened,
            "services": dict.fromkeys(SERVICES, True),
            "critical_breakers_open": opened,
            "timestamp": _now(),
        }
        return JSONResponse({"detail": body} if opened else body, 503 if opened else 200)

    @app.get("/health/detailed")
    def detailed() -> dict[str, Any]:
        load = os.getloadavg()[0]
        return {"status": "healthy", "system_metrics": {"load_average": load}, "timestamp": _now()}

    @app.get("/alerts")
    def alerts() -> dict[str, Any]:
        active: dict[str, Any] = service.faults().get("alerts", {})
        return {"active_alerts": active, "alert_count": len(active)}


def _add_metrics(app: FastAPI, service: Service) -> None:
    @app.get("/metrics/prometheus")
    def exposition() -> Response:
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/metrics")
    @app.get("/metrics/summary")
    def summary() -> dict[str, Any]:
        told = [sample for family in service.metrics.registry.collect() for sample in family.samples]
        return {"metrics": [{"name": s.name, "labels": s.labels, "value": s.value} for s in told]}


def _add_work(app: FastAPI, service: Service) -> None:
    @app.get("/triage/statistics")
    def statistics() -> dict[str, Any]:
        return service.queue_statistics()

    @app.get("/triage/queue")
    def queue(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> list[dict[str, Any]]:
        return service.rows(
            "SELECT item_id, sentence_id, candidate_id, priority_score, priority_level, status, assigned_to, "
            "created_at FROM triage_items WHERE status IN ('pending', 'in_review') "
            "ORDER BY priority_score DESC LIMIT %s",
            limit,
        )

    @app.get("/documents")
    def documents(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
        found = service.rows("SELECT doc_id, title, source FROM documents ORDER BY doc_id LIMIT %s", limit)
        return {"count": len(found), "documents": found, "timestamp": _now()}

    @app.get("/documents/{doc_id}")
    def document(doc_id: str) -> dict[str, Any]:
        found = service.rows("SELECT doc_id, title, source, text FROM documents WHERE doc_id = %s", doc_id)
        if not found:
            raise HTTPException(404, "Document not found")
        return found[0]

    @app.get("/statistics/overview")
    def overview() -> dict[str, Any]:
        gold = service.rows("SELECT count(*) AS n FROM gold_annotations")[0]["n"]
        return {"gold_annotations": gold, "services": {"triage": service.queue_statistics()}, "timestamp": _now()}


def _add_users(app: FastAPI, service: Service) -> None:
    def caller(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
        try:
            claims = jwt.decode(authorization.removeprefix("Bearer "), service.signing_key, algorithms=["HS256"])
        except jwt.InvalidTokenError as error:
            raise HTTPException(401, "Invalid token" if authorization else "Not authenticated") from error
        found = service.rows(_of_users("SELECT {} FROM users WHERE id = %s AND is_active"), claims["sub"])
        if not found:
            raise HTTPException(401, "Invalid token")
        return found[0]

    def admin(user: Annotated[dict[str, Any], Depends(caller)]) -> dict[str, Any]:
        if "manage:users" not in PERMISSIONS[user["role"]]:
            raise HTTPException(403, "Missing required permissions: manage:users")
        return user

    @app.post("/auth/login")
    def login(wanted: Login) -> dict[str, Any]:
        found = service.rows(
            _of_users("SELECT {}, hashed_password FROM users WHERE username = %s AND is_active"), wanted.username
        )
        if not found or not is_password(wanted.password, found[0].pop("hashed_password")):
            raise HTTPException(401, "Incorrect username or password")
        user = found[0]
        service.rows("UPDATE users SET last_login = now() WHERE id = %s", user["id"])
        service.metrics.logins.labels(user["role"]).inc()
        claims = {"sub": user["id"], "exp": datetime.now(UTC) + timedelta(minutes=TOKEN_MINUTES)}
        token = jwt.encode(claims, service.signing_key, algorithm="HS256")
        return {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_MINUTES * 60, "user": user}

    @app.get("/auth/me")
    def me(user: Annotated[dict[str, Any], Depends(caller)]) -> dict[str, Any]:
        return user

    @app.get("/auth/permissions")
    def permissions(user: Annotated[dict[str, Any], Depends(caller)]) -> dict[str, Any]:
        return {"role": user["role"], "permissions": PERMISSIONS[user["role"]]}

    @app.get("/auth/users", dependencies=[Depends(admin)])
    def users() -> list[dict[str, Any]]:
        return service.rows(_of_users("SELECT {} FROM users ORDER BY username"))

    @app.post("/auth/users", dependencies=[Depends(admin)], status_code=201)
    def add(new: NewUser) -> dict[str, Any]:
        if new.role not in PERMISSIONS:
            raise HTTPException(422, f"unknown role: {new.role}")
        try:
            return service.rows(
                _of_users(
                    "INSERT INTO users (id, username, email, hashed_password, role, created_at) "
                    "VALUES (%s, %s, %s, %s, %s, now()) RETURNING {}"
                ),
                *(str(uuid.uuid4()), new.username, new.email, hash_password(new.password), new.role),
            )[0]
        except psycopg.errors.UniqueViolation as error:
            raise HTTPException(409, "username or email is taken") from error

    @app.patch("/auth/users/{user_id}", dependencies=[Depends(admin)])
    def change(user_id: uuid.UUID, wanted: UserChange) -> dict[str, Any]:
        if wanted.role is not None and wanted.role not in PERMISSIONS:
            raise HTTPException(422, f"unknown role: {wanted.role}")
        changed = service.rows(
            _of_users(
                "UPDATE users SET is_active = coalesce(%s, is_active), role = coalesce(%s, role) WHERE id = %s "
                "RETURNING {}"
            ),
            *(wanted.is_active, wanted.role, str(user_id)),
        )
        if not changed:
            raise HTTPException(404, "User not found")
        return changed[0]


def _of_users(statement: LiteralString) -> sql.Composed:
    """Return a statement with the columns that may be told of a user in its place {}."""
    return sql.SQL(statement).format(USER_COLUMNS)


def _now() -> str:
    return datetime.now(UTC).isoformat()


def main() -> None:
    """Serve on the socket that the parent opened."""
    folder, fd = Path(sys.argv[1]), int(sys.argv[2])
    service = Service(folder)
    service.pool.open(wait=False)
    config = uvicorn.Config(build(service), log_level="info", access_log=True, timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    main()
