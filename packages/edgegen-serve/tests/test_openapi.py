"""The OpenAPI description: complete, consistent, and true of what the server sends."""

from __future__ import annotations

import json

import pytest
from starlette.routing import Route

from edgegen_serve.http.openapi import document
from edgegen_serve.openai.request_bodies import ChatCompletionRequest
from edgegen_serve.openai.response_bodies import ChatCompletion, Completion, Error, Health, ModelCard, ModelList

PAGES = {"/", "/docs", "/openapi.json"}


def references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_it_describes_every_route(live):
    routes = {
        (method.lower(), route.path.replace(":path", ""))
        for route in live.server.config.app._app.routes
        if isinstance(route, Route) and route.path not in PAGES
        for method in (route.methods or {"POST"}) - {"HEAD"}
    }
    described = {(method, path) for path, methods in document()["paths"].items() for method in methods}
    assert described == routes


def test_every_reference_resolves():
    spec = document()
    found = set(references(spec))
    assert found
    for reference in found:
        node = spec
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_fields_have_their_ranges_and_defaults():
    schemas = document()["components"]["schemas"]
    request = schemas["ChatCompletionRequest"]
    assert set(request["required"]) == {"model", "messages"}
    temperature = request["properties"]["temperature"]
    assert (temperature["minimum"], temperature["maximum"], temperature["default"]) == (0, 2, 1)
    assert request["properties"].keys() == ChatCompletionRequest.model_fields.keys()
    assert request["additionalProperties"] is False
    content = schemas["ChatMessage"]["properties"]["content"]
    assert {option["type"] for option in content["anyOf" if "anyOf" in content else "oneOf"]} == {"string", "array"}
    assert "schema" in schemas["JsonSchema"]["properties"]


def test_responses_are_as_described(live, ask):
    live.say("the fox")
    ChatCompletion.model_validate(live.post(ask()).json(), strict=True, extra="forbid")
    live.say("the fox")
    completion = live.post({"model": "parrot-100k", "prompt": "the"}, path="/v1/completions").json()
    Completion.model_validate(completion, strict=True, extra="forbid")
    ModelList.model_validate(live.get("/v1/models").json(), strict=True, extra="forbid")
    ModelCard.model_validate(live.get("/v1/models/parrot-100k").json(), strict=True, extra="forbid")
    Health.model_validate(live.get("/health").json(), strict=True, extra="forbid")
    Error.model_validate(live.post(ask(n=2)).json(), strict=True, extra="forbid")
    Error.model_validate(live.get("/nowhere").json(), strict=True, extra="forbid")


def test_it_is_served(live):
    assert live.get("/openapi.json").json() == json.loads(json.dumps(document()))


def test_the_page_shows_fields_and_needs_no_script(live):
    page = live.get("/docs")
    assert "<code>max_completion_tokens</code>" in page.text
    assert "<script" not in page.text
    assert "script-src 'none'" in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize("missing", ["pydantic", "starlette", "uvicorn"])
def test_a_package_that_is_missing_is_named_with_its_remedy(missing, monkeypatch, tmp_path):
    import sys

    from click.testing import CliRunner

    from edgegen.errors import UsageError
    from edgegen_serve.cli import serve

    for name in [name for name in sys.modules if name.partition(".")[0] in (missing, "edgegen_serve")]:
        if name not in ("edgegen_serve", "edgegen_serve.cli"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    error = CliRunner().invoke(serve, [str(tmp_path)]).exception
    assert isinstance(error, UsageError)
    assert (error.code, error.hint) == ("EG127", "pip install edgegen-serve")
    assert missing in error.message
