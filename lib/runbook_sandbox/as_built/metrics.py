"""The metrics that the service has: the machine's, alerts and candidates. It counts no requests."""

import os
import time
from typing import Any

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_GAUGES = ("cpu_usage", "memory_usage", "disk_usage", "load_average")
_SAMPLED_EVERY = 60.0
_SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def system() -> dict[str, float]:
    """Return the figures of the machine."""
    disk = psutil.disk_usage("/")
    return {
        "cpu_usage": psutil.cpu_percent(),
        "memory_usage": psutil.virtual_memory().percent,
        "disk_usage": disk.used / disk.total * 100,
        "load_average": os.getloadavg()[0],
    }


def components(figures: dict[str, float]) -> dict[str, bool]:
    """Return which parts of the machine are well."""
    return {name: figures[f"{name}_usage"] < 90 for name in ("cpu", "memory", "disk")}


class Metrics:
    """The metrics, told as JSON and as Prometheus reads them; a counter is there from its first count on."""

    def __init__(self) -> None:
        psutil.cpu_percent()  # the first reading is of no meaning
        self._registry = CollectorRegistry()
        self._gauges: dict[str, float] = {}
        self._shown: dict[str, Gauge] = {}
        self._counts: dict[str, float] = {}
        self._counters: dict[str, Counter] = {}
        self._seconds: list[float] = []
        self._histogram: Histogram | None = None
        self._alerts: set[str] = set()
        self._sampled = -_SAMPLED_EVERY
        self.sample({})

    def sample(self, alerts: dict[str, Any]) -> None:
        """Take the alerts in, and once in a minute the machine's figures."""
        if time.monotonic() - self._sampled >= _SAMPLED_EVERY:
            self._sampled = time.monotonic()
            figures = system()
            for name in _GAUGES:
                self._set(f"system_{name}", figures[name])
            self._set("system_health_score", 1.0 if all(components(figures).values()) else 0.5)
        self._set("active_alerts_count", len(alerts))
        for name in set(alerts) - self._alerts:
            self.count("alerts_triggered_total", alert=name, severity=alerts[name]["severity"])
        self._alerts = set(alerts)

    def _set(self, name: str, value: float) -> None:
        if name not in self._shown:
            self._shown[name] = Gauge(name, f"Gauge: {name}", registry=self._registry)
        self._shown[name].set(value)
        self._gauges[f"{name}:"] = value

    def count(self, name: str, **labels: str) -> None:
        """Count one."""
        if name not in self._counters:
            self._counters[name] = Counter(name, f"Counter: {name}", list(labels), registry=self._registry)
        (self._counters[name].labels(**labels) if labels else self._counters[name]).inc()
        key = f"{name}:{':'.join(f'{label}={value}' for label, value in labels.items())}"
        self._counts[key] = self._counts.get(key, 0.0) + 1

    def took(self, seconds: float) -> None:
        """Take in how long a generation of candidates took."""
        if self._histogram is None:
            name = "candidate_generation_duration_seconds"
            self._histogram = Histogram(name, f"Histogram: {name}", registry=self._registry)
        self._histogram.observe(seconds)
        self._seconds.append(seconds)

    def as_json(self) -> dict[str, Any]:
        """Return all metrics, their labels in their names."""
        return {"counters": self._counts, "gauges": self._gauges, "histograms": self._histograms()}

    def _histograms(self) -> dict[str, Any]:
        if not self._seconds:
            return {}
        taken, count = sorted(self._seconds), len(self._seconds)
        told = {"count": count, "sum": sum(taken), "avg": sum(taken) / count, "min": taken[0], "max": taken[-1]}
        shares = {name: taken[min(int(count * share), count - 1)] for name, share in _SHARES.items()}
        return {"candidate_generation_duration_seconds:": told | shares}

    def exposition(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self._registry)
