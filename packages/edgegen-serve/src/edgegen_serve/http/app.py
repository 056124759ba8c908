"""ASGI application: routes, error handlers and the life of the scheduler."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from edgegen_serve.http.auth import check_key
from edgegen_serve.http.endpoint import GenerationEndpoint
from edgegen_serve.http.openapi import docs, openapi
from edgegen_serve.http.ui import chat_page
from edgegen_serve.openai.errors import ApiError, internal, no_model
from edgegen_serve.openai.requests import chat_request, completion_request
from edgegen_serve.openai.response_bodies import Health, ModelCard, ModelList
from edgegen_serve.scheduling.engine import Engine
from edgegen_serve.scheduling.scheduler import Scheduler
from edgegen_serve.settings import Settings

if TYPE_CHECKING:
    from edgegen_runtime import LanguageModel


def create_app(model: LanguageModel, settings: Settings | None = None) -> Starlette:
    """ASGI application that serves ``model``, which nobody else may use then.

    Its ``state.scheduler`` answers; a server may drain it before it ends the application.

    Raises:
        UsageError: the model has no tokenizer.
    """
    settings = settings or Settings()
    engine = Engine(model)
    scheduler = Scheduler(engine, settings.queue)
    card = ModelCard(id=engine.name, created=int(time.time()))

    async def models(request: Request) -> Response:
        check_key(request.headers, settings.api_key)
        return JSONResponse(ModelList(data=[card]).model_dump())

    async def one_model(request: Request) -> Response:
        check_key(request.headers, settings.api_key)
        if (name := request.path_params["name"]) != engine.name:
            raise no_model(name, engine.name)
        return JSONResponse(card.model_dump())

    async def health(_: Request) -> Response:
        running, waiting = scheduler.load
        return JSONResponse(Health(running=running, waiting=waiting).model_dump())

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(scheduler.close)

    endpoint = partial(GenerationEndpoint, engine.name, scheduler, settings)
    app = Starlette(
        routes=[
            Route("/", chat_page),
            Route("/docs", docs),
            Route("/openapi.json", openapi),
            Route("/health", health),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", one_model),
            Route("/v1/chat/completions", endpoint(chat_request), methods=["POST"]),
            Route("/v1/completions", endpoint(completion_request), methods=["POST"]),
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
