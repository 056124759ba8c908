"""Responses: JSON documents of whole answers and of stream chunks, in the shape of OpenAI's API."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from edgegen_serve.scheduling.scheduler import Usage


class ResponseBuilder:
    """Builds the documents of one response.

    Args:
        model: name of the model.
        chat: True for a chat completion, False for a completion.
        include_usage: end streams with token counts.
    """

    def __init__(self, model: str, *, chat: bool, include_usage: bool = False) -> None:
        self._chat = chat
        self._include_usage = include_usage
        self._common = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, text: str, finish_reason: str, usage: Usage) -> dict[str, Any]:
        """The whole answer."""
        content = {"message": {"role": "assistant", "content": text, "refusal": None}} if self._chat else {"text": text}
        return {
            **self._common,
            "object": "chat.completion" if self._chat else "text_completion",
            "choices": [_choice(content, finish_reason)],
            "usage": _usage(usage),
        }

    def opening(self) -> list[dict[str, Any]]:
        """Chunks that a stream begins with."""
        return [self._chunk([_choice({"delta": {"role": "assistant", "content": ""}}, None)])] if self._chat else []

    def piece(self, text: str) -> dict[str, Any]:
        """Chunk with more text."""
        return self._chunk([_choice({"delta": {"content": text}} if self._chat else {"text": text}, None)])

    def closing(self, finish_reason: str, usage: Usage) -> list[dict[str, Any]]:
        """Chunks that a stream ends with."""
        last = self._chunk([_choice({"delta": {}} if self._chat else {"text": ""}, finish_reason)])
        return [last, {**self._chunk([]), "usage": _usage(usage)}] if self._include_usage else [last]

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        chunk = {**self._common, "object": kind, "choices": choices}
        # With usage asked for, every chunk has the field, and only the last a value.
        return {**chunk, "usage": None} if self._include_usage else chunk


def event(payload: dict[str, Any] | str) -> bytes:
    """A server-sent event."""
    data = payload if isinstance(payload, str) else json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
    return f"data: {data}\n\n".encode()


DONE = event("[DONE]")


def _choice(content: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    }
