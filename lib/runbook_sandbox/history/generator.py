"""The history itself: what happened in a stretch of time, the same for the same seed."""

import heapq
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from random import Random

from runbook_sandbox.history import messages
from runbook_sandbox.history.attacks import attack
from runbook_sandbox.history.event import REQUEST_LOGGER, Event, microseconds, request

USERS = (
    "admin",
    "anna.berg",
    "ben.ortiz",
    "chloe.martin",
    "dina.haddad",
    "emil.novak",
    "fatima.khan",
    "george.li",
    "hana.sato",
    "ivan.petrov",
    "julia.rossi",
    "kofi.mensah",
    "lena.fischer",
    "mateo.silva",
    "nora.lind",
    "omar.aziz",
    "paula.costa",
    "quentin.roy",
    "rosa.diaz",
    "sven.holm",
    "tara.singh",
    "uma.patel",
    "victor.hugo",
    "wei.zhang",
)
# Each user has an own address, so that mistyped passwords do not look like somebody who tries many names.
CLIENTS = tuple(f"198.51.100.{10 + each}" if each % 2 else f"203.0.113.{10 + each}" for each in range(len(USERS)))
PROBE = "198.51.100.2"

# method, path ({} is an id), share in 1024, median ms, spread, whether a user asks
PATHS = (
    ("GET", "/health", 230, 0.6, 0.4, False),
    ("GET", "/ready", 60, 1.2, 0.4, False),
    ("GET", "/metrics/prometheus", 90, 4.5, 0.3, False),
    ("GET", "/triage/queue", 170, 18.0, 0.6, True),
    ("GET", "/triage/statistics", 60, 9.0, 0.5, True),
    ("GET", "/documents", 60, 14.0, 0.6, True),
    ("GET", "/documents/{}", 102, 7.5, 0.7, True),
    ("GET", "/auth/me", 70, 1.4, 0.4, True),
    ("POST", "/auth/login", 40, 210.0, 0.2, True),
    ("POST", "/annotations/decisions", 80, 22.0, 0.6, True),
    ("POST", "/candidates/generate", 30, 650.0, 0.4, True),
    ("POST", "/documents/ingest", 22, 130.0, 0.8, True),
    ("GET", "/statistics/overview", 10, 35.0, 0.5, True),
)
# method, path, status, weight
REFUSED = (
    ("POST", "/auth/login", 401, 50),
    ("GET", "/auth/me", 401, 8),
    ("GET", "/auth/users", 403, 10),
    ("GET", "/documents/{}", 404, 12),
    ("GET", "/triage/next", 404, 6),
    ("PATCH", "/auth/users/{}", 404, 4),
    ("POST", "/documents/ingest", 422, 10),
)
LIMITED = (("GET", "/triage/queue", 429, 8), ("POST", "/candidates/generate", 429, 4))
# The share of each but the first in all that happens; the rest are requests.
KINDS = ("failure", "database", "generation", "chatter", "decoy", "warning")
OTHER_SHARES = (0.087, 0.032, 0.054, 0.011, 0.006)
_SAMPLES = 4096
_REFUSED_SHARE = 31  # requests in 1024 that end in 4xx


def _samples(rng: Random, median: float, spread: float) -> tuple[float, ...]:
    return tuple(max(0.01, round(median * rng.lognormvariate(0.0, spread), 2)) for _ in range(_SAMPLES))


class _Maker:
    """Makes one thing that happens: its first entry, and what follows from it."""

    def __init__(self, seed: int, *, documented: bool, errors: float) -> None:
        self.rng = rng = Random(seed)  # noqa: S311 - the same history again is the point
        self.documented = documented
        self.quick, self.slow = _samples(rng, 0.9, 0.5), _samples(rng, 900.0, 0.5)
        self.database = _samples(rng, 3.0, 0.9)
        self.paths = [
            (method, path, path.replace("{}", "{id}"), "{}" in path, asked, samples)
            for method, path, share, median, spread, asked in PATHS
            for samples in [_samples(rng, median, spread)]
            for _ in range(share)
        ]
        assert len(self.paths) == 1024
        self.refused = [each for each in REFUSED + (LIMITED if documented else ()) for _ in range(each[3])]
        failing = errors / 1.6  # a failure has as many entries of that level, on average
        self.requests = 0.81 * (1 - failing)
        self.shares = tuple(accumulate((failing, *(share * (1 - failing) for share in OTHER_SHARES))))

    def story(self, at: int) -> Sequence[Event]:
        """Make what happens at a time when it is not a usual request."""
        rng = self.rng
        kind = rng.choices(KINDS, cum_weights=self.shares)[0]
        if kind == "failure":
            return self.failure(at)
        if kind == "generation":
            return self.generation(at)
        if kind == "database":
            extra = {"operation": "database_query", "duration_ms": self.database[rng.getrandbits(12)]}
            message = "Database query completed"
            place = ("INFO", "database.queries", "logging_config", "log_database_query", 434)
            return (Event(at, *place, message, message, extra),)
        templates = {"chatter": messages.CHATTER, "decoy": messages.DECOYS, "warning": messages.WARNINGS}[kind]
        return (rng.choice(templates).make(rng, at),)

    def request(self, at: int) -> Event:
        """Make a request as most are."""
        bits = self.rng.getrandbits(128)
        if (bits >> 70) & 1023 < _REFUSED_SHARE:
            return self.refusal(at)
        method, path, pattern, has_id, asked, samples = self.paths[bits & 1023]
        if has_id:
            path = "/documents/" + self.document(bits >> 80)
        extra = {
            "method": method,
            "path": path,
            "status_code": 200,
            "duration_ms": samples[(bits >> 10) & 4095],
            "user_id": None,
        }
        if self.documented:
            if asked:
                who = (bits >> 22) % 24
                extra["user_id"], extra["client"] = USERS[who], CLIENTS[who]
            else:
                extra["client"] = PROBE
        message = "API request completed"
        return Event(
            at, "INFO", REQUEST_LOGGER, "logging_config", "log_api_request", 379, message, message, extra, pattern
        )

    def document(self, bits: int) -> str:
        """Make an id of a document; some hold what looks like a status."""
        found = messages.hex_id(bits)
        if bits & 31 == 0:
            return f"{found[:4]}{401 if bits & 32 else 403}e{found[8:]}"
        return found

    def refusal(self, at: int) -> Event:
        """Make a request that the service answers with 4xx."""
        rng = self.rng
        method, path, status, _ = rng.choice(self.refused)
        pattern = path.replace("{}", "{id}")
        path = path.format(self.document(rng.getrandbits(48)) if path.startswith("/doc") else rng.randint(1, 450))
        user, client = rng.choice(tuple(zip(USERS, CLIENTS, strict=True))) if self.documented else (None, None)
        if status == 401 and path != "/auth/login":
            user = None
        duration = self.quick[rng.getrandbits(12)]
        return request(at, method, path, status, duration, user=user, client=client, pattern=pattern)

    def failed(self, at: int, method: str, path: str, status: int = 500, pattern: str = "") -> Event:
        """Make a request that the service answers with 5xx."""
        rng = self.rng
        user, client = rng.choice(tuple(zip(USERS, CLIENTS, strict=True))) if self.documented else (None, None)
        duration = self.quick[rng.getrandbits(12)]
        return request(at, method, path, status, duration, user=user, client=client, pattern=pattern)

    def generation(self, at: int) -> list[Event]:
        """Make a candidate generation that goes well: it starts, asks the model, and ends."""
        rng = self.rng
        user = rng.choice(USERS) if self.documented else "anonymous"
        about = {"doc_id": self.document(rng.getrandbits(48)), "sent_id": f"s{rng.randint(1, 450)}", "user": user}
        asked = self.slow[rng.getrandbits(12)]
        whole = round(asked + rng.uniform(0.4, 3.0), 2)
        name = "candidate_generation"
        provider, model = rng.choice((("openai", "gpt-4o"), ("ollama", "llama3.2:3b")))
        start, end = f"Starting {name}", f"Operation {name} completed"
        started = {"operation": name, "status": "started", **about}
        told = {"provider": provider, "model": model, "duration_ms": asked}
        ended = {"operation": name, "duration_ms": whole, **about, "status": "completed"}
        answered, done = at + int(asked * 1000), at + int(whole * 1000)
        message = "LLM request completed"
        return [
            Event(at, "INFO", "api.candidates", "logging_config", "__aenter__", 457, start, start, started),
            Event(answered, "INFO", "llm.requests", "logging_config", "log_llm_request", 416, message, message, told),
            Event(done, "INFO", "api.candidates", "logging_config", "__aexit__", 480, end, end, ended),
        ]

    def failure(self, at: int) -> list[Event]:
        """Make something that goes wrong, as the service tells it."""
        rng, after = self.rng, at + self.rng.randint(200, 900)
        drawn = rng.random()
        if drawn < 0.30:
            method, path = rng.choice((("GET", "/triage/queue"), ("GET", "/documents"), ("POST", "/auth/login")))
            return [self.failed(at, method, path)]
        if drawn < 0.38:
            return [self.failed(at, "GET", "/ready", 503)]
        if drawn < 0.56:
            told = messages.POPULATION.make(rng, at)
            return [told, self.failed(after, "POST", "/triage/populate")]
        if drawn < 0.70:
            told = messages.EXPORT.make(rng, at)
            return [told, self.failed(after, "POST", "/export/gold")]
        if drawn < 0.82:
            told = messages.FETCH.make(rng, at, traceback=messages.TRACEBACK)
            path = "/documents/" + self.document(rng.getrandbits(48))
            return [told, self.failed(after, "GET", path, pattern="/documents/{id}")]
        if drawn < 0.90:
            told = messages.INGEST.make(rng, at, traceback=messages.CHAINED)
            return [told, self.failed(after, "POST", "/documents/ingest")]
        if drawn < 0.94:
            later = at + rng.randint(500_000, 900_000)
            return [
                messages.ATTEMPT.make(rng, at),
                messages.ALL_FAILED.make(rng, later),
                messages.OLLAMA_FAILED.make(rng, later + 250),
            ]
        if drawn < 0.98:
            return [messages.BREAKER_OPEN.make(rng, at)]
        told = messages.POOL.make(rng, at, traceback=messages.TRACEBACK if rng.random() < 0.5 else ())
        return [told, self.failed(after, "GET", "/documents", 503)]


def events(
    seed: int,
    since: datetime,
    until: datetime,
    count: int,
    *,
    documented: bool,
    attacked: bool = False,
    errors: float = 0.01,
) -> Iterator[Event]:
    """Tell `count` entries in the order of time, spread evenly over [since, until); an attack comes on top of them.

    `documented`: the service as its documents promise it, with users, clients and 429s; else as it was built.
    `errors`: about the share of the entries that are errors.
    """
    start, end = microseconds(since), microseconds(until)
    maker = _Maker(seed, documented=documented, errors=errors)
    random, usual, story = maker.rng.random, maker.request, maker.story
    requests = maker.requests
    due: list[tuple[int, int, Event]] = []  # what follows from something told already; the number keeps the order
    number = 0
    if attacked:
        hour = min(end - start, 3_600_000_000)
        own = Random(f"attack {seed}")  # noqa: S311
        for event in attack(own, end, hour, USERS, documented=documented):
            due.append((event.at, number := number + 1, event))
        heapq.heapify(due)
    told, step = 0, (end - start) / max(count, 1)
    while told < count:
        at = start + int((told + random()) * step)
        while due and due[0][0] <= at:
            yield heapq.heappop(due)[2]
        if random() < requests:
            told += 1
            yield usual(at)
            continue
        happened = story(at)
        told += 1
        yield happened[0]
        for event in happened[1 : 1 + count - told]:
            event.at = min(event.at, end - 1)
            heapq.heappush(due, (event.at, number := number + 1, event))
            told += 1
    while due:
        yield heapq.heappop(due)[2]
