"""Building blocks for transformer models that export well to LiteRT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegen_layers._version import __version__

if TYPE_CHECKING:
    from edgegen_layers.attention import CausalSelfAttention
    from edgegen_layers.cache import KVCache
    from edgegen_layers.config import (
        AttentionConfig,
        FeedForwardConfig,
        FrequencyScaling,
        LinearScaling,
        ModelConfig,
        NormalizationConfig,
        TransformerBlockConfig,
    )
    from edgegen_layers.decoder import DecoderLM, TransformerBlock
    from edgegen_layers.feed_forward import FeedForward, GatedFeedForward
    from edgegen_layers.kernels import AttentionKernel, MatmulAttention, SdpaAttention
    from edgegen_layers.lora import LoraWeights
    from edgegen_layers.norm import RMSNorm
    from edgegen_layers.rotary import apply_rotary, rotary_table

__all__ = [
    "AttentionConfig",
    "AttentionKernel",
    "CausalSelfAttention",
    "DecoderLM",
    "FeedForward",
    "FeedForwardConfig",
    "FrequencyScaling",
    "GatedFeedForward",
    "KVCache",
    "LinearScaling",
    "LoraWeights",
    "MatmulAttention",
    "ModelConfig",
    "NormalizationConfig",
    "RMSNorm",
    "SdpaAttention",
    "TransformerBlock",
    "TransformerBlockConfig",
    "__version__",
    "apply_rotary",
    "rotary_table",
]

# Blocks need torch; the plugin beside them is read by every command, which must start fast.
_MODULES = {
    "attention": ("CausalSelfAttention",),
    "cache": ("KVCache",),
    "config": (
        "AttentionConfig",
        "FeedForwardConfig",
        "LinearScaling",
        "FrequencyScaling",
        "ModelConfig",
        "NormalizationConfig",
        "TransformerBlockConfig",
    ),
    "decoder": ("DecoderLM", "TransformerBlock"),
    "feed_forward": ("FeedForward", "GatedFeedForward"),
    "kernels": ("AttentionKernel", "MatmulAttention", "SdpaAttention"),
    "lora": ("LoraWeights",),
    "norm": ("RMSNorm",),
    "rotary": ("apply_rotary", "rotary_table"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
