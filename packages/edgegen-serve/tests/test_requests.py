"""Requests that are wrong, field by field; and what the right ones come to."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen_runtime import ResponseFormat
from edgegen_serve.openai.errors import ApiError
from edgegen_serve.openai.requests import chat_request, completion_request

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
COMPLETION = {"model": "m", "prompt": "hi"}


def schema(**fields):
    return {"type": "json_schema", "json_schema": {"name": "x", **fields}}


@pytest.mark.parametrize(
    ("change", "status", "param", "message"),
    [
        ({"messages": None}, 400, "messages", "messages is missing"),
        ({"messages": "hi"}, 400, "messages", "should be an array, but is a string"),
        ({"messages": ["hi"]}, 400, "messages[0]", "should be an object, but is a string"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400, "messages[0].role", "one of system, developer, user"),
        ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "is missing"),
        ({"messages": [{"role": "user", "content": 7}]}, 400, "messages[0].content", "array of text parts"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content[0].type",
         "should be text"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "messages[0].content", "surrogate"),
        ({"messages": [{"role": "user", "content": "x", "tool_calls": [{}]}]}, 400, "messages[0].tool_calls",
         "not supported"),
        ({"model": "other"}, 404, "model", "only m"),
        ({"model": "x" * 9999}, 404, "model", "xxx…"),
        ({"temperature": "hot"}, 400, "temperature", "should be a number, but is a string"),
        ({"temperature": True}, 400, "temperature", "but is a boolean"),
        ({"temperature": -0.1}, 400, "temperature", "at least 0 and at most 2"),
        ({"temperature": float("inf")}, 400, "temperature", "at most 2"),
        ({"temperature": 10**400}, 400, "temperature", "at most 2"),
        ({"top_p": 0}, 400, "top_p", "above 0"),
        ({"presence_penalty": 2.1}, 400, "presence_penalty", "at most 2"),
        ({"seed": 1.5}, 400, "seed", "an integer, but is a number"),
        ({"seed": 2**63}, 400, "seed", "out of range"),
        ({"max_tokens": 0}, 400, "max_tokens", "at least 1"),
        ({"stop": 7}, 400, "stop", "a string or an array of strings"),
        ({"stop": list("abcde")}, 400, "stop", "at most 4"),
        ({"stop": [""]}, 400, "stop", "empty"),
        ({"stop": ["a", 1]}, 400, "stop[1]", "a string, but is an integer"),
        ({"logit_bias": [1]}, 400, "logit_bias", "an object"),
        ({"logit_bias": {"a": 1}}, 400, "logit_bias", "token ids"),
        ({"logit_bias": {"²": 1}}, 400, "logit_bias", "token ids"),
        ({"logit_bias": {"1": 101}}, 400, "logit_bias.1", "at most 100"),
        ({"stream": 1}, 400, "stream", "a boolean, but is an integer"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options", "set stream to true"),
        ({"stream": True, "stream_options": {"include_usag": True}}, 400, "stream_options.include_usag",
         "include_usage?"),
        ({"response_format": {"type": "xml"}}, 400, "response_format.type", "text, json_object or json_schema"),
        ({"response_format": schema()}, 400, "response_format.json_schema.schema", "missing"),
        ({"response_format": schema(schema=[])}, 400, "response_format.json_schema.schema", "an object"),
        ({"temprature": 1}, 400, "temprature", "did you mean temperature?"),
        ({"x" * 9999: 1}, 400, "x" * 100, "unknown field"),
        ({"n": 2}, 400, "n", "not supported here"),
        ({"n": True}, 400, "n", "not supported here"),
        ({"logprobs": True}, 400, "logprobs", "not supported here"),
        ({"tools": [{}]}, 400, "tools", "not supported here"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change, status, param, message):
    with pytest.raises(ApiError) as raised:
        chat_request({**CHAT, **change}, "m")
    error = raised.value
    assert (error.status, error.param) == (status, param)
    assert message in error.message
    assert len(error.message) < 300
    json.dumps(error.body, allow_nan=False)


FIELDS = [
    "messages", "prompt", "max_tokens", "max_completion_tokens", "temperature", "top_p", "presence_penalty", "seed",
    "logit_bias", "stop", "stream", "stream_options", "response_format", "n", "logprobs", "tools", "user", "other",
    "role", "content", "type", "text", "json_schema", "schema", "name",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["user", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6), st.sampled_from([CHAT, COMPLETION]))
def test_whatever_is_asked_is_understood_or_refused(change, right):
    read = chat_request if right is CHAT else completion_request
    with suppress(ApiError):
        ask = read({**right, **change}, "m")
        assert ask.messages or isinstance(ask.prompt, (str, list))


def test_a_schema_that_is_nested_too_deeply_is_refused():
    deep: dict = {"type": "null"}
    for _ in range(100_000):
        deep = {"not": deep}
    with pytest.raises(ApiError, match="nested too deeply"):
        chat_request({**CHAT, "response_format": schema(schema=deep)}, "m")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (7, "a string or an array of token ids"),
        ([], "one text, or the token ids of one"),
        (["a", "b"], "one request for each prompt"),
        ([1, True], "one text"),
        ([[1], [2]], "one text"),
    ],
)
def test_a_prompt_is_one_text(prompt, message):
    with pytest.raises(ApiError, match=message):
        completion_request({**COMPLETION, "prompt": prompt}, "m")


@pytest.mark.parametrize(
    ("prompt", "read"), [("hi", "hi"), (["hi"], "hi"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2]), ("", "")]
)
def test_a_prompt_has_several_spellings(prompt, read):
    assert completion_request({**COMPLETION, "prompt": prompt}, "m").prompt == read


@pytest.mark.parametrize("field", ["echo", "suffix", "best_of", "logprobs"])
def test_what_completions_lack_is_refused(field):
    asking = {"echo": True, "suffix": "x", "best_of": 3, "logprobs": 0}
    with pytest.raises(ApiError, match=f"{field} is not supported here"):
        completion_request({**COMPLETION, field: asking[field]}, "m")


@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_a_body_is_an_object(body):
    with pytest.raises(ApiError, match="should be a JSON object"):
        chat_request(body, "m")


def test_what_changes_nothing_is_allowed():
    unsaid = dict.fromkeys(["temperature", "stop", "tools", "logit_bias", "response_format", "stream", "seed"])
    harmless = {"user": "me", "metadata": {"a": "b"}, "store": False, "n": 1, "tools": [], "tool_choice": "auto"}
    plain = chat_request(CHAT, "m")
    assert chat_request({**CHAT, **unsaid, **harmless}, "m") == plain
    assert (plain.options.temperature, plain.options.top_p, plain.max_new_tokens) == (1, 1, None)


def test_everything_arrives():
    ask = chat_request({
        "model": "m",
        "messages": [{"role": "developer", "content": "a"}, {"role": "user", "content": "b", "name": "Z"}],
        "temperature": 0.5, "top_p": 0.25, "presence_penalty": 1, "frequency_penalty": -1, "seed": -1, "stop": "end",
        "logit_bias": {"3": -100}, "max_completion_tokens": 9, "max_tokens": 4, "stream": True,
        "stream_options": {"include_usage": True}, "response_format": schema(schema={"type": "null"}, strict=True),
    }, "m")  # fmt: skip
    assert ask.messages == [{"role": "system", "content": "a"}, {"role": "user", "content": "b", "name": "Z"}]
    options = ask.options
    assert (options.temperature, options.top_p, options.presence_penalty, options.frequency_penalty) == (
        0.5,
        0.25,
        1,
        -1,
    )
    assert (options.seed, options.logit_bias) == (2**64 - 1, {3: -100})
    assert (ask.max_new_tokens, ask.stop, ask.stream, ask.include_usage) == (9, ("end",), True, True)
    assert ask.response_format == ResponseFormat.json_schema({"type": "null"})
