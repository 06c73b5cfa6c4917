"""Uvicorn's protocol with a timeout for request headers, and a rule for too many connections.

Opening connections costs a client nothing, so a thousand idle ones could hold all places. When all are taken, each new
connection closes an idle one: first those that never sent a request, the oldest first, then those that wait between two
requests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_log = logging.getLogger("duckspect.serve")


def impatient(seconds: float) -> type[HttpToolsProtocol]:
    """Uvicorn's HTTP protocol with a timeout for the headers of a request."""
    return type("ImpatientProtocol", (_HeaderTimeoutProtocol,), {"patience": seconds, "silent": {}, "resting": {}})


class _HeaderTimeoutProtocol(HttpToolsProtocol):
    patience: float
    silent: ClassVar[dict[_HeaderTimeoutProtocol, None]]
    """Connections whose first headers are not complete yet, the oldest first."""
    resting: ClassVar[dict[_HeaderTimeoutProtocol, None]]
    """Connections that wait between two requests, the longest-waiting first."""
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._make_way()
        self.silent[self] = None
        self._await_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        self._forget()
        self.silent.pop(self, None)
        self.resting.pop(self, None)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self in self.connections and not self.pipeline:
            self.resting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self.silent.pop(self, None)
        self.resting.pop(self, None)
        super().connection_lost(exc)

    def _make_way(self) -> None:
        """Close idle connections until there is a place for this one; uvicorn refuses connections beyond its limit."""
        while self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            victims = self.silent or self.resting
            if not victims:
                return
            victim = next(iter(victims))
            del victims[victim]
            self.connections.discard(victim)
            victim.transport.abort()

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
