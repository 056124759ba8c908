"""Endpoint of generation requests: parse, queue, answer whole or as a stream, cancel when the client goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from edgegen_serve.http.auth import check_key, read_json
from edgegen_serve.openai.errors import disconnected, timed_out
from edgegen_serve.openai.responses import DONE, ResponseBuilder, event
from edgegen_serve.scheduling.scheduler import GenerationFailed, GenerationFinished, Job, Scheduler, TextDelta
from edgegen_serve.settings import Settings

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from edgegen_serve.openai.requests import GenerationRequest


class GenerationEndpoint:
    """An endpoint that generates text. It is an ASGI application of its own, to notice that a client disconnects.

    Args:
        model: its name.
        scheduler: who answers.
        settings: config.
        parse: reads a body of JSON; gets the model's name, too.
    """

    def __init__(
        self, model: str, scheduler: Scheduler, settings: Settings, parse: Callable[[Any, str], GenerationRequest]
    ) -> None:
        self._model = model
        self._scheduler = scheduler
        self._settings = settings
        self._parse = parse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request, settings = Request(scope, receive), self._settings
        deadline = asyncio.get_running_loop().time() + settings.timeout
        check_key(request.headers, settings.api_key)
        wanted = self._parse(await read_json(request, settings.max_body, deadline), self._model)
        builder = ResponseBuilder(self._model, chat=bool(wanted.messages), include_usage=wanted.include_usage)
        job = self._scheduler.submit(wanted)
        async with self._cancelling(job, receive, deadline):
            # The first event says whether there will be an answer: errors until then have a status of their own.
            first = await job.next()
            if isinstance(first, GenerationFailed):
                raise first.error
            if wanted.stream:
                await _stream(job, builder, send)
            else:
                response = JSONResponse(await _whole(job, builder))
                await response(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _cancelling(self, job: Job, receive: Receive, deadline: float) -> AsyncIterator[None]:
        """Cancel the job when the client disconnects, at the deadline, or when this task ends."""
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


async def _whole(job: Job, builder: ResponseBuilder) -> dict[str, Any]:
    pieces: list[str] = []
    while True:
        match await job.next():
            case TextDelta(text):
                pieces.append(text)
            case GenerationFinished(finish_reason, usage):
                return builder.whole("".join(pieces), finish_reason, usage)
            case GenerationFailed(error):
                raise error


async def _stream(job: Job, builder: ResponseBuilder, send: Send) -> None:
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),  # or nginx would collect the pieces
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})

    async def put(*events: bytes, more: bool = True) -> None:
        await send({"type": "http.response.body", "body": b"".join(events), "more_body": more})

    await put(*map(event, builder.opening()))
    while True:
        match await job.next():
            case TextDelta(text):
                await put(event(builder.piece(text)))
                # Neither call waits where deltas are there and the network takes them; that the client has gone is
                # noticed, and others are served, only when the event loop gets its turn.
                await asyncio.sleep(0)
            case GenerationFinished(finish_reason, usage):
                return await put(*map(event, builder.closing(finish_reason, usage)), DONE, more=False)
            case GenerationFailed(error):
                return await put(event(error.body), more=False)  # no DONE: it is not done
