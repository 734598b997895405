"""What a rule is, and the terms that its expression is written in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

from runbook.prometheus.rules.limits import LIMITS
from runbook.target import Target
from runbook.target.profile import Jobs

Severity = Literal["critical", "warning", "none"]
Part = Literal["", "standby", "tls", "containers", "backups"]


@dataclass(frozen=True)
class Rule:
    """One alert.

    ``expr`` is PromQL, ``wait`` for how many seconds it must hold before the alert fires. ``metrics`` are the selectors
    without which it cannot be judged; where one finds nothing, the alert cannot fire, unless ``absent`` says that just
    this is what it fires on. ``part`` names what of a target it is about, where not every target has it. ``notebook``
    is where it leads, "3-incident-response/api-down". ``summary`` and ``description`` are templates of Prometheus.
    """

    name: str
    expr: str
    wait: float
    severity: Severity
    summary: str
    description: str
    notebook: str
    metrics: tuple[str, ...]
    absent: bool = False
    part: Part = ""


@dataclass(frozen=True)
class Terms:
    """What the rules are made with: the names of the jobs, the thresholds of a profile, the objective, a time scale.

    ``objective`` is the share of requests that are to succeed (%). ``scale`` makes all windows and waits so many times
    as long: rules that are to be seen firing within seconds are made with a small one. Ages and dates stay.
    """

    jobs: Jobs = field(default_factory=Jobs)
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    objective: float = 99.5
    scale: float = 1.0

    @classmethod
    def of(cls, target: Target | None, *, objective: float = 99.5, scale: float = 1.0) -> Self:
        """Return the terms of a target: its profile's names of jobs, and its thresholds. None: the defaults."""
        if target is None:
            return cls(objective=objective, scale=scale)
        jobs = target.prometheus.jobs if target.prometheus is not None else Jobs()
        return cls(jobs, target.thresholds, objective, scale)

    def limit(self, name: str) -> float:
        """Return one of the numbers in `LIMITS`, as the target's profile has it."""
        return LIMITS[name].of(self.thresholds)

    def seconds(self, seconds: float) -> float:
        """Return a length of time on the scale, in seconds, of at least a millisecond."""
        return max(seconds * self.scale, 0.001)

    def window(self, seconds: float) -> str:
        """Return a length of time on the scale as PromQL writes it: 5m."""
        return duration(self.seconds(seconds))

    def api(self, metric: str, matchers: str = "") -> str:
        """Return a selector of a metric of the service."""
        return selector(metric, self.jobs.api, matchers)

    def postgres(self, metric: str, matchers: str = "") -> str:
        """Return a selector of a metric of PostgreSQL's exporter."""
        return selector(metric, self.jobs.postgres, matchers)

    def node(self, metric: str, matchers: str = "") -> str:
        """Return a selector of a metric of the hosts' exporter."""
        return selector(metric, self.jobs.node, matchers)

    def counted(self, series: str, seconds: float) -> str:
        """Return an expression for how much each counter of the service grew in a window, those born in it included.

        A series that begins at 30 has grown by 30 for those who counted, and by 0 for ``increase``. What it began with
        (the least of its values: after a restart that may be less) is growth as well where there was no sample of it in
        the hour before the window, although this very instance was scraped then, or is a new one: one that Prometheus
        did not know in that hour, while it knew another. Else what a counter has seen in its life would count as new
        whenever Prometheus reaches its instance again.

        It is an expression to be summed: a series may be in it twice, as what it began with and as what came since.
        """
        window, before, up = self.window(seconds), self.window(3600), self.api("up")
        born = f"(min_over_time({series}[{window}]) unless last_over_time({series}[{before}] offset {window}))"
        new = f"{up} unless last_over_time({up}[{before}] offset {window}) and on (job) {up} offset {window}"
        first = f"{born} and on (job, instance) ({up} offset {window} == 1 or {new})"
        # By a label of its own it stays beside what came since.
        return f'increase({series}[{window}]) or label_replace({first}, "born", "yes", "", "")'


def selector(metric: str, job: str, matchers: str = "") -> str:
    """Return a selector of a job's metric."""
    return f'{metric}{{job="{job}"{"," if matchers else ""}{matchers}}}'


def duration(seconds: float) -> str:
    """Return a length of time as PromQL writes it, in its largest whole unit."""
    milliseconds = max(1, round(seconds * 1000))
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def number(value: float) -> str:
    """Return a number as PromQL writes it; an infinite one is never passed."""
    return f"{value:.10g}" if abs(value) != float("inf") else f"{'+' if value > 0 else '-'}Inf"
