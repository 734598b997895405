"""The service as the runbook documents it: its HTTP contract over a real PostgreSQL and Redis."""

import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, LiteralString

import jwt
import psycopg
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from runbook_sandbox.frame import API, PERMISSIONS, TOKEN_MINUTES, VERSION, Frame, client_of, now
from runbook_sandbox.passwords import hash_password, is_password

USER_COLUMNS = sql.SQL("id::text, username, email, role, is_active, created_at, last_login")


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


class Service(Frame):
    """The service's connections and metrics."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        self.metrics = Metrics()
        self.pool = ConnectionPool(
            settings["dsn"],
            min_size=1,
            max_size=5,
            timeout=2,
            check=ConnectionPool.check_connection,
            kwargs={"application_name": "shrimp-api", "connect_timeout": 2},
            open=False,
        )
        self.pool.open(wait=False)

    def own_breakers(self) -> dict[str, dict[str, Any]]:
        """Return the language model's breaker, which the documents show from the start."""
        return {"ollama_api": {"state": "closed", "failure_count": 0, "last_failure_time": None}}

    def answered(self, request: Request, status: int, seconds: float, user: str | None) -> None:
        """Count a request and log it, with who asked from where."""
        path = getattr(request.scope.get("route"), "path", request.url.path if status != 404 else "other")
        self.metrics.requests.labels(request.method, path, str(status)).inc()
        self.metrics.duration.labels(path).observe(seconds)
        self.log.request(request.method, request.url.path, status, seconds, user, client=client_of(request))

    async def who(self, request: Request) -> str | None:
        """Return who asks: the token's user, or the one that a log-in was tried for."""
        try:
            if (request.method, request.url.path) == ("POST", "/auth/login"):
                name = (await request.json())["username"]
            else:
                name = self.claims(request.headers.get("authorization", ""))["username"]
        except (ValueError, KeyError, TypeError, RecursionError, jwt.InvalidTokenError, ClientDisconnect):
            return None
        return name if isinstance(name, str) else None

    def claims(self, authorization: str) -> dict[str, Any]:
        """Return what a token says; raises `jwt.InvalidTokenError`."""
        told: dict[str, Any] = jwt.decode(authorization.removeprefix("Bearer "), self.signing_key, algorithms=["HS256"])
        return told

    def rows(self, statement: LiteralString | sql.Composed, *values: Any) -> list[dict[str, Any]]:
        """Return the rows of a statement in a transaction of its own."""
        with self.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

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


def build(folder: Path, settings: dict[str, Any]) -> FastAPI:
    """Return the application."""
    service = Service(folder, settings)
    app = FastAPI(title="Shrimp Annotation Pipeline (stand-in)", version=VERSION)
    app.middleware("http")(service.around)
    app.add_exception_handler(psycopg.Error, _server_error)
    app.add_exception_handler(PoolTimeout, _server_error)
    _add_root(app)
    service.add_health(app, "sandbox")
    _add_metrics(app, service)
    _add_work(app, service)
    _add_users(app, service)
    service.log.say("INFO", API, "All services initialized successfully", ("startup_event", 340))
    return app


def _server_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"database error: {type(error).__name__}"}, 500)


def _add_root(app: FastAPI) -> None:
    @app.get("/")
    def root() -> dict[str, Any]:
        return {"message": "Shrimp Annotation Pipeline API (stand-in)", "status": "running", "version": VERSION}

    @app.get("/health/detailed")
    def detailed() -> dict[str, Any]:
        load = os.getloadavg()[0]
        return {"status": "healthy", "system_metrics": {"load_average": load}, "timestamp": now()}


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
        return {"count": len(found), "documents": found, "timestamp": now()}

    @app.get("/documents/{doc_id}")
    def document(doc_id: str) -> dict[str, Any]:
        found = service.rows("SELECT doc_id, title, source, text FROM documents WHERE doc_id = %s", doc_id)
        if not found:
            raise HTTPException(404, "Document not found")
        return found[0]

    @app.get("/statistics/overview")
    def overview() -> dict[str, Any]:
        gold = service.rows("SELECT count(*) AS n FROM gold_annotations")[0]["n"]
        return {"gold_annotations": gold, "services": {"triage": service.queue_statistics()}, "timestamp": now()}


def _add_users(app: FastAPI, service: Service) -> None:
    def caller(authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
        try:
            claims = service.claims(authorization)
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
        until = datetime.now(UTC) + timedelta(minutes=TOKEN_MINUTES)
        claims = {"sub": user["id"], "username": user["username"], "exp": until}
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
