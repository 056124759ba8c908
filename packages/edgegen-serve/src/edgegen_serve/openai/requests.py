"""From the JSON of a request to what the runtime is asked for. Ranges and defaults are those of OpenAI's API.

https://platform.openai.com/docs/api-reference/chat/create and https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgegen_runtime import ResponseFormat, SamplingOptions
from edgegen_serve.openai.errors import invalid, no_model, shown
from edgegen_serve.openai.fields import Fields, number_of, text_of, wrong_type

Message = dict[str, Any]

_IGNORED = frozenset(
    {"user", "metadata", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "service_tier"}
)
"""They are about the service, not about the answer."""

_BOTH: dict[str, tuple[Any, ...]] = {"n": (1,)}
_CHAT = {
    **_BOTH,
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
}
_COMPLETION = {**_BOTH, "logprobs": (), "best_of": (1,), "echo": (False,), "suffix": ("",)}
"""Unsupported fields of OpenAI's API, and the values that ask for nothing."""

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_MAX_STOPS = 4
_COMPLETION_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A request for one answer.

    Attributes:
        messages: a conversation to answer.
        prompt: without messages, a text or token ids to continue.
        options: how to choose tokens.
        max_new_tokens: None: as many as the cache holds.
        stop: texts that end the answer.
        form: what it has to look like.
        stream: piece by piece.
        include_usage: a stream ends with the counts of tokens.
    """

    messages: list[Message] = field(default_factory=list)
    prompt: str | list[int] = ""
    options: SamplingOptions
    max_new_tokens: int | None
    stop: tuple[str, ...]
    form: ResponseFormat | None = None
    stream: bool = False
    include_usage: bool = False

    @property
    def prompt_field(self) -> str:
        """The field of the request that holds the prompt."""
        return "messages" if self.messages else "prompt"


def chat_request(body: Any, model: str) -> Ask:
    """Read the body of ``/v1/chat/completions``.

    Raises:
        ApiError: it is wrong, or asks for what is not supported.
    """
    fields = Fields(body)
    _check_model(fields, model)
    stream, include_usage = _streaming(fields)
    older = fields.integer("max_tokens", 1)
    newer = fields.integer("max_completion_tokens", 1)
    ask = Ask(
        messages=_messages(fields.required("messages")),
        options=_options(fields),
        max_new_tokens=older if newer is None else newer,
        stop=_stop(fields.take("stop")),
        response_format=_form(fields.take("response_format")),
        stream=stream,
        include_usage=include_usage,
    )
    fields.finish(ignored=_IGNORED, neutral=_CHAT)
    return ask


def completion_request(body: Any, model: str) -> Ask:
    """Read the body of ``/v1/completions``.

    Raises:
        ApiError: it is wrong, or asks for what is not supported.
    """
    fields = Fields(body)
    _check_model(fields, model)
    stream, include_usage = _streaming(fields)
    ask = Ask(
        prompt=_prompt(fields.required("prompt")),
        options=_options(fields),
        max_new_tokens=fields.integer("max_tokens", 1) or _COMPLETION_TOKENS,
        stop=_stop(fields.take("stop")),
        stream=stream,
        include_usage=include_usage,
    )
    fields.finish(ignored=_IGNORED, neutral=_COMPLETION)
    return ask


def _check_model(fields: Fields, model: str) -> None:
    name = fields.text("model")
    if name != model:
        raise no_model(name, model)


def _streaming(fields: Fields) -> tuple[bool, bool]:
    stream, options = fields.flag("stream"), fields.take("stream_options")
    if options is None:
        return stream, False
    if not stream:
        raise invalid("stream_options", "stream_options is for streams; set stream to true")
    inner = Fields(options, "stream_options")
    include_usage = inner.flag("include_usage")
    inner.finish(ignored={"include_obfuscation"})
    return stream, include_usage


def _options(fields: Fields) -> SamplingOptions:
    return SamplingOptions(
        temperature=fields.number("temperature", 1.0, 0, 2),
        top_p=fields.number("top_p", 1.0, 0, 1, above=True),
        presence_penalty=fields.number("presence_penalty", 0.0, -2, 2),
        frequency_penalty=fields.number("frequency_penalty", 0.0, -2, 2),
        logit_bias=_logit_bias(fields.take("logit_bias")),
        seed=_seed(fields),
    )


def _seed(fields: Fields) -> int | None:
    """The runtime's seeds are not negative; OpenAI's may be."""
    seed = fields.integer("seed", -(2**63))
    return None if seed is None else seed % 2**64


def _logit_bias(value: Any) -> dict[int, float]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong_type("logit_bias", value, "an object")
    biases = {}
    for key, bias in value.items():
        if not (key.isascii() and key.isdigit() and len(key) < 10):
            raise invalid("logit_bias", f"logit_bias should have token ids as its names, but has {shown(key)}")
        biases[int(key)] = number_of(bias, f"logit_bias.{key}", -100, 100)
    return biases


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list):
        raise wrong_type("stop", value, "a string or an array of strings")
    if len(texts) > _MAX_STOPS:
        raise invalid("stop", f"stop should have at most {_MAX_STOPS} strings, but has {len(texts)}")
    stops = tuple(text_of(text, f"stop[{index}]") for index, text in enumerate(texts))
    if not all(stops):
        raise invalid("stop", "stop has an empty string")
    return stops


def _form(value: Any) -> ResponseFormat | None:
    if value is None:
        return None
    fields = Fields(value, "response_format")
    kind = fields.text("type")
    if kind == "json_schema":
        inner = Fields(fields.required("json_schema"), "response_format.json_schema")
        schema = inner.required("schema")
        if not isinstance(schema, dict):
            raise wrong_type("response_format.json_schema.schema", schema, "an object")
        inner.finish(ignored={"name", "description", "strict"})
    elif kind not in ("text", "json_object"):
        raise invalid("response_format.type", "response_format.type should be text, json_object or json_schema")
    fields.finish()
    if kind == "text":
        return None
    try:
        return ResponseFormat.json_schema(schema if kind == "json_schema" else {"type": "object"})
    except RecursionError as error:
        raise invalid("response_format", "the schema is nested too deeply") from error


def _messages(value: Any) -> list[Message]:
    if not isinstance(value, list):
        raise wrong_type("messages", value, "an array")
    if not value:
        raise invalid("messages", "messages is empty; give at least one message")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(value)]


def _message(value: Any, path: str) -> Message:
    fields = Fields(value, path)
    role = fields.text("role")
    if role not in _ROLES:
        raise invalid(f"{path}.role", f"{path}.role should be one of {', '.join(_ROLES)}")
    message: Message = {"role": _ROLES[role], "content": _content(fields.required("content"), f"{path}.content")}
    if (name := fields.take("name")) is not None:
        message["name"] = text_of(name, f"{path}.name")  # some templates show it
    fields.finish(neutral={"tool_calls": ([],), "function_call": (), "audio": (), "refusal": ()})
    return message


def _content(value: Any, path: str) -> str:
    if isinstance(value, list):
        return "".join(_part(part, f"{path}[{index}]") for index, part in enumerate(value))
    if not isinstance(value, str):
        raise wrong_type(path, value, "a string or an array of text parts")
    return text_of(value, path)


def _part(value: Any, path: str) -> str:
    fields = Fields(value, path)
    kind = fields.text("type")
    if kind != "text":
        raise invalid(f"{path}.type", f"{path}.type should be text; the model reads nothing else")
    text = fields.text("text")
    fields.finish()
    return text


def _prompt(value: Any) -> str | list[int]:
    if isinstance(value, str):
        return text_of(value, "prompt")
    if not isinstance(value, list):
        raise wrong_type("prompt", value, "a string or an array of token ids")
    if value and all(type(item) is int for item in value):
        return value
    if len(value) == 1 and isinstance(value[0], (str, list)):
        return _prompt(value[0])
    raise invalid("prompt", "prompt should be one text, or the token ids of one; send one request for each prompt")
