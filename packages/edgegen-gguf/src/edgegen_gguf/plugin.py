"""The plugin: one checkpoint format. Imports nothing heavy, so that listing plugins stays fast."""

from __future__ import annotations

from edgegen.descriptors import CheckpointFormat
from edgegen.hookspecs import hookimpl


@hookimpl
def edgegen_checkpoint_formats() -> list[CheckpointFormat]:
    return [
        CheckpointFormat(
            name="gguf",
            summary="llama.cpp's format, one file or numbered parts, any quantization that dequantizes",
            naming="gguf",
            detect="edgegen_gguf.reader:detect",
            open="edgegen_gguf.reader:open_checkpoint",
            suffixes=(".gguf",),
            conventions={"gguf": ("blk.*.attn_q.weight", "token_embd.weight")},
        )
    ]
