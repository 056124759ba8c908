"""What is refused before the model hears of it: strangers, and bodies that are too large or no JSON."""

from __future__ import annotations

import json
import secrets

import httpx
import openai
import pytest
from starlette.datastructures import Headers

from edgegen_serve.http.auth import check_key

KEY = "s3cret-key"


@pytest.mark.parametrize(
    "content", [b"{", b"", b"\xff\xfe", b"[" * 15_000, b'{"model": NaN}', b'{"n": ' + b"1" * 5000 + b"}", b"<html>"]
)
def test_malformed_json_is_refused(live, content):
    response = live.post(content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert "JSON" in error["message"]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_foreign_form_cannot_ask(live, ask, kind):
    """Browsers let any page send these without asking the server first."""
    headers = {"Content-Type": kind} if kind else {}
    response = live.post(content=json.dumps(ask()).encode(), headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_a_foreign_page_is_not_allowed_to_send_json(live):
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    response = live.request("OPTIONS", "/v1/chat/completions", headers=headers)
    assert response.status_code == 405
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_and_the_connection_lives(live, ask, chunked):
    content = iter([b" " * 10_000] * 200) if chunked else b" " * 2_000_000
    with httpx.Client(base_url=live.url) as client:
        response = client.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
        assert (response.status_code, response.json()["error"]["code"]) == (413, "request_too_large")
        live.say("fox")
        again = client.post("/v1/chat/completions", json=ask())
        assert again.json()["choices"][0]["message"]["content"] == "fox"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("LOCALHOST", 200),
        ("127.8.8.8:1", 200),
        ("evil.example", 403), ("localhost.evil.example:80", 403), ("[::", 403), ("127.0.0.1@evil.example", 403),
    ],
)  # fmt: skip
def test_without_a_key_only_local_names_are_answered(live, host, status):
    """A page whose own name was made to point here would otherwise be of the same origin."""
    assert live.get("/v1/models", headers={"Host": host}).status_code == status


@pytest.fixture
def guarded(serve):
    return serve(api_key=KEY, max_body=20_000)


def test_a_wrong_key_is_refused_everywhere(guarded, ask):
    wrong = {
        None: "no API key", "Bearer": "no API key", KEY: "no API key",
        "Bearer wrong": "wrong API key", f"Bearer {KEY}x": "wrong API key", f"Basic {KEY}": "wrong API key",
        "Bearer schlüssel".encode("latin-1"): "wrong API key",
    }  # fmt: skip
    for header, message in wrong.items():
        headers = {"Authorization": header} if header else {}
        answers = [
            guarded.get("/v1/models", headers=headers),
            guarded.get("/v1/models/parrot-100k", headers=headers),
            guarded.post(ask(), headers=headers),
            guarded.post({"model": "parrot-100k", "prompt": "x"}, path="/v1/completions", headers=headers),
            # Who has no key is told nothing about what was sent, not even its size.
            guarded.post(content=b"x" * 100_000, headers=headers),
        ]
        assert [answer.status_code for answer in answers] == [401] * 5
        for answer in answers:
            assert message in answer.json()["error"]["message"]
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert KEY not in answer.text


def test_keys_are_compared_whole(monkeypatch):
    """Comparing letter by letter would tell by its time how much of a guess is right."""
    compared = []
    monkeypatch.setattr(secrets, "compare_digest", lambda *pair: compared.append(pair) or True)
    check_key(Headers({"authorization": "bearer abc"}), "abd")
    assert compared == [(b"abc", b"abd")]


def test_the_right_key_opens(guarded):
    guarded.say("fox")
    options = {"model": "parrot-100k", "messages": [{"role": "user", "content": "x"}]}
    assert guarded.client(KEY).chat.completions.create(**options).choices[0].message.content == "fox"
    with pytest.raises(openai.AuthenticationError, match="wrong API key"):
        guarded.client("guess").chat.completions.create(**options)


def test_the_page_and_health_need_no_key(guarded):
    assert guarded.get("/").status_code == 200
    assert guarded.get("/health").json() == {"status": "ok", "running": 0, "waiting": 0}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/chat/completions", 405), ("POST", "/v1/models", 405), ("GET", "/v1/embeddings", 404)],
)
def test_what_is_not_there_is_an_error_of_the_same_form(live, method, path, status):
    response = live.request(method, path)
    assert response.status_code == status
    assert path in response.json()["error"]["message"]
