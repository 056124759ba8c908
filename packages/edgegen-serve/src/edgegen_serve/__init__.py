"""Serve one exported model over HTTP, the way OpenAI's clients ask for it.

::

    import edgegen_runtime
    import edgegen_serve

    app = edgegen_serve.create_app(edgegen_runtime.load("smollm2-135m-instruct"), edgegen_serve.Settings(queue=4))

The result is an ASGI application; ``edgegen serve`` runs it with uvicorn. Importing this package imports none of its
dependencies.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgegen_serve._version import __version__

if TYPE_CHECKING:
    from edgegen_serve.http.app import create_app
    from edgegen_serve.settings import Settings

__all__ = ["Settings", "__version__", "create_app"]

_HOME = {"Settings": "settings", "create_app": "http.app"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
