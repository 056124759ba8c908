"""Server settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """GenerationConfig of a server, and who may ask.

    Attributes:
        api_key: key that requests have to carry; None: no key needed, and only local host names are answered.
        queue: number of requests that may wait while one is answered.
        timeout: time limit of one request in seconds, from its first line on: sending, waiting and being answered.
        max_body: largest request body in bytes.
    """

    api_key: str | None = None
    queue: int = 16
    timeout: float = 120.0
    max_body: int = 1_000_000
