"""Authentication of requests, and reading of their bodies."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
from typing import Any, NoReturn
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from edgegen_serve.openai.errors import ApiError, disconnected, invalid


def check_key(headers: Headers, api_key: str | None) -> None:
    """Check that a request has the API key.

    Without a key, the server listens on loopback only, which is still open to every web page that the user's browser
    shows: a foreign name that resolves to loopback is refused here, and foreign forms by :func:`read_json`.

    Raises:
        ApiError: 401 or 403.
    """
    if api_key is None:
        if not _is_local(headers.get("host", "")):
            raise ApiError(403, "without an API key, only local requests are answered", code="forbidden")
        return
    scheme, _, key = headers.get("authorization", "").partition(" ")
    # Both are compared whole, whatever their first difference: the time taken tells nothing about the key.
    right = secrets.compare_digest(key.strip().encode(), api_key.encode())
    if scheme.lower() != "bearer" or not right:
        raise ApiError(
            401,
            "wrong API key" if key else "no API key; send the header Authorization: Bearer KEY",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _is_local(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def read_json(request: Request, limit: int, deadline: float) -> Any:
    """The body of a request as parsed JSON.

    Args:
        request: a request whose body has not been read.
        limit: largest body in bytes.
        deadline: time by which it has to be complete, on the event loop's clock.

    Raises:
        ApiError: too large, too slow, or no JSON.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # HTML forms cannot send this type, nor may foreign pages without asking first.
        raise ApiError(415, "send JSON, with the header Content-Type: application/json", code="unsupported_media_type")
    try:
        async with asyncio.timeout_at(deadline):
            data = await _read(request, limit)
    except TimeoutError as error:
        raise ApiError(408, "the body did not come in time", code="timeout", headers={"Connection": "close"}) from error
    except ClientDisconnect as error:
        raise disconnected() from error
    try:
        return json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise invalid(None, f"the body is not JSON: {reason}") from error


async def _read(request: Request, limit: int) -> bytes:
    # The rest of a body that is not wanted is read and dropped by the connection, which has its own patience: a client
    # that sends all before it listens would miss the refusal if it were cut off.
    too_large = ApiError(413, f"the body is larger than {limit:,} bytes", code="request_too_large")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > limit:
        raise too_large
    data = bytearray()
    async for chunk in request.stream():  # a client need not say, or tell the truth about, how much will come
        data += chunk
        if len(data) > limit:
            raise too_large
    return bytes(data)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
