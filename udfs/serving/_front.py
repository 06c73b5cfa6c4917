"""What stands before the routes: who asks, how much, how long, and how many at once."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from udfs.serving._meters import Meters
from udfs.tokens import Keyring, Token

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_OPEN = re.compile(r"/(healthz|readyz|docs|redoc|openapi\.json|v2|v2/health/(live|ready)|static-offline-docs/.*)?")
_JUDGES = re.compile(r"/v[12]/models/.+/(predict|infer)")
_log = logging.getLogger("duckspect.serve")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one client, and all together, may ask for."""

    header_seconds: float = 10.0
    body_bytes: int = 32 << 20
    body_seconds: float = 15.0
    seconds: float = 30.0
    at_once: int = 64


class _RefusalError(Exception):
    def __init__(self, status: int, reason: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.headers = headers or {}


class Front:
    """An ASGI application around the routes."""

    def __init__(self, app: App, keyring: Keyring, limits: Limits, meters: Meters) -> None:
        self._app = app
        self._keyring = keyring
        self._limits = limits
        self._meters = meters
        self._at_work = 0
        self._typical = 0.1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, _request_id(scope))
        scope.setdefault("state", {})["request_id"] = answer.request_id
        started = time.perf_counter()
        try:
            await self._pass(scope, receive, answer)
        except _RefusalError as refusal:
            _log.warning("refused: %s: %s", _told(scope, answer), refusal)
            await answer.refuse(refusal.status, str(refusal), refusal.headers)
        except Exception:  # noqa: BLE001 - the client gets an answer whatever happens
            _log.exception("failed: %s", _told(scope, answer))
            await answer.refuse(500, "The server failed; its log says why.", {})
        finally:
            spent = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "other")
            self._meters.requests.labels(route, scope["method"], answer.status).inc()
            self._meters.latency.labels(route).observe(spent)
            _log.info("%s: %s in %.1f ms", _told(scope, answer), answer.status, spent * 1000)

    async def _pass(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        is_judged = scope["method"] == "POST" and _JUDGES.fullmatch(scope["path"]) is not None
        if not _OPEN.fullmatch(scope["path"]):
            self._admit(scope, "writer" if is_judged else "reader")
        if is_judged:
            self._take_turn()
        try:
            body = await self._body(scope, receive)
            async with asyncio.timeout(self._limits.seconds):
                started = time.perf_counter()
                await self._app(scope, _replayed(body, receive), answer.send)
                if is_judged and answer.status == 200:
                    self._typical += 0.1 * (time.perf_counter() - started - self._typical)
        except TimeoutError as error:
            reason = f"There was no answer within {self._limits.seconds:g} seconds. Try again."
            raise _RefusalError(504, reason) from error
        finally:
            if is_judged:
                self._at_work -= 1
                self._meters.waiting.set(self._at_work)

    def _admit(self, scope: Scope, role: str) -> None:
        token = self._keyring.find(_given_token(scope))
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

    def _take_turn(self) -> None:
        if self._at_work >= self._limits.at_once:
            wait = max(1, math.ceil(self._typical))
            reason = f"{self._at_work} requests are waiting already. Try again in {wait} s."
            raise _RefusalError(429, reason, {"Retry-After": str(wait)})
        self._at_work += 1
        self._meters.waiting.set(self._at_work)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body before anything is done with it."""
        most = self._limits.body_bytes
        reason = f"The body is larger than {most:,} bytes."
        length = _header(scope, b"content-length")
        if length.isdecimal() and int(length) > most:
            raise _RefusalError(413, reason, {"Connection": "close"})
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
                        raise _RefusalError(413, reason, {"Connection": "close"})
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError as error:
            reason = f"The body took longer than {self._limits.body_seconds:g} seconds."
            raise _RefusalError(408, reason, {"Connection": "close"}) from error


class _Answer:
    """The response on its way out, with the request's id on it."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message["headers"], (b"x-request-id", self.request_id.encode())]}
        await self._send(message)

    async def refuse(self, status: int, reason: str, headers: dict[str, str]) -> None:
        if self.status:  # too late to say anything else
            return
        body = json.dumps({"error": reason, "request_id": self.request_id}).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        listed = [(name.lower().encode(), value.encode()) for name, value in fields.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": listed})
        await self._send({"type": "http.response.body", "body": body})


def token_of(scope: Scope) -> Token:
    """Who was admitted."""
    found: Token = scope["state"]["token"]
    return found


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _given_token(scope: Scope) -> str:
    kind, _, token = _header(scope, b"authorization").partition(" ")
    return token.strip() if kind.lower() == "bearer" else _header(scope, b"x-api-key")


def _told(scope: Scope, answer: _Answer) -> str:
    token = scope.get("state", {}).get("token")
    who = token.name if token else (scope.get("client") or ("somebody",))[0]
    return f"{answer.request_id} {who} {scope['method']} {scope['path']!r}"


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body that was read, then whatever the connection says."""
    is_read = False

    async def next_message() -> Message:
        nonlocal is_read
        if is_read:
            return await receive()
        is_read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


def impatient(seconds: float) -> type[HttpToolsProtocol]:
    """Uvicorn's protocol, with an end to its patience: the headers of a request must be complete within seconds."""
    return type("ImpatientProtocol", (_Impatient,), {"patience": seconds})


class _Impatient(HttpToolsProtocol):
    patience: float
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        self._forget()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.patience, self._give_up)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        client = (self.client or ("somebody",))[0]
        _log.warning("refused: %s sent no complete headers in %g s", client, self.patience)
        self._timer = None
        self.transport.close()
