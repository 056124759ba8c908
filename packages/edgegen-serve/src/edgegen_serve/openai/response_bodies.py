"""Response bodies of the API, as pydantic models: what the OpenAPI description says of them, and tests compare with."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class PromptTokensDetails(BaseModel):
    """Breakdown of the prompt's tokens."""

    cached_tokens: int = Field(description="Prompt tokens that were in the KV cache already.")


class Usage(BaseModel):
    """Token counts of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class AssistantMessage(BaseModel):
    """The answer of a chat completion."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChatChoice(BaseModel):
    """The one choice of a chat completion."""

    index: Literal[0]
    message: AssistantMessage
    logprobs: None
    finish_reason: Literal["stop", "length"]


class ChatCompletion(BaseModel):
    """Response of ``POST /v1/chat/completions``."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class CompletionChoice(BaseModel):
    """The one choice of a completion."""

    index: Literal[0]
    text: str
    logprobs: None
    finish_reason: Literal["stop", "length"]


class Completion(BaseModel):
    """Response of ``POST /v1/completions``."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage


class ModelCard(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Time of loading, in seconds since 1970.")
    owned_by: str = "edgegen"


class ModelList(BaseModel):
    """Response of ``GET /v1/models``."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


class Health(BaseModel):
    """Response of ``GET /health``."""

    status: Literal["ok"] = "ok"
    running: int = Field(description="Requests being answered, 0 or 1.")
    waiting: int = Field(description="Requests in the queue.")


class ErrorDetail(BaseModel):
    """Description of an error."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None = Field(description="Field of the request that it is about.")
    code: str | None


class Error(BaseModel):
    """Error object, https://platform.openai.com/docs/guides/error-codes."""

    error: ErrorDetail
