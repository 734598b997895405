"""The service's HTTP interface: every request bounded in time, size and redirects."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from runbook.connections.web import BODY_LIMIT, MAX_REDIRECTS, READ_SECONDS, Response, WebConnection, web_client
from runbook.model import CouldNotFindOut, Unreachable
from runbook.model.protocol import NO_VERSION
from runbook.target import Target

if TYPE_CHECKING:
    from prometheus_client.samples import Sample

__all__ = ["BODY_LIMIT", "EXPOSITION", "MAX_REDIRECTS", "READ_SECONDS", "ApiConnection", "Response"]
# Where the service tells its metrics as Prometheus reads them; its /metrics is JSON.
EXPOSITION = "/metrics/prometheus"


class ApiConnection(WebConnection):
    """The service over HTTP. ``get`` never raises for a status: a 500 is an answer."""

    name = "api"
    _as_stranger: Callable[[str], Self]

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Connect and ask /health once, for version and clock; any HTTP answer counts as reachable."""
        named = target.api
        if named is None:
            raise Unreachable("api", "not-configured", f"the profile of {target.name} has no [api]")
        connect = target.deadlines.connect
        client = web_client("api", named.url, label, connect, ca_file=named.ca_file, token=named.token, follow=True)
        api = cls(client)
        api._as_stranger = lambda url: cls(web_client("api", url, label, connect, ca_file=named.ca_file))
        try:
            health = api.get("/health", seconds=connect)
        except BaseException:
            client.close()
            raise
        api.identity = {"what": "service", "where": named.url, "version": _version(health)}
        return api

    def exposition(self, seconds: float = READ_SECONDS) -> "list[Sample]":
        """Return the samples that the service exposes at this moment; ``seconds`` bounds it.

        Raises `Unreachable` where it does not answer, `CouldNotFindOut` where what comes is no exposition.
        """
        from prometheus_client.parser import text_string_to_metric_families

        response = self.get(EXPOSITION, seconds)
        response.require_whole()
        if response.status != 200 or response.is_html:
            raise CouldNotFindOut(f"{EXPOSITION} answered {response.status}{' with HTML' if response.is_html else ''}")
        try:
            families = list(text_string_to_metric_families(response.body.decode("utf-8", "replace")))
        except (ValueError, KeyError, IndexError) as error:
            raise CouldNotFindOut(f"{EXPOSITION} answered what is no exposition") from error
        return [sample for family in families for sample in family.samples]

    def nowhere(self) -> Response:
        """Return the answer to a path that nobody serves; what answers this with 200 answers so to everything."""
        return self.get(f"/runbook-{secrets.token_hex(8)}")

    @contextmanager
    def stranger(self, url: str = "") -> Iterator[Self]:
        """Yield a connection to the service, or to another address of it, without a token; it follows no redirect.

        One that falls silent to the stranger is silent: it keeps no later question waiting.
        """
        if self._silent is not None and not url:
            raise self._silent
        stranger = self._as_stranger(url or str(self._client.base_url))
        try:
            yield stranger
        finally:
            if not url:
                self._silent = self._silent or stranger._silent
            stranger.close()


def _version(health: Response) -> str:
    try:
        version = health.mapping().get("version")
    except CouldNotFindOut:
        version = None
    return str(version)[:40] if version else NO_VERSION
