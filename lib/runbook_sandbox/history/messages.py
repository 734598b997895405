"""What the service says besides its requests: each message once as a template, so that its pattern is known."""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from runbook_sandbox.history.event import Event

Maker = Callable[[Random], str]
_HEX_MASK = (1 << 48) - 1


def hex_id(bits: int) -> str:
    """Return twelve hex digits as the service gives documents; never digits only or letters only."""
    text = f"{bits & _HEX_MASK:012x}"
    if text.isdigit():
        return "c" + text[1:]
    return text[:11] + "7" if text.isalpha() else text


def an_id(rng: Random) -> str:
    """Make an id of a document."""
    return hex_id(rng.getrandbits(48))


def a_uuid(rng: Random) -> str:
    """Make the id of a job or an item."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def number(least: int, most: int) -> Maker:
    """Make a whole number."""
    return lambda rng: str(rng.randint(least, most))


def decimal(least: float, most: float) -> Maker:
    """Make a number with decimals."""
    return lambda rng: f"{rng.uniform(least, most):.1f}"


class Template:
    """A message with places for numbers and ids; a number that is always the same is marked by being passed."""

    def __init__(self, level: str, logger: str, function: str, line: int, text: str, *parts: Maker | float) -> None:
        self.level, self.logger, self.function, self.line, self.text = level, logger, function, line, text
        self.module = logger.rpartition(".")[2]
        self.parts = parts
        self.pattern = text.format(*("<id>" if part in (an_id, a_uuid) else "#" for part in parts))

    def make(
        self, rng: Random, at: int, extra: Mapping[str, Any] | None = None, traceback: tuple[str, ...] = ()
    ) -> Event:
        """Make an entry of it."""
        message = self.text
        if self.parts:
            message = message.format(*(part(rng) if callable(part) else part for part in self.parts))
        place = (self.level, self.logger, self.module, self.function, self.line)
        return Event(at, *place, message, self.pattern, dict(extra or {}), traceback=traceback)


_API, _LLM = "services.api.annotation_api", "services.candidates.llm_candidate_generator"
_TRIAGE, _RETRY, _WATCH = "services.triage.triage_prioritization", "utils.error_handling", "utils.monitoring"
_REFUSED = (
    "HTTPConnectionPool(host='localhost', port={}): Max retries exceeded with url: /api/generate (Caused by "
    "NewConnectionError(\"HTTPConnection(host='localhost', port={}): Failed to establish a new connection: "
    '[Errno {}] Connection refused"))'
)

CHATTER = (
    Template("INFO", _TRIAGE, "add_candidates", 422, "Added {} items to triage queue", number(1, 12)),
    Template("INFO", _API, "populate_triage_queue", 1306, "Starting triage queue population..."),
    Template("INFO", _API, "populate_triage_queue", 1322, "Processing doc{}.txt", number(1, 900)),
    Template("INFO", _API, "startup_event", 276, "✓ LLM candidate generator initialized (ollama)"),
    Template("INFO", _API, "startup_event", 302, "🔄 Queue is empty on startup, populating from documents..."),
    Template("INFO", _API, "startup_event", 329, "📭 No documents found for startup queue population"),
    Template("INFO", _LLM, "__init__", 315, "Initialized ollama generator with model llama{}:{}b", 3.2, 3),
    Template("INFO", _LLM, "process_batch", 920, "Processed {}/{} sentences", number(1, 9), number(9, 40)),
    Template("INFO", _WATCH, "start_monitoring", 544, "Started monitoring with {}s interval", 60),
    Template("INFO", "services.ingestion.document_ingestion", "ingest", 210, "Ingested document {}", an_id),
)
# Words and numbers that a search for trouble would stumble over; nothing is wrong in any of these.
DECOYS = (
    Template("INFO", _RETRY, "describe", 61, "On ERROR retry {} times; never on {} or {}", number(1, 4), 401, 403),
    Template("INFO", _WATCH, "reload", 118, "Rule 'rate limit exceeded' reloaded, was quiet for {} min", number(2, 90)),
    Template("INFO", _API, "search", 733, "No sentence matches the search for 'DROP TABLE users' in {}", an_id),
    Template("INFO", _API, "search", 741, '[ERROR] is a heading in {}, "level": "ERROR" its first words', an_id),
    Template("INFO", _API, "export_gold_data", 1088, "API request failed {} times yesterday, CRITICAL: none", 403),
    Template("INFO", _TRIAGE, "report", 460, "Queue report:\n  {} waiting, {} claimed, {} ERROR", 401, 403, 0),
    Template("INFO", "api.auth", "cleanup", 88, "{} tokens expired, {} sessions kept; path C:\\tmp\\é", 401, 4030),
)
ATTEMPT = Template(
    "WARNING",
    _RETRY,
    "sync_wrapper",
    274,
    f"Attempt {{}}/{{}} failed: {_REFUSED}. Retrying in {{}}s...",
    *(1, 2, 11434, 11434, 111, decimal(0.5, 0.9)),
)
_NOTICE = (
    "📢 ALERT NOTIFICATION: {{'name': 'high_cpu_usage', 'message': 'CPU usage is above {}%', 'severity': 'warning', "
    "'triggered_at': datetime.datetime({}, {}, {}, {}, {}, {}, {}), 'status': 'active'}}"
)
_WHEN = (2026, 11, 23, number(0, 23), number(0, 59), number(1, 59), number(1, 999_999))
WARNINGS = (
    ATTEMPT,
    Template("WARNING", _RETRY, "_on_failure", 132, "Circuit breaker ollama_api is now OPEN (failures: {})", 3),
    Template("WARNING", _WATCH, "_trigger_alert", 386, "ALERT TRIGGERED: high_cpu_usage - CPU usage is above {}%", 95),
    Template("WARNING", _WATCH, "_send_notification", 424, _NOTICE, 95, *_WHEN),
    Template("WARNING", _API, "batch", 990, "Job {} is slow: {} s for {} documents", a_uuid, decimal(30, 99), 12),
)

ALL_FAILED = Template("ERROR", _RETRY, "sync_wrapper", 282, "All {} attempts failed", 2)
OLLAMA_FAILED = Template("ERROR", _LLM, "_call", 388, f"All Ollama attempts failed: {_REFUSED}", 11434, 11434, 111)
BREAKER_OPEN = Template(
    "ERROR", _RETRY, "sync_wrapper", 263, "permanent error, not retrying: Circuit breaker ollama_api is OPEN"
)
POPULATION = Template(
    "ERROR", _API, "populate_triage_queue", 1382, "Queue population failed: {}: No documents found", 404
)
EXPORT = Template("ERROR", _API, "export_gold_data", 1109, "Export failed: {}: No gold annotations found", 404)
FETCH = Template("ERROR", _API, "get_document", 512, "Document {} could not be read: connection already closed", an_id)
INGEST = Template(
    "ERROR", _API, "ingest_document", 604, "Ingestion of job {} failed after {} lines", a_uuid, number(1, 80)
)
GENERATE = Template("ERROR", _API, "generate_candidates", 845, "Candidate generation failed: timed out after {} s", 30)
POOL = Template(
    "CRITICAL", "services.storage.pool", "acquire", 71, "Connection pool exhausted: {} of {} in use", 20, 20
)
UNSEEN = Template(
    "ERROR",
    "services.export.checksum",
    "verify",
    57,
    "Checksum of export {} differs: {} rows, {} expected",
    *(an_id, number(10, 400), number(401, 900)),
)
TRACEBACK = (
    "Traceback (most recent call last):",
    '  File "/app/services/storage/documents.py", line 188, in read',
    "    row = cursor.execute(STATEMENT, [doc_id]).fetchone()",
    "psycopg2.InterfaceError: connection already closed",
)
CHAINED = (
    *TRACEBACK,
    "",
    "During handling of the above exception, another exception occurred:",
    "",
    "Traceback (most recent call last):",
    '  File "/app/services/api/annotation_api.py", line 598, in ingest_document',
    '    raise HTTPException(status_code=403, detail="ERROR: rate limit exceeded")',
    "fastapi.exceptions.HTTPException: 403: ERROR: rate limit exceeded",
)
