"""The plugin: two checkpoint formats. Imports nothing heavy, so that listing plugins stays fast."""

from __future__ import annotations

from edgegen.descriptors import CheckpointFormat
from edgegen.hookspecs import hookimpl


@hookimpl
def edgegen_checkpoint_formats() -> list[CheckpointFormat]:
    return [
        CheckpointFormat(
            name="pytorch",
            summary="state dicts that torch.save wrote (.bin, .pt, .pth, .ckpt), one file or shards with an index",
            naming="huggingface",
            detect="edgegen_pytorch.reader:detect",
            open="edgegen_pytorch.reader:open_checkpoint",
            suffixes=(".bin", ".pt", ".pth", ".ckpt"),
            conventions={"llama-original": ("layers.*.attention.wq.weight", "tok_embeddings.weight")},
        ),
        CheckpointFormat(
            name="gemma-pytorch",
            summary="Gemma's own PyTorch checkpoints, as Kaggle publishes them",
            naming="gemma-pytorch",
            detect="edgegen_pytorch.gemma:detect",
            open="edgegen_pytorch.gemma:open_checkpoint",
            conventions={"gemma-pytorch": ("model.layers.*.self_attn.qkv_proj.weight", "embedder.weight")},
        ),
    ]
