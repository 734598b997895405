"""The application: its endpoints, and a language model that never answers."""

import time
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from pydantic import BaseModel

from runbook_sandbox.as_built.memory import Memory, entities
from runbook_sandbox.as_built.metrics import Metrics, components, system
from runbook_sandbox.as_built.users import add_users
from runbook_sandbox.frame import API, VERSION, Frame, now

_ATTEMPTS, _FAILURES = 2, 3  # for each call of the model; until its breaker opens


class Document(BaseModel):
    """A document to be taken in."""

    text: str
    title: str = ""
    source: str = "manual"


class Sentence(BaseModel):
    """A sentence to find candidates in."""

    doc_id: str
    sent_id: str
    text: str


class Batch(BaseModel):
    """Sentences to find candidates in."""

    sentences: list[Sentence]


class Service(Frame):
    """The service's memory, its metrics, and the breaker of its language model."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        super().__init__(folder, settings)
        self.memory, self.metrics = Memory(), Metrics()
        self._failures, self._last_failure = 0, 0.0
        self.say("Initializing annotation pipeline services...", "startup_event", 261)
        for path in sorted((folder / "documents").glob("*.txt")):
            self.memory.ingest(path.stem, path.read_text(), "seed")
        self.memory.populate()
        if not self.memory.documents:
            self.say("📭 No documents found for startup queue population", "startup_event", 329)
        self.say("All services initialized successfully", "startup_event", 340)

    def say(self, message: str, function: str, line: int, level: str = "INFO") -> None:
        """Log a line of the service's own."""
        self.log.say(level, API, message, (function, line))

    def answered(self, request: Request, status: int, seconds: float, user: str | None) -> None:
        """Log a request, unless the rate limit refused it: its refusals come before what logs."""
        if status != 429:
            self.log.request(request.method, request.url.path, status, seconds, user)

    def own_breakers(self) -> dict[str, dict[str, Any]]:
        """Return the model's breaker, which is not there until the model was called."""
        if not self._failures:
            return {}
        state = "open" if self._failures >= _FAILURES else "closed"
        return {
            "ollama_api": {"state": state, "failure_count": self._failures, "last_failure_time": self._last_failure}
        }

    def call_model(self) -> None:
        """Call the model, which nobody runs: each attempt fails, and none is made once its breaker is open."""
        for _ in range(_ATTEMPTS):
            if self._failures >= _FAILURES:
                return
            self._failures, self._last_failure = self._failures + 1, time.time()
            if self._failures == _FAILURES:
                message = f"Circuit breaker ollama_api is now OPEN (failures: {_FAILURES})"
                self.log.say("WARNING", "utils.error_handling", message, ("_on_failure", 132))


def build(folder: Path, settings: dict[str, Any]) -> FastAPI:
    """Return the application."""
    service = Service(folder, settings)
    app = FastAPI(title="Shrimp Annotation Pipeline (stand-in, as built)", version=VERSION)
    app.middleware("http")(service.around)
    service.add_health(app, "production")
    _add_metrics(app, service)
    _add_documents(app, service)
    _add_candidates(app, service)
    add_users(app, service.signing_key, settings["users"])
    return app


def _add_metrics(app: FastAPI, service: Service) -> None:
    @app.get("/")
    def root() -> dict[str, Any]:
        return {
            "message": "🦐 Shrimp Annotation Pipeline API",
            "status": "running",
            "version": VERSION,
            "frontend": "not_built",
            "endpoints": {"docs": "/docs", "health": "/health", "openapi": "/openapi.json"},
        }

    @app.get("/health/detailed")
    def detailed() -> dict[str, Any]:
        figures = system()
        well = components(figures)
        word = "healthy" if all(well.values()) else "degraded"
        told = {"status": word, "message": f"System is {word}", "components": well}
        return {**told, "system_metrics": figures, "timestamp": now()}

    @app.get("/metrics")
    @app.get("/metrics/summary")
    def summary() -> dict[str, Any]:
        service.metrics.sample(service.faults().get("alerts", {}))
        return service.metrics.as_json()

    @app.get("/metrics/prometheus")
    def exposition() -> Response:
        service.metrics.sample(service.faults().get("alerts", {}))
        return Response(service.metrics.exposition(), media_type="text/plain")


def _add_documents(app: FastAPI, service: Service) -> None:
    memory = service.memory

    @app.get("/documents")
    def documents(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> dict[str, Any]:
        found = [{key: doc[key] for key in ("doc_id", "title", "source")} for doc in memory.documents[:limit]]
        return {"count": len(found), "documents": found, "timestamp": now()}

    @app.post("/documents/ingest")
    def ingest(new: Document) -> dict[str, Any]:
        return memory.ingest(new.title, new.text, new.source)

    @app.get("/documents/{doc_id}")
    def document(doc_id: str) -> dict[str, Any]:
        return {"doc_id": doc_id, "status": "not_implemented"}

    @app.post("/triage/populate")
    def populate() -> dict[str, Any]:
        service.say("Starting triage queue population...", "populate_triage_queue", 1306)
        if not memory.documents:
            service.say("Queue population failed: 404: No documents found", "populate_triage_queue", 1382, "ERROR")
            raise HTTPException(500, "404: No documents found")
        return {
            "message": "Triage queue populated successfully",
            "processed_documents": len(memory.documents),
            "total_candidates": memory.populate(),
            "queue_statistics": memory.statistics(),
        }

    @app.get("/triage/queue")
    def queue(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> list[dict[str, Any]]:
        return memory.waiting(limit)

    @app.get("/triage/statistics")
    def statistics() -> dict[str, Any]:
        return memory.statistics()

    @app.get("/statistics/overview")
    def overview() -> dict[str, Any]:
        services = {"triage": memory.statistics(), "rules": memory.rule_statistics()}
        return {"gold_annotations": 0, "services": services, "timestamp": now()}

    @app.post("/export/gold")
    def export() -> None:
        service.say("Export failed: 404: No gold annotations found", "export_gold_data", 1109, "ERROR")
        raise HTTPException(500, "404: No gold annotations found")


def _add_candidates(app: FastAPI, service: Service) -> None:
    @app.post("/candidates/generate")
    def generate(sentence: Sentence) -> dict[str, Any]:
        began = time.monotonic()
        service.metrics.count("candidate_requests_total")
        for _ in ("entities", "relations", "topics"):
            service.call_model()
        service.metrics.count("candidate_generation_total", status="success")
        seconds = time.monotonic() - began
        service.metrics.took(seconds)
        where = {"doc_id": sentence.doc_id, "sent_id": sentence.sent_id}
        by_rule = {"entities": entities(sentence.text), "relations": [], "topics": []}
        audit = {"audit_notes": "No triplets to audit", "audit_overall_verdict": "pass"}
        return {
            **where,
            "candidates": {"entities": [], "relations": [], "topics": [], "triplets": [], "metadata": audit},
            "rule_results": {
                **where, **by_rule, "text": sentence.text, "source": "rule_engine_v2.0", "created_at": None
            },
            "triage_score": 0.605,
            "processing_time": seconds,
        }  # fmt: skip

    @app.post("/candidates/batch")
    def batch(given: Batch) -> list[dict[str, Any]]:
        for _ in given.sentences:
            service.call_model()
            service.call_model()
        nothing: dict[str, list[Any]] = {"entities": [], "relations": [], "topics": []}
        return [
            {
                "doc_id": sentence.doc_id,
                "sent_id": sentence.sent_id,
                "candidates": nothing,
                "rule_results": None,
                "triage_score": None,
                "processing_time": 0.001,
            }
            for sentence in given.sentences
        ]
