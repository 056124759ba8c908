"""Settings of the hub from the environment, read at each use.

The client reads these variables once, when it is imported; a program that sets them later would talk to the wrong hub.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants

_TRUE = ("1", "on", "yes", "true")


@dataclass(frozen=True)
class Settings:
    """Endpoint, cache folder and offline mode of the hub.

    Attributes:
        endpoint: ``HF_ENDPOINT``, without a slash at its end.
        cache: ``HF_HUB_CACHE``, or ``hub`` in ``HF_HOME``.
        offline: ``HF_HUB_OFFLINE``.
    """

    endpoint: str
    cache: Path
    offline: bool

    @classmethod
    def read(cls) -> Settings:
        """Current settings; the client's own where a variable is not set."""
        environment = os.environ
        cache = environment.get("HF_HUB_CACHE") or constants.HF_HUB_CACHE
        if "HF_HUB_CACHE" not in environment and "HF_HOME" in environment:
            cache = os.path.join(environment["HF_HOME"], "hub")
        return cls(
            endpoint=(environment.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/"),
            cache=Path(os.path.expandvars(cache)).expanduser(),
            offline=constants.HF_HUB_OFFLINE or environment.get("HF_HUB_OFFLINE", "").lower() in _TRUE,
        )
