"""uvicorn's HTTP/1.1 connection, made to wait for nobody for ever."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

PATIENCE = 10.0
"""Seconds for the head of a request, for the rest of a body that was refused, and for a client that reads nothing."""


class Connection(H11Protocol):
    """Closes where uvicorn would wait: for a head that never ends, and for a client that stopped reading.

    While a request is answered the application's own time limit holds; between requests uvicorn closes a connection on
    which nothing comes.
    """

    patience = PATIENCE
    _sending: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """A client has connected."""
        super().connection_made(transport)
        self._sending = self.loop.call_later(self.patience, transport.abort)

    def data_received(self, data: bytes) -> None:
        """A client has sent something. Only a whole head wins it more time."""
        super().data_received(data)
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and self._sending is not None:
            self._sending.cancel()
            self._sending = None
        elif not answering and self._sending is None:
            self._sending = self.loop.call_later(self.patience, self.transport.abort)

    def pause_writing(self) -> None:
        """What was written does not go out: the client does not read."""
        super().pause_writing()
        self._reading = self.loop.call_later(self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        super().connection_lost(exc)
        for timer in (self._sending, self._reading):
            if timer is not None:
                timer.cancel()
