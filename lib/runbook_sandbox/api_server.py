"""A stand-in for the API server of a Kubernetes cluster: no cluster is behind it, its answers have the real shapes.

It knows one namespace with one deployment. What a controller would do after a change, such as making pods, it does at
once. Run by `stack.up` as a process: ``python -m runbook_sandbox.api_server FOLDER FD``.
"""

import base64
import copy
import hmac
import json
import re
import socket
import ssl
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from runbook_sandbox import tls_front
from runbook_sandbox.place import Place

PART = "kubernetes"
KUBECONFIG, SECRET = "kubeconfig", "api-tls-cert"
VERSION = "v1.33.4-stand-in"
NAMESPACE, DEPLOYMENT, CONTEXT = "shrimp-annotation", "shrimp-api", "stand-in"
IMAGE = "registry.example/shrimp-api:1.4.2"
LABELS = {"app": DEPLOYMENT}
_GROUPS = {
    "apps/v1": ("deployments", "replicasets"),
    "autoscaling/v2": ("horizontalpodautoscalers",),
    "metrics.k8s.io/v1beta1": ("pods",),
    "v1": ("pods", "events", "secrets"),
}
_KINDS = {
    "deployments": "Deployment", "replicasets": "ReplicaSet", "pods": "Pod", "events": "Event", "secrets": "Secret",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
}  # fmt: skip
_REASONS = {
    400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 405: "MethodNotAllowed", 409: "Conflict",
    422: "Invalid", 503: "ServiceUnavailable",
}  # fmt: skip


class Refused(Exception):
    """An answer that is no success, as a Status; ``text`` instead of one is sent as plain text."""

    def __init__(self, code: int, message: str, *, text: str = "", causes: list[dict[str, str]] | None = None) -> None:
        super().__init__(message)
        self.code, self.text = code, text
        self.status = {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": _REASONS.get(code, "InternalError"), "details": {"causes": causes or []}, "code": code,
        }  # fmt: skip


class StandIn:
    """What the stand-in holds: ``objects`` by group and kind, then by name; tests change it as a cluster would change.

    ``refusals`` answer requests whose method and path match, ``seconds`` delays each answer, ``room`` is for how many
    pods there are nodes, ``asked`` has each request. Without ``metrics`` there is no metrics-server.
    """

    def __init__(self, token: str, replicas: int = 2, began: datetime | None = None) -> None:
        self.token = token
        self.lock = threading.RLock()
        self.began = began or datetime.now(UTC) - timedelta(days=2)
        self.made = 0
        self.version, self.metrics, self.seconds, self.room = 1000, True, 0.0, 50
        self.usage = (180, 310)  # of each pod: thousandths of a processor, MiB
        self.refusals: list[tuple[str, Refused]] = []
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []
        self.objects: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _KINDS}
        self._deploy(replicas)

    def refuse(self, pattern: str, code: int, message: str = "", **more: Any) -> None:
        """Refuse from now on what matches ``METHOD PATH``."""
        self.refusals.append((pattern, Refused(code, message, **more)))

    def deployment(self) -> dict[str, Any]:
        """Return the deployment, to be looked at or changed."""
        return self.objects["deployments"][DEPLOYMENT]

    def pods(self) -> list[dict[str, Any]]:
        """Return the pods, to be looked at or changed."""
        return list(self.objects["pods"].values())

    def add(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Add an object as the server would keep it, and return it."""
        self.version += 1
        metadata = {
            "name": name, "namespace": NAMESPACE, "uid": str(uuid.uuid4()), "resourceVersion": str(self.version),
            "creationTimestamp": _stamp(datetime.now(UTC)), **body.get("metadata", {}),
        }  # fmt: skip
        made = {"apiVersion": _version_of(kind), "kind": _KINDS[kind], **body, "metadata": metadata}
        self.objects[kind][name] = made
        return made

    def warn(self, reason: str, message: str, kind: str, name: str, *, count: int = 1) -> None:
        """Add an event of type Warning, as a controller tells one."""
        at = _stamp(datetime.now(UTC) - timedelta(minutes=5))
        body = {
            "involvedObject": {"kind": kind, "namespace": NAMESPACE, "name": name}, "reason": reason,
            "message": message, "type": "Warning", "count": count, "firstTimestamp": at, "lastTimestamp": at,
            "source": {"component": "stand-in"},
        }  # fmt: skip
        self.add("events", f"{name}.{self.version:x}", body)

    def keep(self, name: str, certificate: bytes, key: bytes) -> dict[str, Any]:
        """Add a secret for TLS, and return it."""
        data = {"tls.crt": base64.b64encode(certificate).decode(), "tls.key": base64.b64encode(key).decode()}
        return self.add("secrets", name, {"type": "kubernetes.io/tls", "data": data})

    def scaled(self, replicas: int) -> None:
        """Do what the controllers would: make or take pods, and tell of it in the status."""
        deployment, pods = self.deployment(), self.objects["pods"]
        deployment["spec"]["replicas"] = replicas
        while len(pods) > replicas:
            pods.popitem()
        while len(pods) < replicas:
            self._pod(len(pods))
        ready = sum(1 for pod in pods.values() if pod["status"]["phase"] == "Running")
        short = "MinimumReplicasAvailable" if ready == replicas else "MinimumReplicasUnavailable"
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"], "replicas": replicas,
            "updatedReplicas": replicas, "readyReplicas": ready, "availableReplicas": ready,
            "unavailableReplicas": replicas - ready,
            "conditions": [
                {"type": "Available", "status": str(ready == replicas), "reason": short,
                 "message": f"Deployment has {'' if ready == replicas else 'no '}minimum availability."},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable",
                 "message": f'ReplicaSet "{DEPLOYMENT}-7d9c5b" has successfully progressed.'},
            ],
        }  # fmt: skip

    def autoscaled(self, name: str = "shrimp-api-hpa", **more: Any) -> dict[str, Any]:
        """Add an autoscaler that has looked at the deployment, and return it."""
        spec = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": DEPLOYMENT},
            "minReplicas": 2, "maxReplicas": 10,
            "metrics": [_metric("cpu", 70), _metric("memory", 80)], **more,
        }  # fmt: skip
        return self._looked(self.add("horizontalpodautoscalers", name, {"spec": spec}))

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:
        """Return the answer to a request of one who may; raises `Refused`."""
        for pattern, refused in self.refusals:
            if re.search(pattern, f"{method} {path}"):
                raise refused
        if (found := _discovered(path.rstrip("/"))) is not None:
            return found
        match = re.fullmatch(
            r"/apis?/((?:[a-z0-9.]+/)?v[0-9a-z]+)/namespaces/([^/]+)/([a-z]+)(?:/([^/]+))?(?:/(scale))?", path
        )
        if match is None or match[1] not in _GROUPS or match[3] not in _GROUPS[match[1]]:
            raise Refused(404, "", text="404 page not found\n")
        group, namespace, kind, name, part = match.groups()
        if group.startswith("metrics"):
            return self._usage()
        held = self.objects[kind] if namespace == NAMESPACE else {}
        dry = query.get("dryRun") == ["All"]
        if name is None and method == "GET":
            return self._list(kind, held, query)
        if name is None and method == "POST":
            return self._create(kind, body, dry=dry)
        if name not in held:
            raise Refused(404, f'{_plural(kind)} "{name}" not found')
        if part == "scale":
            return self._scale(method, held[name], body, dry=dry)
        if method == "GET":
            return held[name]
        if method == "PATCH":
            return self._patch(kind, held[name], body, dry=dry)
        if method == "DELETE":
            return self._delete(held, name, body, dry=dry)
        raise Refused(405, "the server does not allow this method on the requested resource")

    def _delete(self, held: dict[str, Any], name: str, body: Any, *, dry: bool) -> Any:
        wanted = (body or {}).get("preconditions", {}).get("uid")
        if wanted and wanted != held[name]["metadata"]["uid"]:
            raise Refused(409, f'the UID in the precondition ({wanted}) does not match the UID of "{name}"')
        return {"kind": "Status", "status": "Success", "details": {"name": name}} if dry else held.pop(name)

    def _deploy(self, replicas: int) -> None:
        container = {
            "name": "api", "image": IMAGE, "ports": [{"containerPort": 8000}],
            "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
        }  # fmt: skip
        template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
        spec = {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": template, "strategy": {}}
        metadata = {"generation": 3, "creationTimestamp": _stamp(self.began), "labels": LABELS}
        self.add("deployments", DEPLOYMENT, {"metadata": metadata, "spec": spec})
        self.scaled(replicas)

    def _pod(self, number: int) -> None:
        self.made += 1
        name = f"{DEPLOYMENT}-7d9c5b-{zlib.crc32(str(self.made).encode()):08x}"[:-3]
        owner = {"kind": "ReplicaSet", "name": f"{DEPLOYMENT}-7d9c5b", "controller": True}
        spec = copy.deepcopy(self.deployment()["spec"]["template"]["spec"])
        if number >= self.room:
            told = "0/3 nodes are available: 3 Insufficient memory."
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": told}
            status: dict[str, Any] = {"phase": "Pending", "conditions": [condition]}
            self.warn("FailedScheduling", told, "Pod", name)
        else:
            spec["nodeName"] = f"stand-in-node-{number % 3 + 1}"
            began = _stamp(self.began if number < 2 else datetime.now(UTC))
            of_it = {
                "name": "api", "ready": True, "restartCount": 0, "image": IMAGE, "started": True,
                "state": {"running": {"startedAt": began}}, "lastState": {},
            }  # fmt: skip
            status = {
                "phase": "Running", "startTime": began, "podIP": f"10.244.0.{number + 10}",
                "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
                "containerStatuses": [of_it],
            }  # fmt: skip
        self.add(
            "pods", name, {"metadata": {"labels": LABELS, "ownerReferences": [owner]}, "spec": spec, "status": status}
        )

    def _usage(self) -> dict[str, Any]:
        if not self.metrics:
            raise Refused(404, "", text="404 page not found\n")
        used = {"cpu": f"{self.usage[0] * 1_000_000}n", "memory": f"{self.usage[1] * 1024}Ki"}
        found = [
            {
                "metadata": {"name": pod["metadata"]["name"], "namespace": NAMESPACE, "labels": LABELS},
                "timestamp": _stamp(datetime.now(UTC)), "window": "15.2s",
                "containers": [{"name": "api", "usage": used}],
            }
            for pod in self.pods() if pod["status"]["phase"] == "Running"
        ]  # fmt: skip
        return {"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": found}

    def _list(self, kind: str, held: dict[str, dict[str, Any]], query: dict[str, list[str]]) -> dict[str, Any]:
        wanted = dict(one.split("=", 1) for one in ",".join(query.get("labelSelector", [])).split(",") if "=" in one)
        kept = dict(one.split("=", 1) for one in ",".join(query.get("fieldSelector", [])).split(",") if "=" in one)
        found = [
            one
            for one in held.values()
            if wanted.items() <= one["metadata"].get("labels", {}).items()
            and kept.get("type", "") in ("", one.get("type"))
        ]
        first, most = int(query.get("continue", ["0"])[0]), int(query.get("limit", ["500"])[0])
        metadata = {"resourceVersion": str(self.version)}
        if len(found) > first + most:
            metadata["continue"] = str(first + most)
        items = found[first : first + most]
        return {"kind": f"{_KINDS[kind]}List", "apiVersion": _version_of(kind), "metadata": metadata, "items": items}

    def _scale(self, method: str, deployment: dict[str, Any], body: Any, *, dry: bool) -> dict[str, Any]:
        if method != "GET":
            _require_version(deployment, body, "deployments")
            replicas = body["spec"]["replicas"]
            if replicas < 0:
                raise _invalid("Scale", DEPLOYMENT, "spec.replicas", f"{replicas}: must be greater than or equal to 0")
            if not dry:
                deployment["metadata"]["generation"] += 1
                self._touch(deployment)
                self.scaled(replicas)
        told = {name: deployment["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
        status = {"replicas": deployment["status"]["replicas"], "selector": f"app={DEPLOYMENT}"}
        spec = {"replicas": deployment["spec"]["replicas"]}
        return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": told, "spec": spec, "status": status}

    def _create(self, kind: str, body: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        name = body["metadata"]["name"]
        if name in self.objects[kind]:
            raise Refused(409, f'{_plural(kind)} "{name}" already exists')
        _require_valid(kind, body)
        return body if dry else self._looked(self.add(kind, name, copy.deepcopy(body)))

    def _patch(self, kind: str, held: dict[str, Any], body: dict[str, Any], *, dry: bool) -> dict[str, Any]:
        _require_version(held, body, kind)
        changed: dict[str, Any] = _merged(held, body)
        if held.get("immutable") and changed.get("data") != held.get("data"):
            raise _invalid(_KINDS[kind], held["metadata"]["name"], "data", "field is immutable when `immutable` is set")
        _require_valid(kind, changed)
        if dry:
            return changed
        held.clear()
        held.update(changed)
        self._touch(held)
        return self._looked(held)

    def _touch(self, held: dict[str, Any]) -> None:
        self.version += 1
        held["metadata"]["resourceVersion"] = str(self.version)

    def _looked(self, held: dict[str, Any]) -> dict[str, Any]:
        """Tell in an autoscaler's status what it would have seen."""
        if held["kind"] != "HorizontalPodAutoscaler":
            return held
        spec, now = held["spec"], self.deployment()["spec"]["replicas"]
        requested = self.deployment()["spec"]["template"]["spec"]["containers"][0]["resources"].get("requests", {})
        seen = {"cpu": self.usage[0] / 5, "memory": self.usage[1] / 5.12} if requested and self.metrics else {}
        current = [
            {"type": "Resource", "resource": {"name": name, "current": {"averageUtilization": round(share)}}}
            for name, share in seen.items()
        ]
        active = {"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound", "message": "ok"}
        if not seen:
            told = "the HPA was unable to compute the replica count: failed to get cpu utilization"
            active = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": told}
        able = {"type": "AbleToScale", "status": "True", "reason": "ReadyForNewScale", "message": "ok"}
        reason = "TooManyReplicas" if now >= spec["maxReplicas"] else "DesiredWithinRange"
        limited = {
            "type": "ScalingLimited",
            "status": str(reason == "TooManyReplicas"),
            "reason": reason,
            "message": "…",
        }
        held["status"] = {
            "currentReplicas": now, "desiredReplicas": now, "currentMetrics": current,
            "conditions": [able, active, limited],
        }  # fmt: skip
        return held


def _discovered(path: str) -> dict[str, Any] | None:
    """Return what kubectl asks first: which kinds there are."""
    if path == "/version":
        return {"major": "1", "minor": "33", "gitVersion": VERSION, "platform": "linux/amd64"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = []
        for group in sorted(set(_GROUPS) - {"v1"}):
            version = {"groupVersion": group, "version": group.partition("/")[2]}
            groups.append({"name": group.partition("/")[0], "versions": [version], "preferredVersion": version})
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    group = path.removeprefix("/apis/") if path.startswith("/apis/") else path.removeprefix("/api/")
    if group not in _GROUPS:
        return None
    found: list[dict[str, Any]] = [
        {
            "name": kind, "singularName": "", "namespaced": True, "verbs": ["get", "list", "create", "patch", "delete"],
            "kind": "PodMetrics" if group.startswith("metrics") else _KINDS[kind],
            "shortNames": ["hpa"] if kind.startswith("horizontal") else [],
        }
        for kind in _GROUPS[group]
    ]  # fmt: skip
    if group == "apps/v1":
        scale = {"name": "deployments/scale", "kind": "Scale", "group": "autoscaling", "version": "v1"}
        found.append({**scale, "singularName": "", "namespaced": True, "verbs": ["get", "patch", "update"]})
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": found}


def _version_of(kind: str) -> str:
    return next(group for group, kinds in _GROUPS.items() if kind in kinds and not group.startswith("metrics"))


def _plural(kind: str) -> str:
    group = _version_of(kind).rpartition("/")[0]
    return f"{kind}.{group}" if group else kind


def _stamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _metric(name: str, percent: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": name, "target": target}}


def _require_version(held: dict[str, Any], body: dict[str, Any], kind: str) -> None:
    wanted = body.get("metadata", {}).get("resourceVersion", "")
    if wanted and wanted != held["metadata"]["resourceVersion"]:
        name = held["metadata"]["name"]
        raise Refused(
            409,
            f'Operation cannot be fulfilled on {_plural(kind)} "{name}": the object has been modified; '
            "please apply your changes to the latest version and try again",
        )


def _require_valid(kind: str, body: dict[str, Any]) -> None:
    name = body["metadata"]["name"]
    if kind == "horizontalpodautoscalers":
        spec = body["spec"]
        if spec["maxReplicas"] < spec.get("minReplicas", 1):
            told = f"{spec['maxReplicas']}: must be greater than or equal to `minReplicas`"
            raise _invalid("HorizontalPodAutoscaler.autoscaling", name, "spec.maxReplicas", told)
    if kind == "secrets" and body.get("type") == "kubernetes.io/tls":
        for key in ("tls.crt", "tls.key"):
            if not base64.b64decode(body.get("data", {}).get(key, "")):
                raise _invalid("Secret", name, f"data[{key}]", "Required value")


def _invalid(kind: str, name: str, field: str, why: str) -> Refused:
    causes = [{"reason": "FieldValueInvalid", "message": f"Invalid value: {why}", "field": field}]
    return Refused(422, f'{kind} "{name}" is invalid: {field}: Invalid value: {why}', causes=causes)


def _merged(held: Any, patch: Any) -> Any:
    """Return what a JSON merge patch makes of something."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = copy.deepcopy(held) if isinstance(held, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


class _Server(ThreadingHTTPServer):
    """Serves on a socket that somebody else opened."""

    daemon_threads = True

    def __init__(self, stand_in: StandIn, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.stand_in = stand_in
        listening.listen(64)
        # The handshake is each connection's own: one that is slow keeps no other waiting.
        self.socket = listening if tls is None else tls.wrap_socket(listening, True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away, or that spoke no TLS."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _respond(self) -> None:
        held = self.server.stand_in
        parts = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        spoken = "json" in (self.headers.get("content-type") or "json")
        body = json.loads(data) if data and spoken else None
        held.asked.append((self.command, parts.path, parse_qs(parts.query), body))
        time.sleep(held.seconds)
        try:
            if not self._is_known(held):
                raise Refused(401, "Unauthorized")
            if not spoken:
                raise Refused(415, "the stand-in takes JSON only")
            with held.lock:
                told = json.dumps(held.answer(self.command, parts.path, parse_qs(parts.query), body)).encode()
            self._send(201 if self.command == "POST" else 200, told, "application/json")
        except Refused as refused:
            told = refused.text.encode() or json.dumps(refused.status).encode()
            self._send(refused.code, told, "text/plain" if refused.text else "application/json")

    def _is_known(self, held: StandIn) -> bool:
        by_certificate = isinstance(self.connection, ssl.SSLSocket) and self.connection.getpeercert()
        given = (self.headers.get("authorization") or "").encode()
        if not given and self.path.startswith("/version"):
            return True  # anybody may ask for it
        return bool(by_certificate) or hmac.compare_digest(given, f"Bearer {held.token}".encode())

    def _send(self, status: int, told: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(told)))
        if status == 429:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(told)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815 - the names that the server calls


@contextmanager
def serving(stand_in: StandIn, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve the stand-in on loopback from a thread, and give its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = _Server(stand_in, listening, tls)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()


def kubeconfig(url: str, *, user: dict[str, Any], ca: bytes = b"") -> str:
    """Return a kubeconfig, whose one context is named for the stand-in, as text."""
    cluster = {"server": url}
    if ca:
        cluster["certificate-authority-data"] = base64.b64encode(ca).decode()
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": user}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT, "namespace": NAMESPACE}}],
    }  # fmt: skip
    return json.dumps(config, indent=1)


def write_kubeconfig(place: Place, port: int) -> None:
    """Write the kubeconfig that leads to the sandbox's stand-in, with its token."""
    ca = (place.folder / tls_front.FOLDER / tls_front.CA).read_bytes()
    user = {"token": (place.folder / "secrets" / PART).read_text()}
    place.secret(KUBECONFIG, kubeconfig(f"https://127.0.0.1:{port}", user=user, ca=ca))


def profile(place: Place) -> str:
    """Return the section of a sandbox's target file, where it has a stand-in."""
    folder = place.folder / tls_front.FOLDER
    if not (place.folder / "secrets" / KUBECONFIG).exists():
        return ""
    return f"""# A stand-in for a cluster's API server: no cluster is behind it.
[kubernetes]
context = "{CONTEXT}"
kubeconfig = "{place.folder / "secrets" / KUBECONFIG}"
namespace = "{NAMESPACE}"

[kubernetes.tls_secret]
name = "{SECRET}"
file = "{folder / tls_front.CERTIFICATE}"
key_file = "{folder / tls_front.KEY}"

"""


def main() -> None:
    """Serve a healthy deployment with its autoscaler and its secret, on the socket that the parent opened."""
    folder = Path(sys.argv[1])
    stand_in = StandIn((folder / "secrets" / PART).read_text(encoding="utf-8"))
    stand_in.autoscaled()
    served = folder / tls_front.FOLDER
    stand_in.keep(SECRET, (served / tls_front.CERTIFICATE).read_bytes(), (served / tls_front.KEY).read_bytes())
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Not the served one, which faults replace.
    tls.load_cert_chain(served / tls_front.GOOD, served / tls_front.KEY)
    _Server(stand_in, socket.socket(fileno=int(sys.argv[2])), tls).serve_forever()


if __name__ == "__main__":
    main()
