"""Generation requests: what the model is asked for, independent of the endpoint that it came through."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgegen_runtime import ResponseFormat, SamplingOptions
from edgegen_serve.openai.errors import invalid, no_model
from edgegen_serve.openai.request_bodies import ChatCompletionRequest, ChatMessage, CompletionRequest, GenerationBody
from edgegen_serve.openai.validation import validate

Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """A request for one answer.

    Attributes:
        messages: conversation to answer; empty: continue ``prompt``.
        prompt: text or token ids to continue.
        options: sampling options.
        max_new_tokens: length limit in tokens; None: what the KV cache holds.
        stop: stop strings.
        response_format: grammar of the answer.
        stream: send the answer piece by piece.
        include_usage: end the stream with token counts.
    """

    messages: list[Message] = field(default_factory=list)
    prompt: str | list[int] = ""
    options: SamplingOptions
    max_new_tokens: int | None
    stop: tuple[str, ...]
    response_format: ResponseFormat | None = None
    stream: bool = False
    include_usage: bool = False

    @property
    def prompt_field(self) -> str:
        """Name of the field of the body that holds the prompt."""
        return "messages" if self.messages else "prompt"


def chat_request(body: Any, model: str) -> GenerationRequest:
    """The body of ``/v1/chat/completions`` as a generation request.

    Raises:
        ApiError: it is wrong, names another model than ``model``, or asks for something that is not supported.
    """
    parsed = validate(ChatCompletionRequest, body)
    limit = parsed.max_tokens if parsed.max_completion_tokens is None else parsed.max_completion_tokens
    return GenerationRequest(
        messages=[_message(message) for message in parsed.messages],
        max_new_tokens=limit,
        response_format=_response_format(parsed),
        **_shared(parsed, model),
    )


def completion_request(body: Any, model: str) -> GenerationRequest:
    """The body of ``/v1/completions`` as a generation request.

    Raises:
        ApiError: it is wrong, names another model than ``model``, or asks for something that is not supported.
    """
    parsed = validate(CompletionRequest, body)
    return GenerationRequest(prompt=parsed.prompt, max_new_tokens=parsed.max_tokens, **_shared(parsed, model))


def _shared(body: GenerationBody, model: str) -> dict[str, Any]:
    """Fields that chat completions and completions share."""
    if body.model != model:
        raise no_model(body.model, model)
    return {
        "options": SamplingOptions(
            temperature=body.temperature,
            top_p=body.top_p,
            presence_penalty=body.presence_penalty,
            frequency_penalty=body.frequency_penalty,
            logit_bias=body.logit_bias,
            seed=None if body.seed is None else body.seed % 2**64,  # the runtime's are not negative; OpenAI's may be
        ),
        "stop": body.stops,
        "stream": body.stream,
        "include_usage": body.stream_options is not None and body.stream_options.include_usage,
    }


def _message(message: ChatMessage) -> Message:
    role = "system" if message.role == "developer" else message.role
    return {"role": role, "content": message.text, **({} if message.name is None else {"name": message.name})}


def _response_format(body: ChatCompletionRequest) -> ResponseFormat | None:
    wanted = body.response_format
    if wanted is None or wanted.type == "text":
        return None
    try:
        return ResponseFormat.json_schema(
            {"type": "object"} if wanted.json_schema is None else wanted.json_schema.schema_
        )
    except RecursionError as error:
        raise invalid("response_format", "the schema is nested too deeply") from error
