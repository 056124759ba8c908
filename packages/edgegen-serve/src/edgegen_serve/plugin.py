"""Plugin of ``edgegen``: the command that serves a model."""

from __future__ import annotations

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import Command


@hookimpl
def edgegen_commands() -> Iterable[Command]:
    return (Command(name="serve", summary="Serve an exported model over HTTP", command="edgegen_serve.cli:serve"),)
