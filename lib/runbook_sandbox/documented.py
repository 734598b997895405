"""The service as the runbook documents it: its HTTP contract over a real PostgreSQL and Redis."""

import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, LiteralString

import httpx
import jwt
import psutil
import psycopg
from fastapi import Depends, FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    PlatformCollector,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, PoolTimeout
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from runbook_sandbox.frame import API, PERMISSIONS, TOKEN_MINUTES, VERSION, Frame, client_of, now
from runbook_sandbox.passwords import hash_password, is_password

GENERATOR = "services.candidates.llm_candidate_generator"  # the logger of what becomes of its requests
EXPOSITION = "/metrics/prometheus"
COVER = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
DOCUMENTATION = ("/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")
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
        self.generation = Histogram(
            "candidate_generation_duration_seconds", "Time to find candidates", registry=self.registry
        )
        for role in PERMISSIONS:
            self.logins.labels(role)
        self.registry.register(Own())
        GCCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def know(self, method: str, path: str) -> None:
        """Begin the series of a path at 0: a counter that is born with its first error has no rise to be seen."""
        refused = {"/auth/login": ("401",), "/documents/{doc_id}": ("404",)}
        for status in ("200", *refused.get(path, ()), "429", "500"):
            self.requests.labels(method, path, status)
        if path == "/candidates/generate":
            self.requests.labels(method, path, "503")
        self.duration.labels(path)


class Own(Collector):
    """What prometheus_client tells of the process itself; but not since when it runs: that is always just now here."""

    def collect(self) -> Iterator[Metric]:
        """Yield its memory and its open files."""
        process = psutil.Process()
        told = {
            "resident_memory_bytes": process.memory_info().rss,
            "open_fds": process.num_fds(),
            "max_fds": process.rlimit(psutil.RLIMIT_NOFILE)[0] if hasattr(process, "rlimit") else 0,
        }
        for name, value in told.items():
            if value:
                yield GaugeMetricFamily(f"process_{name}", f"Of the process: {name}", value=value)


class Queue(Collector):
    """The gauges of the triage queue, asked of the database when they are scraped.

    What cannot be asked is left out: a queue of which nothing is known is no empty one.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        """Yield how many items wait, and for how long the oldest does."""
        try:
            with self._pool.connection(timeout=1) as connection:
                connection.execute("SET LOCAL statement_timeout = '2s'")
                size, age = connection.execute(_WAITING).fetchone() or (0, 0.0)
        except (psycopg.Error, PoolTimeout):
            return
        yield GaugeMetricFamily("triage_queue_size", "Items that wait", value=size)
        yield GaugeMetricFamily("triage_oldest_item_age_seconds", "Age of the item that waits longest", value=age)


_WAITING: LiteralString = (
    "SELECT count(*), coalesce(extract(epoch FROM max(now() - created_at)), 0)::float8 "
    "FROM triage_items WHERE status IN ('pending', 'in_review')"
)


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


class Sentence(BaseModel):
    """A sentence to find candidates in."""

    doc_id: str
    sent_id: str
    text: str = Field(max_length=20_000)


class Model:
    """The language model, and the breaker that keeps the service from asking one that fails."""

    FAILURES, PAUSE_SECONDS = 3, 5.0

    def __init__(self, named: dict[str, str]) -> None:
        self._client = httpx.Client(
            base_url=named["url"], headers={"authorization": f"Bearer {named['key']}"}, timeout=5, trust_env=False
        )
        self._name = named["model"]
        self._failures, self._last_failure = 0, 0.0

    def breaker(self) -> dict[str, Any]:
        """Return the breaker as /health tells it."""
        state = "open" if self._failures >= self.FAILURES else "closed"
        last = self._last_failure or None
        return {"state": state, "failure_count": self._failures, "last_failure_time": last}

    def ask(self, text: str) -> str:
        """Return why the model did not answer; "" where it did. With its breaker open it is asked only now and then."""
        if self._failures >= self.FAILURES and time.time() - self._last_failure < self.PAUSE_SECONDS:
            return "its breaker is open"
        messages = [{"role": "user", "content": f"Which entities are named here? {text}"}]
        try:
            answer = self._client.post("/v1/chat/completions", json={"model": self._name, "messages": messages})
            problem = "" if answer.status_code == 200 else f"it answered {answer.status_code}"
        except httpx.HTTPError as error:
            problem = f"it does not answer ({type(error).__name__})"
        self._failures = self._failures + 1 if problem else 0
        self._last_failure = time.time() if problem else self._last_failure
        return problem


class Service(Frame):
    """The service's connections and metrics."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        self.metrics = Metrics()
        self.pool = ConnectionPool(
            settings["dsn"],
            min_size=2,  # two requests at once, such as a scrape beside another one, change nothing in what is held
            max_size=5,
            timeout=2,
            check=ConnectionPool.check_connection,
            kwargs={"application_name": "shrimp-api", "connect_timeout": 2},
            open=False,
        )
        self.pool.open(wait=False)
        self.model = Model(settings["llm"]) if "llm" in settings else None
        self.metrics.registry.register(Queue(self.pool))

    def own_breakers(self) -> dict[str, dict[str, Any]]:
        """Return the language model's breaker, which the documents show from the start."""
        closed = {"state": "closed", "failure_count": 0, "last_failure_time": None}
        return {"ollama_api": self.model.breaker() if self.model is not None else closed}

    def answered(self, request: Request, status: int, seconds: float, user: str | None) -> None:
        """Count a request and log it, with who asked from where; but not that the metrics were read."""
        if request.url.path == EXPOSITION and status < 400:
            return
        path = getattr(request.scope.get("route"), "path", request.url.path if status != 404 else "other")
        self.metrics.requests.labels(request.method, path, str(status)).inc()
        self.metrics.duration.labels(path).observe(seconds)
        self.log.request(request.method, request.url.path, status, seconds, user, client=client_of(request))

    def cover(self, request: Request, response: Response) -> None:
        """Set the headers that a well-kept service sends, unless somebody has taken them away for practice."""
        super().cover(request, response)
        if not self.faults().get("headers_missing"):
            response.headers.update(COVER)

    def is_closed(self, request: Request) -> bool:
        """Tell whether a request is for the documentation, and comes from nobody whom the service knows."""
        if request.url.path not in DOCUMENTATION or self.faults().get("docs_open"):
            return False
        try:
            return not self.claims(request.headers.get("authorization", ""))
        except jwt.InvalidTokenError:
            return True

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

        def by(key: str) -> dict[str, int]:
            return {name: sum(r["n"] for r in counted if r[key] == name) for name in sorted({r[key] for r in counted})}

        pending = {row["priority_level"]: row["n"] for row in counted if row["status"] == "pending"}
        return {
            "queue_size": size,
            "total_items": sum(row["n"] for row in counted),
            "by_status": by("status"),
            "by_priority": by("priority_level"),
            "by_type": {"entity": sum(row["n"] for row in counted)} if counted else {},
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
    for route in app.routes:
        if isinstance(route, APIRoute) and route.path != EXPOSITION:
            for method in route.methods or ():
                service.metrics.know(method, route.path)
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
    @app.get(EXPOSITION)
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

    @app.post("/candidates/generate")
    def generate(sentence: Sentence) -> dict[str, Any]:
        began = time.monotonic()
        words = service.rows("SELECT DISTINCT label FROM candidates WHERE strpos(%s, text) > 0 LIMIT 50", sentence.text)
        problem = service.model.ask(sentence.text) if service.model is not None else ""
        if problem:
            service.log.say("ERROR", GENERATOR, f"LLM request failed: {problem}", ("_call_llm", 460))
            raise HTTPException(503, f"the language model did not answer: {problem}")
        seconds = time.monotonic() - began
        service.metrics.generation.observe(seconds)
        entities = [word["label"] for word in words]
        candidates = {"entities": entities, "relations": [], "topics": [], "triplets": []}
        return {"success": True, "sent_id": sentence.sent_id, "candidates": candidates, "processing_time": seconds}

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
