"""The figures of the key metrics: the query of each, its unit, and the metric without which there is none."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """One figure: ``name`` in words, ``query`` the file of its query, ``unit``.

    ``metric`` and ``job`` (of `runbook.target.profile.Jobs`) say what must be there; ``given`` fills the query's own
    placeholders; ``labels`` are those that the query asks the metric for, ``by`` those that tell its series
    apart.
    """

    name: str
    query: str
    unit: str
    metric: str
    job: str = "api"
    given: Mapping[str, str] = field(default_factory=dict)
    by: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


def _quantiles(query: str, metric: str, shares: tuple[int, ...], prefix: str = "") -> tuple[Figure, ...]:
    return tuple(Figure(f"{prefix}p{share}", query, "ms", metric, given={"quantile": f"0.{share}"}) for share in shares)


_REQUESTS = "http_requests_total"
_TIMES = "http_request_duration_seconds_bucket"

REQUEST_RATE = (Figure("requests", "request_rate", "requests/min", _REQUESTS),)
RESPONSE_TIME = (
    *_quantiles("response_time", _TIMES, (50, 95, 99)),
    Figure("beyond the last bucket", "beyond_buckets", "%", _TIMES),
)
ERRORS = (
    Figure("4xx", "share_4xx", "%", _REQUESTS, labels=("status",)),
    Figure("5xx", "share_5xx", "%", _REQUESTS, labels=("status",)),
)
LOGINS = (
    Figure("log-ins that succeed", "login_success", "%", _REQUESTS, labels=("path", "status")),
    Figure("log-ins", "logins", "in an hour", _REQUESTS, labels=("path",)),
)
PROCESSORS = (Figure("processors", "processors", "%", "node_cpu_seconds_total", "node", by=("instance",)),)
MEMORY = (Figure("memory", "memory", "%", "node_memory_MemAvailable_bytes", "node", by=("instance",)),)
DISKS = (Figure("disk", "disks", "%", "node_filesystem_avail_bytes", "node", by=("instance", "mountpoint")),)
NETWORK = (
    Figure("received", "received", "KiB/s", "node_network_receive_bytes_total", "node", by=("instance",)),
    Figure("sent", "sent", "KiB/s", "node_network_transmit_bytes_total", "node", by=("instance",)),
)
QUEUE = (
    Figure("waiting", "queue_size", "items", "triage_queue_size"),
    Figure("oldest", "oldest_item", "h", "triage_oldest_item_age_seconds"),
)
MODEL_TIME = _quantiles("model_time", "candidate_generation_duration_seconds_bucket", (50, 95), "model ")
DATABASE_TIME = (Figure("per transaction", "database_time", "ms", "pg_stat_database_active_time", "postgres"),)

ALL = (
    *REQUEST_RATE, *RESPONSE_TIME, *ERRORS, *LOGINS, *PROCESSORS, *MEMORY, *DISKS, *NETWORK, *QUEUE, *MODEL_TIME,
    *DATABASE_TIME,
)  # fmt: skip
