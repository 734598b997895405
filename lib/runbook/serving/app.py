"""The web application: whoever has the token reads the archive, and Alertmanager brings its notifications."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runbook.serving.desk import Desk
from runbook.serving.notification import NotUnderstood, read_notification
from runbook.serving.pages import NOTHING, NotServed, open_served

WEBHOOK = "/alerts"
# A notification with a thousand alerts has about as many bytes; more is refused unread.
BODY_MOST = 1 << 20
# The whole of a request, with whoever takes the answer slowly.
ANSWER_SECONDS = 60.0
# That are answered at a time: not counted are those that still come in, however slowly.
MOST_REQUESTS = 64
# When Alertmanager is to come again with what could not be taken; it has its own mind as well.
AGAIN_SECONDS = 30
# What holds for every answer, also for one that no route gives.
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_REFUSED = {401: "a token is needed: Authorization: Bearer TOKEN, or it as the password of any user"}


def application(desk: Desk, archive: Path, token: str, tell: Callable[[str], None]) -> ASGIApp:
    """Return the application; ``tell`` hears of what was refused, a line a minute at most."""

    async def webhook(request: Request) -> Response:
        return await _webhook(request, desk)

    async def status(_: Request) -> Response:
        return _json(200, await run_in_threadpool(desk.state))

    async def file(request: Request) -> Response:
        # As it came: a route's pattern passes over a line's end.
        return await _file(archive, str(request.scope["path"]).removeprefix("/"))

    routes = [
        Route(WEBHOOK, webhook, methods=["POST"]),
        Route("/status", status),
        Route("/{path:path}", file),
    ]
    inner = Starlette(routes=routes, exception_handlers={HTTPException: _http_error})
    inner.router.redirect_slashes = False
    return Door(inner, token, tell)


class Door:
    """Lets in whoever has the token, before anything of a request is looked at; bounds each one's time."""

    def __init__(self, inner: ASGIApp, token: str, tell: Callable[[str], None]) -> None:
        self._inner, self._tell = inner, tell
        self._token = _digest(token)
        self._told, self._refused, self._answered = 0.0, 0, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        if not self._has_token(scope):
            self._tell_refused()
            headers = {"www-authenticate": 'Basic realm="runbook", charset="UTF-8"', "connection": "close"}
            await _json(401, {"error": _REFUSED[401]}, headers)(scope, receive, send)
            return
        if self._answered >= MOST_REQUESTS:
            again = {"retry-after": "1", "connection": "close"}
            await _json(503, {"error": "not now: too many at a time"}, again)(scope, receive, send)
            return
        self._answered += 1
        try:
            await self._answer(scope, receive, send)
        finally:
            self._answered -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer within a time; the server ends a connection whose answer is cut short by that."""
        begun = False

        async def tell_begun(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._inner(scope, receive, tell_begun)
        except TimeoutError:
            if not begun:
                await _json(503, {"error": "it took too long"}, {"connection": "close"})(scope, receive, send)

    def _has_token(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, value = given[0].strip().partition(b" ")
        # Only the digests are compared, which have one length, and in a time that tells nothing.
        if scheme.lower() == b"bearer":
            return hmac.compare_digest(hashlib.sha256(value.strip()).digest(), self._token)
        # A browser asks for a user and a password; what starts something takes the token itself.
        if scheme.lower() == b"basic" and scope["method"] in ("GET", "HEAD"):
            try:
                _, _, password = base64.b64decode(value.strip(), validate=True).partition(b":")
            except (binascii.Error, ValueError):
                return False
            return hmac.compare_digest(hashlib.sha256(password).digest(), self._token)
        return False

    def _tell_refused(self) -> None:
        self._refused += 1
        if time.monotonic() - self._told > 60 or not self._told:
            times = f" ({self._refused} times)" if self._refused > 1 else ""
            self._tell(f"refused{times}: a request without the token, or with another")
            self._told, self._refused = time.monotonic(), 0


async def _webhook(request: Request, desk: Desk) -> Response:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _json(415, {"error": "the body is to be application/json"}, {"connection": "close"})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        return _json(415, {"error": "the body is to be plain, not encoded"}, {"connection": "close"})
    try:
        body = await _body(request)
    except ClientDisconnect:
        return Response(status_code=400)
    if body is None:
        return _json(413, {"error": f"a body of more than {BODY_MOST} bytes is not read"}, {"connection": "close"})
    try:
        told = read_notification(body)
    except NotUnderstood as wrong:
        return _json(400, {"error": str(wrong)[:500]})
    answer = await run_in_threadpool(desk.take, told)
    if answer.outcome == "not now":
        return _json(503, {"error": f"not now: {answer.why}"}, {"retry-after": str(AGAIN_SECONDS)})
    return _json(202 if answer.runs else 200, {"outcome": answer.outcome, "runs": list(answer.runs)})


async def _body(request: Request) -> bytes | None:
    """Return the body; None where it is too long, of which no more is read than shows that."""
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdigit() and int(said[:20]) > BODY_MOST:
        return None
    read = bytearray()
    async for block in request.stream():
        read += block
        if len(read) > BODY_MOST:
            return None
    return bytes(read)


async def _file(archive: Path, path: str) -> Response:
    try:
        opened = await run_in_threadpool(open_served, archive, path)
    except NotServed:
        return _json(404, {"error": "there is no such page"})
    headers = {**opened.headers, "content-length": str(opened.length)}
    return _Sent(opened.blocks(), headers, opened.close)


class _Sent(StreamingResponse):
    """A file that is let go of whatever becomes of its sending."""

    def __init__(self, blocks: Any, headers: dict[str, str], close: Callable[[], None]) -> None:
        super().__init__(blocks, headers=headers)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json(error.status_code, {"error": error.detail}, dict(error.headers or {}))


def _json(status: int, told: Any, headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(told, ensure_ascii=True).encode() + b"\n"
    given = {"content-type": "application/json", "content-security-policy": NOTHING, **(headers or {})}
    return Response(body, status_code=status, headers=given)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
