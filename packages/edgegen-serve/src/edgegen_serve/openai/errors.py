"""What a client is told when it does not get an answer: OpenAI's error object, and nothing of our insides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgegen.errors import EdgegenError, ErrorCode, UsageError

_SHOWN = 60


class ApiError(Exception):
    """An answer with an HTTP status that is not 200.

    Args:
        status: HTTP status.
        message: what was wrong, what would be right.
        param: the field of the request that it is about.
        code: for programs; stable.
        headers: further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The error object, https://platform.openai.com/docs/guides/error-codes."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def invalid(param: str | None, message: str) -> ApiError:
    """The request is wrong, at this field."""
    return ApiError(400, message, param=param, code="invalid_value" if param else None)


def no_model(asked: str, served: str) -> ApiError:
    """There is one model, and this is not its name."""
    return ApiError(404, f"there is no model {shown(asked)} here, only {served}", param="model", code="model_not_found")


def busy(message: str) -> ApiError:
    """Not now."""
    return ApiError(503, message, code="overloaded", headers={"Retry-After": "5"})


def timed_out(seconds: float) -> ApiError:
    """The time for one request is over."""
    return ApiError(504, f"the answer was not complete after {seconds:g} seconds", code="timeout")


def disconnected() -> ApiError:
    """The client has gone; nobody will read this. The status is the one that nginx logs in this case."""
    return ApiError(499, "the client closed the connection", code="cancelled")


def shown(text: str) -> str:
    """What a client sent, short enough to be repeated to it."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def internal() -> ApiError:
    """A bug of ours; what happened stands in the server's log."""
    return ApiError(500, "the server failed; its log says why", code="internal_error")


_PARAMS = {
    ErrorCode.LOGIT_BIAS_OUT_OF_RANGE: "logit_bias",
    ErrorCode.INVALID_GRAMMAR: "response_format",
    ErrorCode.STRUCTURED_OUTPUT_UNAVAILABLE: "response_format",
    ErrorCode.CHAT_TEMPLATE_REFUSED: "messages",
    ErrorCode.NO_CHAT_TEMPLATE: "messages",
}
"""Which field the runtime's errors are about."""


def from_runtime(error: EdgegenError, prompt: str) -> ApiError:
    """What the runtime refused, without its hints: they are about the command line.

    Args:
        error: the refusal.
        prompt: the field that holds the prompt.
    """
    if not isinstance(error, UsageError):
        return internal()
    if error.code == ErrorCode.CONTEXT_EXCEEDED:
        return ApiError(400, error.message, param=prompt, code="context_length_exceeded")
    return invalid(_PARAMS.get(error.code, prompt), error.message)
