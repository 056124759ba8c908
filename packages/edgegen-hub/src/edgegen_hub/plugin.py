"""What this package adds to edgegen. Imports nothing heavy: listing plugins stays fast."""

from __future__ import annotations

from edgegen.descriptors import CheckpointFormat
from edgegen.hookspecs import hookimpl


@hookimpl
def edgegen_checkpoint_formats() -> list[CheckpointFormat]:
    return [
        CheckpointFormat(
            name="huggingface-hub",
            summary="a repository of the Hugging Face hub: org/name, hf:org/name@revision/file",
            naming="",
            detect="edgegen_hub.reference:detect",
            open="edgegen_hub.checkpoint:open_checkpoint",
        )
    ]
