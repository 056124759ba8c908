"""API errors: HTTP statuses with OpenAI's error object, which shows nothing of our insides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgegen.errors import EdgegenError, ErrorCode, UsageError

_SHOWN = 60


class ApiError(Exception):
    """An HTTP error response.

    Args:
        status: HTTP status.
        message: what was wrong, what would be right.
        param: path of the field that it is about.
        code: stable identifier.
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
    """400: a request that is wrong at this field."""
    return ApiError(400, message, param=param, code="invalid_value" if param else None)


def no_model(asked: str, served: str) -> ApiError:
    """404: another model than the one that is served."""
    return ApiError(404, f"there is no model {shown(asked)} here, only {served}", param="model", code="model_not_found")


def busy(message: str) -> ApiError:
    """503: overloaded, or shutting down."""
    return ApiError(503, message, code="overloaded", headers={"Retry-After": "5"})


def timed_out(seconds: float) -> ApiError:
    """504: the time limit of a request is over."""
    return ApiError(504, f"the answer was not complete after {seconds:g} seconds", code="timeout")


def disconnected() -> ApiError:
    """499: the client disconnected; nobody will read this. The status is the one that nginx logs in this case."""
    return ApiError(499, "the client closed the connection", code="cancelled")


def shown(text: str) -> str:
    """Text of a client, shortened to be repeated to it."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def internal() -> ApiError:
    """500: a bug of ours; the server's log has the traceback."""
    return ApiError(500, "the server failed; its log says why", code="internal_error")


_PARAMS: dict[str, str] = {
    ErrorCode.LOGIT_BIAS_OUT_OF_RANGE: "logit_bias",
    ErrorCode.INVALID_GRAMMAR: "response_format",
    ErrorCode.STRUCTURED_OUTPUT_UNAVAILABLE: "response_format",
    ErrorCode.CHAT_TEMPLATE_REFUSED: "messages",
    ErrorCode.NO_CHAT_TEMPLATE: "messages",
}
"""Error code of the runtime -> field of the request that it is about."""


def from_runtime(error: EdgegenError, prompt: str) -> ApiError:
    """API error of an error of the runtime, without its hints: they are about the command line.

    Args:
        error: the runtime's error.
        prompt: name of the field that holds the prompt.
    """
    if not isinstance(error, UsageError):
        return internal()
    if error.code == ErrorCode.CONTEXT_EXCEEDED:
        return ApiError(400, error.message, param=prompt, code="context_length_exceeded")
    return invalid(_PARAMS.get(error.code, prompt), error.message)
