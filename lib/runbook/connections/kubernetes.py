"""A Kubernetes cluster's API server, asked for what belongs to the target; kr8s finds it and brings the credentials."""

import asyncio
import base64
import concurrent.futures
import json
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import httpx
import msgspec

from runbook.connections.connection import Connection
from runbook.model import ChangeFailed, CouldNotFindOut, Unreachable
from runbook.model.text import printable
from runbook.target import Kubernetes, Target
from runbook.transport.tls import not_accepted, root

if TYPE_CHECKING:
    from kr8s.asyncio import Api

T = TypeVar("T")

READ_SECONDS = 5.0
# For a change: its admission webhooks may take 10 s each, by default.
CHANGE_SECONDS = 15.0
BODY_LIMIT = 16 << 20
_PAGE = 250
# What may wait that long is asked once more; the server says after how many seconds.
_WAIT_SECONDS = 2.0
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

# Where each kind of thing is, and its name there.
_PLACES = {
    "deployments": ("/apis/apps/v1", "deployments"),
    "replicasets": ("/apis/apps/v1", "replicasets"),
    "horizontalpodautoscalers": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "pods": ("/api/v1", "pods"),
    "events": ("/api/v1", "events"),
    "secrets": ("/api/v1", "secrets"),
    "usage": ("/apis/metrics.k8s.io/v1beta1", "pods"),
}
_HOW = {"POST": "application/json", "PUT": "application/json", "PATCH": "application/merge-patch+json"}


@dataclass(frozen=True)
class _Answer:
    status: int
    body: Any
    wait: float | None

    @property
    def told(self) -> str:
        """Return the server's own words, of which a Status has some."""
        body = self.body if isinstance(self.body, dict) else {}
        return printable(str(body.get("message") or ""))[:400] or "without a word"


class KubernetesConnection(Connection):
    """The API server; ``named`` says what of the cluster belongs to the target.

    What it returns are the server's own objects. Every question to it raises `CouldNotFindOut` where it refuses or does
    not answer, with its own words.
    """

    name = "kubernetes"

    def __init__(self, named: Kubernetes, connect: float, label: str) -> None:
        self.named = named
        self.identity = {}
        self._connect, self._label = connect, label
        self._api: Api | None = None
        self._silent: Unreachable | None = None
        self._ends: datetime | None = None
        self._loop, self._ended_by_close = asyncio.new_event_loop(), False
        threading.Thread(target=self._serve, daemon=True, name="kubernetes").start()

    @classmethod
    def open(cls, target: Target, label: str) -> Self:
        """Find cluster and credentials, and read the server's version and the deployment."""
        if target.kubernetes is None:
            raise Unreachable(cls.name, "not-configured", cls.lacking(target))
        connection = cls(target.kubernetes, target.deadlines.connect, label)
        try:
            connection._begin()
        except BaseException:
            connection.close()
            raise
        return connection

    @classmethod
    def lacking(cls, target: Target) -> str:
        """Return that the profile names no cluster, where it does not."""
        return "" if target.kubernetes else f"the profile of {target.name} names no [kubernetes] cluster"

    @property
    def cluster(self) -> str:
        """Return how the cluster is called in findings."""
        return self.named.context or "the pod's own cluster"

    def shown(self, *words: str) -> str:
        """Return a call of kubectl, as one would type it, that is led to the same place."""
        import shlex

        return shlex.join(["kubectl", *self.named.where, *words])

    def read(self, kind: str, name: str = "", part: str = "", **parameters: str) -> dict[str, Any] | None:
        """Return an object, or one page of a list; None where there is no such thing, or the server has no such kind.

        Raises `CouldNotFindOut` where the server refuses, `Unreachable` where it does not answer.
        """
        answer = self._ask("GET", kind, name, part, parameters=parameters, seconds=READ_SECONDS)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._refused(answer)
        if not isinstance(answer.body, dict):
            raise CouldNotFindOut(f"the API server of {self.cluster} answered no JSON object")
        return answer.body

    def items(self, kind: str, most: int = 2000, **parameters: str) -> list[dict[str, Any]] | None:
        """Return the objects of a list, page by page, ``most`` of them; None where the server has no such kind."""
        found: list[dict[str, Any]] = []
        page: dict[str, str] = {"limit": str(_PAGE)}
        while True:
            told = self.read(kind, **parameters, **page)
            if told is None:
                return None
            found += [one for one in told.get("items") or [] if isinstance(one, dict)]
            following = (told.get("metadata") or {}).get("continue")
            if not following or len(found) >= most:
                return found[:most]
            page["continue"] = str(following)

    def change(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        kind: str,
        name: str = "",
        part: str = "",
        *,
        body: Mapping[str, Any],
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Have the server change something, and return what it is then; with ``dry_run`` it only tells if it would.

        A PATCH merges. Raises `ChangeFailed` where the server refuses: then nothing has happened; `CouldNotFindOut`
        where it breaks off, or fails itself.
        """
        parameters = {"fieldManager": "runbook"} if method != "DELETE" else {}
        if dry_run:
            parameters["dryRun"] = "All"
        answer = self._ask(
            method, kind, name, part, parameters=parameters, body=msgspec.json.encode(body), seconds=CHANGE_SECONDS
        )
        if answer.status >= 500:
            raise CouldNotFindOut(f"the API server of {self.cluster} failed ({answer.status}): {answer.told}")
        if answer.status >= 300:
            raise ChangeFailed(str(self._refused(answer)))
        return answer.body if isinstance(answer.body, dict) else {}

    def close(self) -> None:
        """Close the client and end its thread."""
        if self._ended_by_close:
            return
        self._ended_by_close = True

        async def ending() -> None:
            session = self._api._session if self._api is not None else None
            if session is not None:
                with suppress(RuntimeError, httpx.HTTPError):
                    await session.aclose()
            asyncio.get_running_loop().stop()

        asyncio.run_coroutine_threadsafe(ending(), self._loop)

    def _serve(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _begin(self) -> None:
        from kr8s.asyncio import Api

        named = self.named
        files = {"kubeconfig": str(_kubeconfig(named)), "serviceaccount": ""}
        if named.in_cluster:
            files = {"kubeconfig": str(_SERVICE_ACCOUNT / "no-kubeconfig"), "serviceaccount": str(_SERVICE_ACCOUNT)}
        end = time.monotonic() + self._connect

        async def starting() -> Api:
            # Not by its factory, which shares one between all who ask, and asks before there is a time limit.
            return Api(bypass_factory=True, context=named.context, namespace=named.namespace, **files)

        self._api = self._wait(starting(), self._connect)
        self._api.timeout = httpx.Timeout(self._connect)
        try:
            self._log_in(end)
            # Anybody may ask for the version: only the deployment tells whether the credentials are taken.
            version = self._version(end)
            deployment = self._ask("GET", "deployments", named.deployment, seconds=max(0.1, end - time.monotonic()))
        finally:
            _forget_files(self._api)
        if deployment.status == 401:
            raise Unreachable(self.name, "password", str(self._refused(deployment)))
        self._api.timeout = httpx.Timeout(CHANGE_SECONDS, connect=self._connect)
        self.identity = {
            "what": f"Kubernetes {version}",
            "where": f"{self._server} ({self.cluster})",
            "namespace": named.namespace,
            "deployment": _identity(named.deployment, deployment),
        }

    @property
    def _server(self) -> str:
        return str(self._api.auth.server) if self._api is not None else ""

    def _log_in(self, end: float) -> None:
        assert self._api is not None
        auth = self._api.auth
        try:
            self._wait(auth.reauthenticate(), end - time.monotonic())
        except TimeoutError as error:
            told = f"no credentials for {self.cluster} within {self._connect:g} s: what the kubeconfig names gives none"
            raise Unreachable(self.name, "timeout", told) from error
        except (FileNotFoundError, RuntimeError) as error:
            # A program that the kubeconfig names for it: it is not there, or ended with an error.
            told = printable((str(error).strip().splitlines() or [""])[-1])[:200]
            raise Unreachable(self.name, "not-configured", f"no credentials for {self.cluster}: {told}") from error
        except OSError as error:
            told = f"the kubeconfig of {self.cluster} cannot be read: {error.strerror}"
            raise Unreachable(self.name, "not-configured", told) from error
        except Exception as error:  # the file is anybody's, and what is wrong in it comes as any error
            raise Unreachable(self.name, "not-configured", self._misread(error)) from error
        self._ends = _end_of(self._api)

    def _misread(self, error: Exception) -> str:
        where = "its service account" if self.named.in_cluster else f"the kubeconfig {_kubeconfig(self.named)}"
        if isinstance(error, ValueError) and "No such context" in str(error):
            return f"{where} has no context {self.named.context}: kubectl config get-contexts shows those it has"
        return f"{where} gives no credentials for {self.cluster} ({type(error).__name__})"

    def _version(self, end: float) -> str:
        answer = self._exchange("GET", "/version", "", "", seconds=max(0.1, end - time.monotonic()))
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status == 401:
            raise Unreachable(self.name, "password", str(self._refused(answer)))
        if answer.status != 200:
            return "of a version that it does not tell"
        if "gitVersion" not in body:
            told = f"{self._server} answers, but not as an API server of Kubernetes does"
            raise Unreachable(self.name, "protocol", told)
        return printable(str(body["gitVersion"]))[:60]

    def _ask(
        self,
        method: str,
        kind: str,
        name: str = "",
        part: str = "",
        *,
        seconds: float,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> _Answer:
        base, plural = _PLACES[kind]
        path = "/".join(filter(None, (plural, name, part)))
        where, asked = (method, base, self.named.namespace, path), parameters or {}
        answer = self._exchange(*where, seconds=seconds, parameters=asked, body=body)
        if answer.status == 429 and answer.wait is not None and answer.wait <= _WAIT_SECONDS:
            time.sleep(answer.wait)  # it did nothing, and says when to come again
            answer = self._exchange(*where, seconds=seconds, parameters=asked, body=body)
        return answer

    def _exchange(
        self,
        method: str,
        base: str,
        namespace: str,
        path: str,
        *,
        seconds: float,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> _Answer:
        if self._silent is not None:
            raise self._silent
        given: dict[str, Any] = {"params": dict(parameters or {}), "headers": {"user-agent": self._label}}
        if body is not None:
            given["content"] = body
            given["headers"]["content-type"] = _HOW.get(method, "application/json")

        async def asking() -> _Answer:
            assert self._api is not None
            where: dict[str, Any] = {"method": method, "version": "", "base": base, "namespace": namespace, "url": path}
            async with self._api.call_api(**where, raise_for_status=False, stream=True, **given) as response:
                data = bytearray()
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > BODY_LIMIT:
                        raise CouldNotFindOut(f"the API server answered more than {BODY_LIMIT >> 20} MB to {path}")
                return _Answer(response.status_code, _json(bytes(data)), _seconds(response.headers.get("retry-after")))

        from kr8s import APITimeoutError

        try:
            return self._wait(asking(), seconds)
        except (TimeoutError, APITimeoutError, httpx.TimeoutException) as error:
            told = f"the API server {self._server} did not answer within {seconds:g} s"
            unreachable = Unreachable(self.name, "timeout", told)
            if method == "GET":
                self._silent = unreachable
            raise unreachable from error
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
            raise self._explained(error) from error

    def _wait(self, work: "Coroutine[Any, Any, T]", seconds: float) -> T:
        if self._ended_by_close:
            work.close()
            raise Unreachable(self.name, "other", "the connection to the API server was closed")
        pending = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return pending.result(max(0.05, seconds))
        except concurrent.futures.TimeoutError:
            pending.cancel()
            raise TimeoutError from None

    def _explained(self, error: Exception) -> Unreachable:
        cause, place = root(error), self._server
        if isinstance(cause, ssl.SSLError) and not self._ended():
            return Unreachable(self.name, "tls", f"{place}: {not_accepted(cause)}")
        if isinstance(cause, ConnectionRefusedError):
            return Unreachable(self.name, "refused", f"{place} refuses connections: no API server listens there")
        if isinstance(cause, FileNotFoundError):
            told = f"a file of the credentials for {self.cluster} is not there: {cause.filename or ''}".rstrip(": ")
            return Unreachable(self.name, "not-configured", told)
        import socket

        if isinstance(cause, socket.gaierror):
            return Unreachable(self.name, "name", f"the name of {place} cannot be resolved")
        if ended := self._ended():  # TLS 1.3 only breaks off where it does not take a client's certificate
            return Unreachable(self.name, "password", f"{place} does not take the client certificate{ended}")
        return Unreachable(self.name, "protocol", f"{place} broke off: {type(error).__name__}")

    def _refused(self, answer: _Answer) -> CouldNotFindOut:
        told, server = answer.told, f"the API server of {self.cluster}"
        if answer.status == 401:
            return CouldNotFindOut(f"{server} does not take the credentials (401): {told}{self._ended()}")
        if answer.status == 403:
            return CouldNotFindOut(f"{server} forbids it (403): {told}; a Role for it would allow it")
        if answer.status == 409:
            return CouldNotFindOut(f"{server} sees a conflict (409): {told}")
        if answer.status == 422:
            return CouldNotFindOut(f"{server} finds it invalid (422): {told}")
        if answer.status == 429:
            return CouldNotFindOut(f"{server} has too much to do (429): {told}; try again in a minute")
        return CouldNotFindOut(f"{server} answered {answer.status}: {told}")

    def _ended(self) -> str:
        """Return when the credentials that were used ended, where they tell it themselves; "" where they do not."""
        if self._ends is None or self._ends > datetime.now(UTC):
            return ""
        return f"; they ended at {self._ends:%Y-%m-%d %H:%M} UTC: log in again, or renew them"


def _kubeconfig(named: Kubernetes) -> str:
    """Return the kubeconfig that counts, several parted by a colon; raises `Unreachable` where there is none."""
    if named.in_cluster:
        return ""
    text = str(named.kubeconfig or os.environ.get("KUBECONFIG") or Path("~/.kube/config").expanduser())
    if not any(Path(one).expanduser().exists() for one in text.split(os.pathsep) if one):
        told = f"there is no kubeconfig at {text}: name it in [kubernetes] of the profile, or in KUBECONFIG"
        raise Unreachable("kubernetes", "not-configured", told)
    return text


def _identity(name: str, answer: _Answer) -> str:
    if answer.status == 200 and isinstance(answer.body, dict):
        return f"{name} {(answer.body.get('metadata') or {}).get('uid', 'without an id')}"
    return f"{name} " + ("does not exist" if answer.status == 404 else f"is not told ({answer.status})")


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # "404 page not found" is plain text, from a server that has no such kind.
        return {"message": data[:200].decode("utf-8", "replace").strip()}


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None


def _forget_files(api: "Api") -> None:
    """Remove the files that the client wrote for a key and certificates that stand in the kubeconfig itself."""
    auth, temporary = api.auth, Path(tempfile.gettempdir())
    for file in (auth.client_key_file, auth.client_cert_file, auth.server_ca_file):
        if file and Path(str(file)).parent == temporary and Path(str(file)).name.startswith("tmp"):
            Path(str(file)).unlink(missing_ok=True)


def _end_of(api: "Api") -> datetime | None:
    """Return when a token or a client certificate ends, as it says itself; None where it does not."""
    from cryptography import x509

    with suppress(OSError, ValueError, TypeError):
        certificate = x509.load_pem_x509_certificate(Path(str(api.auth.client_cert_file or "")).read_bytes())
        return certificate.not_valid_after_utc
    token = api.auth.token or ""
    with suppress(ValueError, KeyError, TypeError, IndexError, OverflowError):
        payload = token.split(".")[1]
        told = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return datetime.fromtimestamp(float(told["exp"]), UTC)
    return None
