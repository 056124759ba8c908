"""The ASGI application: what answers at which path."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgegen_serve.http.auth import check_key
from edgegen_serve.http.endpoint import Answering
from edgegen_serve.http.page import page
from edgegen_serve.openai.errors import ApiError, internal, no_model
from edgegen_serve.openai.requests import chat_request, completion_request
from edgegen_serve.scheduling.engine import Engine
from edgegen_serve.scheduling.scheduler import Scheduler
from edgegen_serve.settings import Settings

if TYPE_CHECKING:
    from edgegen_runtime import LanguageModel


def create_app(model: LanguageModel, settings: Settings | None = None) -> Starlette:
    """An application that serves ``model``, which is then used by nobody else.

    Its ``state.scheduler`` answers; a server may tell it that the end is near before it ends the application.

    Raises:
        UsageError: the model has no tokenizer.
    """
    settings = settings or Settings()
    engine = Engine(model)
    scheduler = Scheduler(engine, settings.queue)
    card = {"id": engine.name, "object": "model", "created": int(time.time()), "owned_by": "edgegen"}

    async def models(request: Request) -> Response:
        check_key(request.headers, settings.api_key)
        return JSONResponse({"object": "list", "data": [card]})

    async def one_model(request: Request) -> Response:
        check_key(request.headers, settings.api_key)
        if (name := request.path_params["name"]) != engine.name:
            raise no_model(name, engine.name)
        return JSONResponse(card)

    async def health(_: Request) -> Response:
        running, waiting = scheduler.load
        return JSONResponse({"status": "ok", "running": running, "waiting": waiting})

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(scheduler.close)

    app = Starlette(
        routes=[
            Route("/", page),
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", one_model),
            Route("/v1/chat/completions", Answering(engine.name, scheduler, settings, chat_request), methods=["POST"]),
            Route("/v1/completions", Answering(engine.name, scheduler, settings, completion_request), methods=["POST"]),
        ],
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _bug},
        lifespan=lifespan,
    )
    app.state.scheduler = scheduler
    return app


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail.lower()}"
    return JSONResponse(ApiError(error.status_code, message).body, error.status_code, error.headers)


async def _bug(_: Request, error: Exception) -> Response:
    return JSONResponse(internal().body, 500)  # the traceback goes to the server's log
