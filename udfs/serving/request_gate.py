"""An ASGI application around the routes: authentication, limits, time-outs and back-pressure.

A request passes these steps, and is refused at the first that fails:

1. Its token and role are checked, before a byte of the body is read. Only requests for verdicts may have a body.
2. If all places are taken, the client gets 429 at once, rather than after it has sent an image.
3. The body is read completely, within `body_seconds` and `body_bytes`. The number of uploads, and the bytes of all
   bodies in memory, are limited too. 4. A place is taken, and the routes answer within `seconds`. Because it is taken
   only now, a slow client never holds a place while it sends.

Places, uploads and bytes are `ClientShares`: one token gets at most `share` of each (three quarters), so that one
client cannot shut out all others. All that a request has taken is on an `ExitStack` and given back at its end.

A client that is refused in the middle of its upload reads the answer only after it has sent everything. So the rest is
read and thrown away for up to `linger_seconds`, and only then is the connection closed.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from udfs.serving.client_shares import ClientShares
from udfs.serving.server_metrics import ServerMetrics
from udfs.serving.tokens import Token, TokenFile

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_NEEDS_NO_TOKEN = re.compile(
    r"/(healthz|readyz|docs|redoc|openapi\.json|v2|v2/health/(live|ready)|static-offline-docs/.*)?"
)
_PREDICT_PATH = re.compile(r"/v[12]/models/.+/(predict|infer)")
_DIGITS = 18
_UPLOADS_PER_PLACE = 4
_log = logging.getLogger("duckspect.serve")


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """Limits for one client and for all together: times, sizes, numbers of requests."""

    header_seconds: float = 10.0
    body_bytes: int = 32 << 20
    body_seconds: float = 15.0
    seconds: float = 30.0
    at_once: int = 64
    bytes_at_once: int = 256 << 20
    share: float = 0.75
    linger_seconds: float = 2.0


class _RefusalError(Exception):
    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


class RequestGate:
    """The ASGI application that checks every request and passes it to the routes."""

    def __init__(self, app: App, token_file: TokenFile, limits: RequestLimits, meters: ServerMetrics) -> None:
        self._app = app
        self._token_file = token_file
        self._limits = limits
        self._meters = meters
        self._places = ClientShares(limits.at_once, limits.share)
        self._uploads = ClientShares(_UPLOADS_PER_PLACE * limits.at_once, limits.share)
        self._bytes = ClientShares(max(limits.bytes_at_once, 2 * limits.body_bytes), limits.share, limits.body_bytes)
        self._typical_seconds = 0.1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _OutgoingResponse(send, _request_id(scope))
        scope.setdefault("state", {})["request_id"] = answer.request_id
        started = time.perf_counter()
        try:
            await self._handle(scope, receive, answer)
        except _RefusalError as refusal:
            _log.warning("refused: %s: %s", _summary(scope, answer), refusal)
            await answer.refuse(refusal.status, str(refusal), refusal.headers)
        except Exception:  # noqa: BLE001 - after any error the client gets an answer
            _log.exception("failed: %s", _summary(scope, answer))
            await answer.refuse(500, "The server failed; its log says why.", {})
        finally:
            spent = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "other")
            self._meters.requests.labels(route, scope["method"], answer.status).inc()
            self._meters.latency.labels(route).observe(spent)
            _log.info("%s: %s in %.1f ms", _summary(scope, answer), answer.status, spent * 1000)
        await self._linger(scope, receive, answer)

    async def _handle(self, scope: Scope, receive: Receive, answer: _OutgoingResponse) -> None:
        is_prediction = scope["method"] == "POST" and _PREDICT_PATH.fullmatch(scope["path"]) is not None
        answer.is_whole = not _has_body(scope)
        if not _NEEDS_NO_TOKEN.fullmatch(scope["path"]):
            self._admit(scope, "writer" if is_prediction else "reader")
        if not is_prediction:
            if not answer.is_whole:
                raise _RefusalError(413, f"{scope['method']} {scope['path']} takes no body. Send none.")
            await self._answer(scope, _replayed(b"", receive), answer)
            return
        client = token_of(scope).name
        with ExitStack() as taken:
            self._check(self._places, client, "requests at work or waiting")  # refuse before the image is sent
            self._take(self._uploads, client, 1, "bodies on their way", taken)
            body = await self._body(scope, receive, client, taken)
            answer.is_whole = True
            self._take(self._places, client, 1, "requests at work or waiting", taken)
            self._meters.waiting.set(self._places.used)
            taken.callback(lambda: self._meters.waiting.set(self._places.used))
            started = time.perf_counter()
            await self._answer(scope, _replayed(body, receive), answer)
            if answer.status == 200:
                self._typical_seconds += 0.1 * (time.perf_counter() - started - self._typical_seconds)

    async def _answer(self, scope: Scope, receive: Receive, answer: _OutgoingResponse) -> None:
        try:
            async with asyncio.timeout(self._limits.seconds):
                await self._app(scope, receive, answer.send)
        except TimeoutError as error:
            reason = f"There was no answer within {self._limits.seconds:g} seconds."
            again = f" Send the request again with 'X-Request-Id: {answer.request_id}': it is recorded once."
            is_prediction = _PREDICT_PATH.fullmatch(scope["path"]) is not None
            raise _RefusalError(504, reason + again if is_prediction else f"{reason} Try again.") from error

    def _admit(self, scope: Scope, role: str) -> None:
        token = self._token_file.find(_given_token(scope))
        if token is None:
            raise _RefusalError(
                401,
                "The token is missing or unknown. Send 'Authorization: Bearer ...' or 'X-API-Key: ...' with one that "
                "`duckspect tokens add` made.",
                {"WWW-Authenticate": "Bearer"},
            )
        if not token.may(role):
            raise _RefusalError(403, f"{token.name} is a {token.role}; this takes a {role}, for verdicts are recorded.")
        scope["state"]["token"] = token

    def _check(self, shared: ClientShares, client: str, what: str, count: int = 1) -> None:
        """Refuse with 429 and a time to try again if there is no room."""
        if shared.has_room(client, count):
            return
        wait = max(1, math.ceil(self._typical_seconds))
        if shared.used + count > shared.most:
            full = f"There are {shared.used:,} {what}, and {shared.most:,} may be"
        else:
            full = f"{client} has {shared.used_by(client):,} {what}, and one token may have {shared.most_of_one:,}"
        raise _RefusalError(429, f"{full}. Try again in {wait} s.", {"Retry-After": str(wait)})

    def _take(self, shared: ClientShares, client: str, count: int, what: str, taken: ExitStack) -> None:
        """Take places or bytes until the end of the request, or refuse with 429."""
        self._check(shared, client, what, count)
        shared.take(client, count)
        taken.callback(shared.give_back, client, count)

    async def _body(self, scope: Scope, receive: Receive, client: str, taken: ExitStack) -> bytes:
        """Read the whole body, within the limits."""
        most = self._limits.body_bytes
        reason = f"The body is larger than {most:,} bytes."
        length = _header(scope, b"content-length")
        if length.isdecimal() and (len(length) > _DIGITS or int(length) > most):
            raise _RefusalError(413, reason)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _RefusalError(400, "The client went away before its body was complete.")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise _RefusalError(413, reason)
                    self._take(self._bytes, client, len(parts[-1]), "bytes of bodies in memory", taken)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError as error:
            raise _RefusalError(408, f"The body took longer than {self._limits.body_seconds:g} seconds.") from error

    async def _linger(self, scope: Scope, receive: Receive, answer: _OutgoingResponse) -> None:
        """Read and drop what a refused client still sends, for a few seconds: it reads the answer only after that."""
        try:
            async with asyncio.timeout(self._limits.linger_seconds):
                while answer.is_open and not answer.is_whole:
                    message = await receive()
                    answer.is_whole = message["type"] == "http.disconnect" or not message.get("more_body")
        except TimeoutError:
            _log.info("%s: it is still sending, and is cut off", _summary(scope, answer))
        await answer.finish()


class _OutgoingResponse:
    """Sends the response, with the request's id in a header.

    `is_whole` means that all of the request was read, `is_open` that a refusal waits for the rest of it.
    """

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0
        self.is_whole = False
        self.is_open = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], (b"x-request-id", self.request_id.encode())]}
        await self._send(message)

    async def refuse(self, status: int, reason: str, headers: dict[str, str]) -> None:
        """Send an error; if the request was not read completely, the connection is closed after it."""
        if self.status:  # the response has begun already
            return
        body = json.dumps({"error": reason, "request_id": self.request_id}).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        if not self.is_whole:
            fields["Connection"] = "close"
        listed = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": listed})
        self.is_open = not self.is_whole
        await self._send({"type": "http.response.body", "body": body, "more_body": self.is_open})

    async def finish(self) -> None:
        """End a refusal whose client was still sending."""
        if self.is_open:
            self.is_open = False
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def token_of(scope: Scope) -> Token:
    """The token with which a request was admitted."""
    token: Token = scope["state"]["token"]
    return token


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _has_body(scope: Scope) -> bool:
    return bool(_header(scope, b"transfer-encoding")) or _header(scope, b"content-length") not in ("", "0")


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def named_by_client(scope: Scope) -> bool:
    """Whether the client chose the request's id, so that the same request may have been sent before."""
    return _header(scope, b"x-request-id") == scope["state"]["request_id"]


def _given_token(scope: Scope) -> str:
    kind, _, token = _header(scope, b"authorization").partition(" ")
    return token.strip() if kind.lower() == "bearer" else _header(scope, b"x-api-key")


def _summary(scope: Scope, answer: _OutgoingResponse) -> str:
    token = scope.get("state", {}).get("token")
    who = token.name if token else (scope.get("client") or ("somebody",))[0]
    return f"{answer.request_id} {who} {scope['method']} {scope['path']!r}"


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the body that was read, and then what the connection sends."""
    is_read = False

    async def next_message() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message
