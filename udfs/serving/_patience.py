"""How long the server waits for the headers of a request."""

from __future__ import annotations

import asyncio
import logging

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_log = logging.getLogger("duckspect.serve")


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
