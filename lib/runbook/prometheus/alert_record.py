"""When alerts really fired or were pending, as Prometheus recorded it: its own series ALERTS."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from runbook.connections import PrometheusConnection
from runbook.connections.prometheus import Result
from runbook.model import CouldNotFindOut, Unreachable
from runbook.prometheus.frames import name_of
from runbook.prometheus.queries import Asked, escaped
from runbook.prometheus.steps import seconds_of

FIRING, PENDING = "firing", "pending"
# As many looks as the intervals of the rules: the shorter they are, the fewer hours.
_POINTS = 5000
_USUAL_INTERVAL = 60.0
_OWN_LABELS = ("__name__", "alertname", "alertstate", "severity")


@dataclass(frozen=True)
class Episode:
    """A time in which one series of an alert fired; ``open`` says that it had not ended when it was looked at.

    ``recorded`` says that Prometheus itself recorded it, ``step`` how many seconds apart the looks were.
    """

    series: str
    began: datetime
    ended: datetime
    open: bool
    step: float = 60.0
    recorded: bool = False


def record_of(connection: PrometheusConnection, names: Iterable[str], end: datetime, days: float) -> Asked:
    """Return the query for the record of alerts, in steps of the shortest interval in which rules are evaluated."""
    try:
        told = [seconds_of(f"{group.get('interval', 0):g}s", 0.0) for group in connection.rules()]
    except Unreachable:
        raise
    except (CouldNotFindOut, ValueError):  # others that speak Prometheus' language may have no rules
        told = []
    step = min([seconds for seconds in told if seconds > 0], default=_USUAL_INTERVAL)
    points = int(min(days * 86400 / step, _POINTS))
    chosen = "|".join(escaped(name) for name in names)
    return Asked(f'ALERTS{{alertname=~"{chosen}"}}', end, end - timedelta(seconds=points * step), step)


def recorded(result: Result, state: str, asked: Asked) -> dict[str, list[Episode]]:
    """Return the times in which alerts were in a state, by the name of the alert.

    Prometheus marks the end of such a series when its alert changes: what is left out between looks is over.
    """
    found: dict[str, list[Episode]] = {}
    for series in result.series:
        if series.labels.get("alertstate") != state or not series.times:
            continue
        name = name_of({key: value for key, value in series.labels.items() if key not in _OWN_LABELS})
        first = last = series.times[0]
        spans = []
        for time in series.times[1:]:
            if time - last > 1.5 * asked.step:
                spans.append((first, last))
                first = time
            last = time
        for began, ended in [*spans, (first, last)]:
            lasting = ended > asked.end.timestamp() - 0.5 * asked.step
            episode = Episode(name, _moment(began), _moment(ended), lasting, asked.step, recorded=True)
            found.setdefault(series.labels.get("alertname", ""), []).append(episode)
    return found


def merged(real: Sequence[Episode], evaluated: Sequence[Episode]) -> list[Episode]:
    """Return what was recorded, and what its expression gives for the times of which there is no record.

    A time that the expression gives from long before the record on is one time: the rule, or the record, is younger.
    """
    told = sorted(real, key=lambda episode: episode.began)
    kept = []
    for one in evaluated:
        margin = timedelta(seconds=one.step)
        overlapping = [
            place
            for place, other in enumerate(told)
            if one.began - margin <= other.ended and other.began <= one.ended + margin
        ]
        if not overlapping:
            kept.append(one)
        elif told[overlapping[0]].began - one.began > 2 * margin:
            first = told[overlapping[0]]
            told[overlapping[0]] = replace(first, began=one.began, step=one.step, recorded=False)
    return [*kept, *told]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
