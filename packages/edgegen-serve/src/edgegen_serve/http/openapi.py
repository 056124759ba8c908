"""OpenAPI description of the server, made from the models of its bodies, and a page that shows it."""

from __future__ import annotations

import functools
from html import escape
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from edgegen_serve._version import __version__
from edgegen_serve.http.ui import html_response
from edgegen_serve.openai import request_bodies as requests
from edgegen_serve.openai import response_bodies as responses

_OPERATIONS: tuple[tuple[str, str, str, type[BaseModel] | None, type[BaseModel]], ...] = (
    ("post", "/v1/chat/completions", "Answer a conversation", requests.ChatCompletionRequest, responses.ChatCompletion),
    ("post", "/v1/completions", "Continue a text", requests.CompletionRequest, responses.Completion),
    ("get", "/v1/models", "List the model that is served", None, responses.ModelList),
    ("get", "/v1/models/{name}", "Describe the model that is served", None, responses.ModelCard),
    ("get", "/health", "Requests being answered and waiting; needs no key", None, responses.Health),
)
"""Method, path, summary, body and response of each operation."""

_NOTE = "Chat completions and completions as OpenAI's API has them. A field that is null counts as absent."
_STYLE = (
    "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "td{padding:.1rem 1rem .1rem 0;vertical-align:top}"
)


@functools.cache
def document() -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    bodies = {body for *_, body, _ in _OPERATIONS if body}
    answers = {response for *_, response in _OPERATIONS} | {responses.Error}
    modes: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in bodies]
    modes += [(model, "serialization") for model in answers]
    modes.sort(key=lambda pair: pair[0].__name__)
    references, definitions = models_json_schema(modes, ref_template="#/components/schemas/{model}")
    schemas = {model: reference for (model, _), reference in references.items()}
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, body, response in _OPERATIONS:
        operation: dict[str, Any] = {
            "summary": summary,
            "responses": {
                "200": {"description": "OK", "content": _json(schemas[response])},
                "default": {"description": "Error", "content": _json(schemas[responses.Error])},
            },
        }
        if body is not None:
            operation["requestBody"] = {"required": True, "content": _json(schemas[body])}
            operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}
        if "{name}" in path:
            operation["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
        if path == "/health":
            operation["security"] = []
        paths.setdefault(path, {})[method] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edgegen-serve",
            "version": __version__,
            "description": "A field that is null counts as absent.",
        },
        "paths": paths,
        "security": [{}, {"key": []}],
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


async def openapi(_: Request) -> Response:
    """``/openapi.json``: needs no key, as it is the same for every server."""
    return JSONResponse(document())


async def docs(_: Request) -> Response:
    """``/docs``: the operations and the fields of their bodies as a page, without scripts."""
    return html_response(_page())


@functools.cache
def _page() -> str:
    spec = document()
    sections = []
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            sections.append(
                f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}</p>"
            )
            if "requestBody" in operation:
                sections.append(_table(spec, operation["requestBody"]["content"]["application/json"]["schema"]))
    title = "edgegen-serve API"
    head = f"<meta charset=utf-8><title>{title}</title><style>{_STYLE}</style>"
    body = f"<h1>{title}</h1>{''.join(sections)}<p><a href=openapi.json>openapi.json</a>"
    return f"<!doctype html><html lang=en>{head}{body}"


def _table(spec: dict[str, Any], reference: dict[str, Any]) -> str:
    schema = spec["components"]["schemas"][reference["$ref"].rpartition("/")[2]]
    rows = (
        f"<tr><td><code>{escape(name)}</code><td>{'required' if name in schema.get('required', ()) else ''}"
        f"<td>{escape(str(field.get('default', '')))}<td>{escape(field.get('description', ''))}"
        for name, field in schema["properties"].items()
    )
    return f"<table><tr><th>field<th><th>default<th>{''.join(rows)}</table>"


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
