"""The language model's HTTP interface: name, connection, TLS and answer told apart, with the key by reference."""

import socket
import time
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import httpx

from runbook.connections.web import Response, WebConnection, web_client
from runbook.model import Unreachable
from runbook.target import Target

# What lists the models; it takes the same key as everything else there, and costs nothing.
LISTS = {"openai": "/v1/models", "ollama": "/api/tags"}
_STRANGER_SECONDS = 5.0
_STAGES = {"connection.connect_tcp": "connect", "connection.start_tls": "tls"}


class LanguageModelConnection(WebConnection):
    """The language model. ``stages`` tells how many milliseconds each step to it took: name, connect, tls.

    A step that was begun and did not end is not among them.
    """

    name = "llm"
    # Some list hundreds of models.
    body_limit: ClassVar[int] = 4 << 20

    def __init__(self, client: httpx.Client, kind: str, timeout: float) -> None:
        super().__init__(client, patience=timeout)
        self.kind = kind
        self.timeout = timeout
        self.stages: dict[str, float] = {}
        self._begun: dict[str, float] = {}
        client.event_hooks = {"request": [self._watch]}

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Find its addresses; nothing is asked of it yet. Raises `Unreachable` where its name cannot be resolved."""
        named = target.llm
        if named is None:
            raise Unreachable(
                cls.name,
                "not-configured",
                f"the profile of {target.name} has no [llm]: name its url, its kind, the model, and the service's key "
                "as a reference (token)",
            )
        # A model may think for long; that it takes the connection is known sooner.
        connect = min(target.deadlines.connect, named.timeout)
        client = web_client(cls.name, named.url, label, connect, ca_file=named.ca_file, token=named.token)
        connection = cls(client, named.kind, named.timeout)
        try:
            connection._resolve(named.url)
        except BaseException:
            client.close()
            raise
        connection.identity = {"what": f"language model ({named.kind})", "where": named.url, "version": "not asked yet"}
        return connection

    def models(self) -> Response:
        """Return the answer to the request for the list of models, made with the key; raises `Unreachable`."""
        for stage in ("connect", "tls"):
            self.stages.pop(stage, None)
        self._begun.clear()
        try:
            return self.get(LISTS[self.kind], self.timeout, within=self.timeout)
        except Unreachable as error:
            raise self._told(error) from error

    def models_without_key(self) -> Response:
        """Return the answer to the same request without the key; raises `Unreachable`.

        It is given less time: that nobody answers a stranger does not make the model a silent one.
        """
        seconds = self.stranger_seconds
        return self.get(LISTS[self.kind], seconds, within=seconds, anonymous=True)

    @property
    def stranger_seconds(self) -> float:
        """Return how long the request without the key may take."""
        return min(self.timeout / 2, _STRANGER_SECONDS)

    def _resolve(self, url: str) -> None:
        parts, began = urlsplit(url), time.monotonic()
        try:
            socket.getaddrinfo(parts.hostname, parts.port or parts.scheme, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Unreachable(self.name, "name", f"the name of {self.place} cannot be resolved") from error
        self.stages["name"] = 1000 * (time.monotonic() - began)

    def _told(self, error: Unreachable) -> Unreachable:
        """Return an error with how far the request came, where only that tells one from another."""
        if error.kind == "timeout" and "tls" in self._begun and "tls" not in self.stages:
            told = f"{self.place} accepts connections and keeps silent when TLS is begun: no answer in time"
            return Unreachable(self.name, "tls-silent", told)
        if error.kind == "timeout" and "connect" in self._begun and "connect" not in self.stages:
            told = f"{self.place} does not take the connection: no answer in time (a firewall that drops, a full queue)"
            return Unreachable(self.name, "not-accepted", told)
        return error

    def _watch(self, request: httpx.Request) -> None:
        request.extensions["trace"] = self._note

    def _note(self, event: str, about: dict[str, Any]) -> None:
        step, _, what = event.rpartition(".")
        stage = _STAGES.get(step)
        if stage is None:
            return
        if what == "started":
            self._begun[stage] = time.monotonic()
        elif what == "complete" and stage in self._begun:
            self.stages[stage] = 1000 * (time.monotonic() - self._begun[stage])
