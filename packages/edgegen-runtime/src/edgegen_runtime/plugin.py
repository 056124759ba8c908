"""Plugin of ``edgegen``: the commands that run exported models."""

from __future__ import annotations

from collections.abc import Iterable

from edgegen import hookimpl
from edgegen.descriptors import Command


@hookimpl
def edgegen_commands() -> Iterable[Command]:
    return (
        Command(name="run", summary="Generate text with an exported model", command="edgegen_runtime.cli.run:run"),
        Command(
            name="bench",
            summary="Measure an exported model's speed and memory",
            command="edgegen_runtime.cli.bench:bench",
        ),
        Command(
            name="evaluate",
            summary="Compare exported models with the float one: perplexity, divergence, size, speed",
            command="edgegen_runtime.cli.evaluate:evaluate",
        ),
        Command(
            name="embed", summary="Embed texts with an exported encoder", command="edgegen_runtime.cli.embed:embed"
        ),
    )
