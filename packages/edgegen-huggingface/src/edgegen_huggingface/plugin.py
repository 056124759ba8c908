"""The plugin: three checkpoint formats. Imports nothing heavy, so that listing plugins stays fast."""

from __future__ import annotations

from edgegen.descriptors import CheckpointFormat
from edgegen.hookspecs import hookimpl


@hookimpl
def edgegen_checkpoint_formats() -> list[CheckpointFormat]:
    return [
        CheckpointFormat(
            name="safetensors",
            summary="one file, or shards with an index",
            naming="huggingface",
            detect="edgegen_huggingface.safetensors:detect",
            open="edgegen_huggingface.safetensors:open_checkpoint",
        ),
        CheckpointFormat(
            name="installed-package",
            summary="an installed Python package that carries a model, by its name",
            naming="",
            detect="edgegen_huggingface.installed_package:detect",
            open="edgegen_huggingface.installed_package:open_checkpoint",
        ),
        CheckpointFormat(
            name="huggingface-hub",
            summary="a repository of the Hugging Face hub: org/name, hf:org/name@revision/file",
            naming="",
            detect="edgegen_huggingface.hub.reference:detect",
            open="edgegen_huggingface.hub.checkpoint:open_checkpoint",
        ),
    ]
