"""One request's way: read, queued, answered whole or piece by piece, and given up when nobody wants it any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from edgegen_serve.http.auth import check_key, read_json
from edgegen_serve.openai.errors import disconnected, timed_out
from edgegen_serve.openai.responses import DONE, Reply, event
from edgegen_serve.scheduling.scheduler import Ended, Failed, Job, Piece, Scheduler
from edgegen_serve.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from edgegen_serve.openai.requests import Ask


class Answering:
    """An endpoint that asks the model. It is an ASGI application of its own: it has to notice that a client goes.

    Args:
        model: its name.
        scheduler: who answers.
        settings: config.
        parse: reads a body of JSON; gets the model's name, too.
    """

    def __init__(self, model: str, scheduler: Scheduler, settings: Settings, parse: Callable[[Any, str], Ask]) -> None:
        self._model = model
        self._scheduler = scheduler
        self._settings = settings
        self._parse = parse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request, settings = Request(scope, receive), self._settings
        deadline = asyncio.get_running_loop().time() + settings.timeout
        check_key(request.headers, settings.api_key)
        ask = self._parse(await read_json(request, settings.max_body, deadline), self._model)
        reply = Reply(self._model, chat=bool(ask.messages), include_usage=ask.include_usage)
        job = self._scheduler.submit(ask)
        async with self._attended(job, receive, deadline):
            # The first event says whether there will be an answer: errors until then have a status of their own.
            first = await job.next()
            if isinstance(first, Failed):
                raise first.error
            if ask.stream:
                await _stream(job, reply, send)
            else:
                response = JSONResponse(await _whole(job, reply))
                await response(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _attended(self, job: Job, receive: Receive, deadline: float) -> AsyncIterator[None]:
        """End the job when the client goes, when its time is up, or when this task ends."""
        loop = asyncio.get_running_loop()
        late = timed_out(self._settings.timeout)
        timer = loop.call_at(deadline, self._scheduler.cancel, job, late)
        watcher = loop.create_task(self._watch(job, receive))
        try:
            yield
        finally:
            timer.cancel()
            watcher.cancel()
            self._scheduler.cancel(job, disconnected())

    async def _watch(self, job: Job, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._scheduler.cancel(job, disconnected())


async def _whole(job: Job, reply: Reply) -> dict[str, Any]:
    pieces: list[str] = []
    while True:
        match await job.next():
            case Piece(text):
                pieces.append(text)
            case Ended(finish_reason, usage):
                return reply.whole("".join(pieces), finish_reason, usage)
            case Failed(error):
                raise error


async def _stream(job: Job, reply: Reply, send: Send) -> None:
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # or nginx would collect the pieces
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def put(*events: bytes, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": b"".join(events), "more_body": more})

    await put(*map(event, reply.opening()))
    while True:
        match await job.next():
            case Piece(text):
                await put(event(reply.piece(text)))
                # Neither call waits where pieces are there and the network takes them; that the client has gone is
                # noticed, and others are served, only when the event loop gets its turn.
                await asyncio.sleep(0)
            case Ended(finish_reason, usage):
                return await put(*map(event, reply.closing(finish_reason, usage)), DONE, more=False)
            case Failed(error):
                return await put(event(error.body), more=False)  # no DONE: it is not done
