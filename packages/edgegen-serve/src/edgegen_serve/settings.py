"""What a server allows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Settings:
    """GenerationConfig of a server, and who may ask.

    Attributes:
        api_key: that requests have to have; None: none needed, and only local host names are answered.
        queue: how many requests may wait while one is answered.
        timeout: seconds for one request, from its first line on: sending, waiting and being answered.
        max_body: bytes.
    """

    api_key: str | None = None
    queue: int = 16
    timeout: float = 120.0
    max_body: int = 1_000_000
