"""Connection timeouts: limits on how long a client may hold a connection without using it.

uvicorn takes any ``asyncio.Protocol`` as its ``http``. :class:`Connection` is one, around uvicorn's own for HTTP/1.1.
It sees what no ASGI application does: a head that never ends, and a client that stopped reading. From
:class:`ConnectionTimeouts`, an ASGI middleware, it learns when a request is being answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.importer import import_from_string

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PATIENCE = 10.0
"""Seconds for the head of a request, for the rest of a body that was refused, and for a client that reads nothing."""

_STATE = "edgegen.connection"


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection that is aborted where uvicorn would wait for ever.

    While a request is answered the application's own time limit holds; between requests uvicorn closes a connection on
    which nothing comes.
    """

    patience = PATIENCE

    def __init__(self, *, app_state: dict[str, Any], **arguments: Any) -> None:
        make = import_from_string(HTTP_PROTOCOLS["h11"])
        self._http: asyncio.Protocol = make(app_state={**app_state, _STATE: self}, **arguments)
        self._head_timer, self._write_timer = _Timer(self.patience), _Timer(self.patience)
        self._abort: Callable[[], None] = lambda: None
        self._answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer of the first head."""
        self._abort = cast("asyncio.Transport", transport).abort
        self._http.connection_made(transport)
        self._head_timer.start(self._abort)

    def data_received(self, data: bytes) -> None:
        """Pass data on. Outside a request it starts the timer of the next head, which further data does not extend."""
        self._http.data_received(data)
        if not self._answering:
            self._head_timer.start(self._abort)

    def eof_received(self) -> bool | None:
        """Pass on that the client has closed its side."""
        return self._http.eof_received()

    def pause_writing(self) -> None:
        """Start the timer of a client that does not read."""
        self._http.pause_writing()
        self._write_timer.start(self._abort)

    def resume_writing(self) -> None:
        """Stop that timer: the client reads again."""
        self._http.resume_writing()
        self._write_timer.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all timers."""
        self._http.connection_lost(exc)
        self._head_timer.stop()
        self._write_timer.stop()

    def request_started(self) -> None:
        """Stop the timer of the head, which has come."""
        self._answering = True
        self._head_timer.stop()

    def request_finished(self) -> None:
        """Note that the application has answered."""
        self._answering = False


class ConnectionTimeouts:
    """ASGI middleware that tells a :class:`Connection` when its request is being answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        connection = scope.get("state", {}).get(_STATE) if scope["type"] == "http" else None
        if not isinstance(connection, Connection):
            return await self._app(scope, receive, send)
        connection.request_started()
        try:
            await self._app(scope, receive, send)
        finally:
            connection.request_finished()


class _Timer:
    """A one-shot timer; starting it again does not extend it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._handle: asyncio.TimerHandle | None = None

    def start(self, action: Callable[[], None]) -> None:
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, action)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
