"""Qwen: Llama's architecture with biases on queries, keys and values (2, 2.5) or with norms of them (3).

Sources: https://arxiv.org/abs/2407.10671, https://arxiv.org/abs/2505.09388; sizes from each repository's
``config.json``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgegen.weights import Checkpoint
from edgegen_layers.config import ModelConfig
from edgegen_layers.families.llama import Size, read_size

_QWEN2: dict[str, Any] = {"qkv_bias": True}
_QWEN3: dict[str, Any] = {"qk_norm": True}

_HALF = Size(layers=24, dim=896, heads=14, groups=2, hidden=4864, context=32_768, vocab=151_936,
             rotary_base=1e6, epsilon=1e-6, tied=True, **_QWEN2)  # fmt: skip
_ONE_AND_A_HALF = replace(_HALF, layers=28, dim=1536, heads=12, hidden=8960)
_THREE = replace(_HALF, layers=36, dim=2048, heads=16, hidden=11_008)
_QWEN3_06 = Size(layers=28, dim=1024, heads=16, groups=8, hidden=3072, context=40_960, vocab=151_936, head_dim=128,
                 rotary_base=1e6, epsilon=1e-6, tied=True, **_QWEN3)  # fmt: skip

SIZES: dict[str, Size] = {
    "qwen2-0.5b-instruct": _HALF,
    "qwen2-1.5b-instruct": _ONE_AND_A_HALF,
    "qwen2.5-0.5b": _HALF,
    "qwen2.5-0.5b-instruct": _HALF,
    "qwen2.5-1.5b-instruct": _ONE_AND_A_HALF,
    "qwen2.5-3b-instruct": _THREE,
    "qwen3-0.6b": _QWEN3_06,
    "qwen3-1.7b": replace(_QWEN3_06, dim=2048, hidden=6144),
    "qwen3-4b": replace(_QWEN3_06, layers=36, dim=2560, heads=32, hidden=9728),
}


def config(variant: str) -> ModelConfig:
    """The configuration of a listed variant; raises KeyError for any other."""
    return SIZES[variant].config()


def read_config(checkpoint: Checkpoint) -> ModelConfig | None:
    """What the checkpoint says of itself; see :func:`edgegen_layers.families.llama.read_size`."""
    size = read_size(checkpoint, {"qwen2": _QWEN2, "qwen3": _QWEN3})
    return None if size is None else size.config()
