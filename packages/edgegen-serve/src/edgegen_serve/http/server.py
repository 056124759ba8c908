"""uvicorn around the application: where it listens, and how it ends."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette

from edgegen.errors import ErrorCode, ResourceError, UsageError
from edgegen_serve.http.connection import Connection

_FAREWELL = 5
"""Seconds that clients have to be told that the grace time is over."""


def bind(host: str, port: int, *, guarded: bool) -> socket.socket:
    """A socket at the address, before the model is loaded: an address that is taken should not cost the wait.

    Args:
        host: address or name.
        port: 0: any that is free.
        guarded: there is an API key.

    Raises:
        UsageError: no such host; or others can reach it, and there is no key.
        ResourceError: the address is taken, or no network card has it.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:  # a name that no DNS could have
        reason = error.strerror if isinstance(error, OSError) else "not a name"
        raise UsageError(
            f"there is no host {host!r}: {reason}", code=ErrorCode.UNKNOWN_HOST, hint="--host 127.0.0.1"
        ) from error
    if not guarded and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise UsageError(
            f"other machines can reach {host}, and there is no API key",
            code=ErrorCode.API_KEY_REQUIRED,
            hint="set EDGEGEN_API_KEY, or listen on 127.0.0.1",
        )
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise ResourceError(
            f"cannot listen on {host} port {port}: {(error.strerror or str(error)).lower()}",
            code=ErrorCode.PORT_UNAVAILABLE,
            hint="choose another --port; --port 0 takes one that is free",
        ) from error
    return listener


def url_of(listener: socket.socket) -> str:
    """Where it is reached; by number, as a name may not be one that is answered without a key."""
    address, port, *_ = listener.getsockname()
    return f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"


class Server(uvicorn.Server):
    """Says when it is ready; when told to end, it finishes the answer under way and refuses the rest.

    Args:
        app: of :func:`edgegen_serve.create_app`.
        grace: seconds for the answer under way; then it is ended, and its client is told.
        ready: called once requests are answered.
    """

    def __init__(self, app: Starlette, *, grace: int, ready: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            app, loop="asyncio", http=Connection, ws="none", lifespan="on", access_log=False, log_level="error",
            server_header=False, timeout_graceful_shutdown=grace + _FAREWELL,
        )  # fmt: skip
        super().__init__(config)
        self._scheduler = app.state.scheduler
        self._grace = grace
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: requests that wait hear of it now, the one that is answered when the grace time is over."""
        self._scheduler.drain()
        asyncio.get_running_loop().call_later(self._grace, self._scheduler.stop)
        await super().shutdown(sockets)

    def run_until_told(self, listener: socket.socket) -> None:
        """Serve until SIGINT or SIGTERM, and return."""
        # uvicorn raises the signal again when it has ended, for whoever handled it before; here it has done its work.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            self.run(sockets=[listener])
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
