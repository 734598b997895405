"""Prometheus and Alertmanager over HTTP: what they know, asked by GET only, every answer bounded and explained."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self, TypeVar

import httpx
import msgspec

from runbook.connections.clock import now
from runbook.connections.web import Response, WebConnection, web_client
from runbook.model import CouldNotFindOut, Unreachable
from runbook.model.text import printable
from runbook.target import Alertmanager, Target

T = TypeVar("T")

# Prometheus refuses more for one series (a constant of its source); no query of the runbook comes near.
MOST_POINTS = 11_000
# A day in steps as fine as a plot shows is some 25 kB a series: room for hundreds of them.
BODY_LIMIT = 16 << 20
# Of more no plot and no table can be read; what is beyond is counted and said.
MOST_SERIES = 500
MOST_NAMES = 20_000
QUERY_SECONDS = 10.0
_WORDS = 300


class Series(msgspec.Struct, frozen=True):
    """One series of an answer: its labels, and its samples in the order of time.

    ``times`` are seconds since 1970, ``values`` floats among which NaN is what was measured: where there is no sample,
    there is no time either.
    """

    labels: dict[str, str]
    times: list[float]
    values: list[float]


@dataclass(frozen=True)
class Result:
    """What a query gave.

    ``kind`` is vector, matrix or scalar. ``left_out`` says how many series came beyond the `MOST_SERIES` that were
    kept, the largest ones. ``notes`` are the warnings and infos of the answer, which is then partial or doubtful.
    """

    query: str
    kind: str
    series: tuple[Series, ...]
    left_out: int = 0
    notes: tuple[str, ...] = ()


class _Told(msgspec.Struct):
    """What every answer of the API is wrapped in; ``data`` is decoded only where it is needed."""

    status: str = ""
    data: msgspec.Raw = msgspec.Raw(b"null")
    errorType: str = ""  # noqa: N815 - Prometheus' own name
    error: str = ""
    warnings: list[str] = []
    infos: list[str] = []


class _Data(msgspec.Struct):
    resultType: str  # noqa: N815
    result: msgspec.Raw


class _Sampled(msgspec.Struct):
    metric: dict[str, str] = {}
    value: tuple[float, str] | None = None
    values: list[tuple[float, str]] = []


class Scraped(msgspec.Struct, frozen=True):
    """What Prometheus scrapes, as it tells it; ``health`` is up, down or unknown, ``interval`` as in "15s"."""

    labels: dict[str, str] = {}
    health: str = "unknown"
    last_error: str = msgspec.field(default="", name="lastError")
    last_scrape: str = msgspec.field(default="", name="lastScrape")
    scrape_url: str = msgspec.field(default="", name="scrapeUrl")
    interval: str = msgspec.field(default="", name="scrapeInterval")


class PrometheusConnection(WebConnection):
    """The Prometheus that scrapes the target."""

    name = "prometheus"
    body_limit: ClassVar[int] = BODY_LIMIT

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Connect and read the version and the clock; raises `Unreachable` for whatever is no Prometheus."""
        named = target.prometheus
        if named is None:
            raise Unreachable("prometheus", "not-configured", f"the profile of {target.name} has no [prometheus]")
        connect = target.deadlines.connect
        client = web_client(
            "prometheus", named.url, label, connect, ca_file=named.ca_file, token=named.token, user=named.user
        )
        connection = cls(client)
        try:
            version = connection._version(connect)
        except BaseException:
            client.close()
            raise
        connection.identity = {"what": "Prometheus", "where": named.url, "version": version}
        return connection

    def now(self) -> datetime:
        """Return the present by Prometheus' clock: samples are stamped by it, not by this machine's."""
        offset = self.clock.offset if self.clock is not None else 0.0
        return now() + timedelta(seconds=offset)

    def instant(self, query: str, at: datetime | None = None, seconds: float = QUERY_SECONDS) -> Result:
        """Return the value of an expression at a moment (now where none is given), as series of one sample each.

        Raises `CouldNotFindOut` with Prometheus' own words where it refuses, `Unreachable` where it does not answer.
        """
        parameters = {"query": query, **({"time": _stamp(at)} if at is not None else {}), **_bounds(seconds)}
        return self._query("/api/v1/query", query, parameters, seconds)

    def range(self, query: str, start: datetime, end: datetime, step: float, seconds: float = QUERY_SECONDS) -> Result:
        """Return the values of an expression from ``start`` to ``end``, one in each ``step`` (seconds); as `instant`.

        Raises `CouldNotFindOut` without asking where that is more points than Prometheus gives.
        """
        points = math.floor((end - start).total_seconds() / step) + 1
        if points > MOST_POINTS:
            raise CouldNotFindOut(
                f"{points:,} points of a series are asked for, and Prometheus gives {MOST_POINTS:,}: take a longer step"
            )
        parameters = {"query": query, "start": _stamp(start), "end": _stamp(end), "step": f"{step:g}"}
        return self._query("/api/v1/query_range", query, parameters | _bounds(seconds), seconds)

    def rules(self, seconds: float = QUERY_SECONDS) -> list[dict[str, Any]]:
        """Return the groups of rules with the state of each rule, as Prometheus tells them."""
        return _list_of(self._data("/api/v1/rules", {}, seconds, dict[str, Any]), "groups")

    def alerts(self, seconds: float = QUERY_SECONDS) -> list[dict[str, Any]]:
        """Return the alerts that are pending or firing, as Prometheus tells them: labels, state, activeAt, value."""
        return _list_of(self._data("/api/v1/alerts", {}, seconds, dict[str, Any]), "alerts")

    def alertmanagers(self, seconds: float = QUERY_SECONDS) -> list[str]:
        """Return the addresses of the Alertmanagers that Prometheus sends its alerts to."""
        told = _list_of(self._data("/api/v1/alertmanagers", {}, seconds, dict[str, Any]), "activeAlertmanagers")
        return [str(one.get("url", "")) for one in told]

    def sender(self, seconds: float = QUERY_SECONDS) -> str:
        """Return what the links in Prometheus' alerts begin with: its external address where one is set, else, as the
        name of its host is not told, :PORT alone; "" where neither is told (others that speak its language).
        """
        try:
            told = self._data("/api/v1/status/flags", {}, seconds, dict[str, Any])
        except Unreachable:
            raise
        except CouldNotFindOut:
            return ""
        port = re.search(r":\d+", str(told.get("web.listen-address")))
        return str(told.get("web.external-url") or "").rstrip("/") or (port[0] if port else "")

    def targets(self, seconds: float = QUERY_SECONDS) -> list[Scraped]:
        """Return what is scraped now, and how that went last."""
        told = self._data("/api/v1/targets", {"state": "active"}, seconds, dict[str, list[Scraped] | None])
        return told.get("activeTargets") or []

    def label_values(
        self, label: str, matching: str, start: datetime, end: datetime, seconds: float = QUERY_SECONDS
    ) -> list[str]:
        """Return the values that a label has in the series of a selector during a time, at most `MOST_NAMES`."""
        parameters = {"match[]": matching, "start": _stamp(start), "end": _stamp(end), "limit": str(MOST_NAMES)}
        return self._data(f"/api/v1/label/{label}/values", parameters, seconds, list[str])[:MOST_NAMES]

    def names(self, matching: str, start: datetime, end: datetime, seconds: float = QUERY_SECONDS) -> set[str]:
        """Return the names of the metrics that a selector's series have during a time, at most `MOST_NAMES`."""
        return set(self.label_values("__name__", matching, start, end, seconds))

    def metadata(self, metric: str, seconds: float = QUERY_SECONDS) -> list[dict[str, str]]:
        """Return what the scraped targets say of a metric: type, help, unit; nothing where none of them has it."""
        told = self._data("/api/v1/metadata", {"metric": metric}, seconds, dict[str, list[dict[str, str]]])
        return told.get(metric, [])

    def _version(self, seconds: float) -> str:
        response = self._answer("/api/v1/status/buildinfo", {}, seconds)
        if response.status == 404 and not response.is_html:
            # Others that speak Prometheus' language tell no version; they do calculate.
            self._query("/api/v1/query", "vector(1)", {"query": "vector(1)"}, seconds)
            return "not told"
        told = self._decode(response, dict[str, Any])
        version = told.get("version") if isinstance(told, dict) else None
        return str(version)[:40] if version else "not told"

    def _query(self, path: str, query: str, parameters: Mapping[str, str], seconds: float) -> Result:
        response = self._answer(path, parameters, seconds)
        told = self._unwrap(response)
        try:
            data = msgspec.json.decode(told.data, type=_Data)
            if data.resultType in ("scalar", "string"):
                samples = [_Sampled(value=msgspec.json.decode(data.result, type=tuple[float, str]))]
            else:
                samples = msgspec.json.decode(data.result, type=list[_Sampled])
            kept = [_series(sampled) for sampled in _largest(samples)]
        except (msgspec.DecodeError, msgspec.ValidationError, ValueError, RecursionError) as error:
            raise self._strange(path) from error
        notes = tuple(_shortened(note) for note in (*told.warnings, *told.infos))
        return Result(query, data.resultType, tuple(kept), len(samples) - len(kept), notes[:10])

    def _data(self, path: str, parameters: Mapping[str, str], seconds: float, kind: type[T]) -> T:
        return self._decode(self._answer(path, parameters, seconds), kind)

    def _decode(self, response: Response, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(self._unwrap(response).data, type=kind)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise self._strange(response.path) from error

    def _unwrap(self, response: Response) -> _Told:
        """Return the API's answer; raises what it refuses as `CouldNotFindOut`, in its own words."""
        try:
            response.require_whole()
        except CouldNotFindOut as error:
            raise CouldNotFindOut(
                f"{error}: the query gives far too many series (a label with very many values?); ask for a sum or topk"
            ) from error
        try:
            told = msgspec.json.decode(response.body, type=_Told)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            if response.status >= 400:
                raise CouldNotFindOut(f"{self.place}{response.path} answered {response.status}") from error
            raise self._strange(response.path) from error
        if told.status == "success":
            return told
        raise CouldNotFindOut(_refused(told, response.status))

    def _answer(self, path: str, parameters: Mapping[str, str], seconds: float) -> Response:
        response = self.get(path, seconds, dict(parameters), within=seconds)
        return _understood(self, response)

    def _strange(self, path: str) -> CouldNotFindOut:
        return CouldNotFindOut(f"{self.place}{path} answered what is not Prometheus' API: is this Prometheus?")


class AlertmanagerConnection(WebConnection):
    """Where alerts go to, only read."""

    name = "alertmanager"
    body_limit: ClassVar[int] = BODY_LIMIT

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Connect and read the version and the clock."""
        named = target.alertmanager
        if named is None:
            raise Unreachable("alertmanager", "not-configured", f"the profile of {target.name} has no [alertmanager]")
        connect = target.deadlines.connect
        connection = cls(alertmanager_client(named, label, connect))
        try:
            told = connection.status(connect)
        except BaseException:
            connection.close()
            raise
        version = told.get("versionInfo")
        version = version.get("version", "not told") if isinstance(version, dict) else "not told"
        connection.identity = {"what": "Alertmanager", "where": named.url, "version": str(version)[:40]}
        return connection

    def status(self, seconds: float = QUERY_SECONDS) -> dict[str, Any]:
        """Return its own state: versionInfo, uptime, cluster, config."""
        return self._told("/api/v2/status", seconds, dict[str, Any])

    def alerts(self, seconds: float = QUERY_SECONDS) -> list[dict[str, Any]]:
        """Return the alerts that it holds, silenced ones too: labels, annotations, startsAt, endsAt, status."""
        return self._told("/api/v2/alerts", seconds, list[dict[str, Any]])

    def silences(self, seconds: float = QUERY_SECONDS) -> list[dict[str, Any]]:
        """Return the silences that it holds, ended ones too: id, matchers, startsAt, endsAt, createdBy, comment."""
        return self._told("/api/v2/silences", seconds, list[dict[str, Any]])

    def _told(self, path: str, seconds: float, kind: type[T]) -> T:
        response = _understood(self, self.get(path, seconds, within=seconds))
        response.require_whole()
        if response.status != 200:
            raise CouldNotFindOut(f"{self.place}{path} answered {response.status}: {_words(response)}")
        try:
            return msgspec.json.decode(response.body, type=kind)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise CouldNotFindOut(
                f"{self.place}{path} answered what is not Alertmanager's API: is this Alertmanager?"
            ) from error


def alertmanager_client(named: Alertmanager, label: str, connect: float) -> httpx.Client:
    """Return a client that may log in to an Alertmanager as its profile says; raises as `web_client` does."""
    return web_client(
        "alertmanager", named.url, label, connect, ca_file=named.ca_file, token=named.token, user=named.user
    )


def _understood(connection: WebConnection, response: Response) -> Response:
    """Return an answer of the one who was meant; raises `Unreachable` where something stands before it or it starts."""
    name, place = connection.name, connection.place
    if response.status in (401, 403):
        why = "asks for a log-in" if response.status == 401 else "does not let this log-in in"
        told = f"{place} {why} ({response.status}): the profile's [{name}] is to give username and password, or token"
        raise Unreachable(name, "password", told)
    if response.leads_to:
        raise Unreachable(
            name,
            "redirects",
            f"{place}{response.path} redirects to {_shortened(response.leads_to)}, which is not followed: [{name}] url "
            "is to be its own address, not that of a log-in page before it",
        )
    if response.is_html:
        raise Unreachable(
            name,
            "protocol",
            f"{place}{response.path} answered {response.status} with HTML: something else answers there "
            "(a proxy, a log-in page?)",
        )
    if response.status == 503 and b'"errorType"' not in response.body[:200]:
        raise Unreachable(name, "starting", f"{place} answers 503: it is starting (reading its log) or overloaded")
    if response.status in (502, 504):
        raise Unreachable(name, "protocol", f"a proxy answers for {place}: {response.status}, it does not reach {name}")
    return response


def _refused(told: _Told, status: int) -> str:
    words = _shortened(told.error) or "no reason told"
    kinds = {
        "timeout": "Prometheus gave the query up for its time",
        "canceled": "Prometheus cancelled the query",
        "execution": "Prometheus could not calculate it",
        "bad_data": "Prometheus refuses the query",
        "unavailable": "Prometheus is not ready",
    }
    return f"{kinds.get(told.errorType, 'Prometheus refuses')} ({status}): {words}"


def _largest(samples: list[_Sampled]) -> list[_Sampled]:
    """Return all, in their order; of too many those that are largest at the end, the largest first."""
    if len(samples) <= MOST_SERIES:
        return samples

    def newest(sampled: _Sampled) -> float:
        _, text = sampled.value or (sampled.values[-1] if sampled.values else (0.0, "nan"))
        value = float(text)
        return -math.inf if math.isnan(value) else value

    return sorted(samples, key=newest, reverse=True)[:MOST_SERIES]


def _series(sampled: _Sampled) -> Series:
    samples = [sampled.value] if sampled.value is not None else sampled.values
    return Series(sampled.metric, [time for time, _ in samples], [float(value) for _, value in samples])


def _list_of(told: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    rows = told.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _stamp(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).timestamp():.3f}"


def _bounds(seconds: float) -> dict[str, str]:
    # It is to give a query up by itself, a little before it is given up as silent for all others.
    # Newer servers stop at the limit themselves; older ones do not know it and send all that fits into the body.
    return {"timeout": f"{0.9 * seconds:.3f}", "limit": str(2 * MOST_SERIES)}


def _words(response: Response) -> str:
    return _shortened(response.body[:_WORDS].decode("utf-8", "replace"))


def _shortened(text: str) -> str:
    told = printable(text).strip()
    return told if len(told) <= _WORDS else f"{told[:_WORDS]}…"
