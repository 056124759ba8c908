"""edgegen: PyTorch language models to LiteRT, with weights streamed past the compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegen._version import __version__
from edgegen.errors import (
    CheckpointError,
    EdgegenError,
    ErrorCode,
    PluginError,
    ResourceError,
    UnsupportedError,
    UsageError,
    VerificationError,
)
from edgegen.hookspecs import hookimpl

if TYPE_CHECKING:
    from edgegen.api import convert, signature
    from edgegen.tracing import composite

__all__ = [
    "CheckpointError",
    "EdgegenError",
    "ErrorCode",
    "PluginError",
    "ResourceError",
    "UnsupportedError",
    "UsageError",
    "VerificationError",
    "__version__",
    "composite",
    "convert",
    "hookimpl",
    "signature",
]

# These need torch, so they are imported when somebody first names them.
_LAZY = {"composite": "edgegen.tracing", "convert": "edgegen.api", "signature": "edgegen.api"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        value = globals()[name] = getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        from edgegen.plugins.dependencies import missing_dependency
        from edgegen.plugins.records import CORE

        raise (missing_dependency(error, CORE) or error) from error
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
