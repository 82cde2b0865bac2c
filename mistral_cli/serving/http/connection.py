"""A connection of the HTTP server that closes when its client sends no request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

IDLE_SECONDS = 30.0


class TimedConnection(H11Protocol):
    """Closes when no complete head of a request has arrived for some time.

    uvicorn limits how long a connection is idle after a reply, but not before the first request,
    nor in the middle of a head.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch the connection."""
        super().connection_made(transport)
        self.loop.call_later(IDLE_SECONDS, self._close_if_idle, None)

    def _close_if_idle(self, last_request: object) -> None:
        request = self.cycle
        if request is last_request and (request is None or request.response_complete):
            self.transport.close()
        elif not self.transport.is_closing():
            self.loop.call_later(IDLE_SECONDS, self._close_if_idle, request)
