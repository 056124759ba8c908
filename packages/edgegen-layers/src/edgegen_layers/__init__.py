"""Building blocks for transformer models that export well to LiteRT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegen_layers._version import __version__

if TYPE_CHECKING:
    from edgegen_layers.activations import Activation
    from edgegen_layers.attention import AttentionInputs, CausalSelfAttention, CrossAttention, SelfAttention
    from edgegen_layers.cache import KVCache
    from edgegen_layers.config import (
        AttentionConfig,
        FeedForwardConfig,
        NormalizationConfig,
        TransformerBlockConfig,
        TransformerConfig,
    )
    from edgegen_layers.decoder import DecoderBlock, DecoderLM
    from edgegen_layers.encoder import TextEncoderBase
    from edgegen_layers.encoder_decoder import EncoderDecoderLM, EncoderStates
    from edgegen_layers.feed_forward import FeedForward, GatedFeedForward
    from edgegen_layers.kernels import AttentionKernel, MatmulAttention, SdpaAttention
    from edgegen_layers.layer_choices import LayerChoices, Mixer, Mlp, Norm
    from edgegen_layers.lora import LoraWeights
    from edgegen_layers.moe import MixtureOfExperts
    from edgegen_layers.norm import GroupNorm, LayerNorm, RMSNorm, build_norm
    from edgegen_layers.positions import RelativePositionBias, TimestepEmbedding, alibi_bias, sinusoidal_embedding
    from edgegen_layers.ring import RingAttention
    from edgegen_layers.rotary import apply_rotary, rotary_table
    from edgegen_layers.rotary_scaling import FrequencyScaling, LinearScaling, llama3_scaling, ntk_scaling, yarn_scaling
    from edgegen_layers.transformer import TransformerBlock, TransformerLM
    from edgegen_layers.vision.patches import PatchEmbedding
    from edgegen_layers.vision.unet import AttentionBlock2D, Downsample2D, ResidualBlock2D, Upsample2D

__all__ = [
    "Activation",
    "AttentionBlock2D",
    "AttentionConfig",
    "AttentionInputs",
    "AttentionKernel",
    "CausalSelfAttention",
    "CrossAttention",
    "DecoderBlock",
    "DecoderLM",
    "Downsample2D",
    "EncoderDecoderLM",
    "EncoderStates",
    "FeedForward",
    "FeedForwardConfig",
    "FrequencyScaling",
    "GatedFeedForward",
    "GroupNorm",
    "KVCache",
    "LayerChoices",
    "LayerNorm",
    "LinearScaling",
    "LoraWeights",
    "MatmulAttention",
    "Mixer",
    "MixtureOfExperts",
    "Mlp",
    "Norm",
    "NormalizationConfig",
    "PatchEmbedding",
    "RMSNorm",
    "RelativePositionBias",
    "ResidualBlock2D",
    "RingAttention",
    "SdpaAttention",
    "SelfAttention",
    "TextEncoderBase",
    "TimestepEmbedding",
    "TransformerBlock",
    "TransformerBlockConfig",
    "TransformerConfig",
    "TransformerLM",
    "Upsample2D",
    "__version__",
    "alibi_bias",
    "apply_rotary",
    "build_norm",
    "llama3_scaling",
    "ntk_scaling",
    "rotary_table",
    "sinusoidal_embedding",
    "yarn_scaling",
]

# Blocks need torch; the plugin beside them is read by every command, which must start fast.
_MODULES = {
    "activations": ("Activation",),
    "attention": (
        "AttentionInputs",
        "CausalSelfAttention",
        "CrossAttention",
        "SelfAttention",
    ),
    "cache": ("KVCache",),
    "config": (
        "AttentionConfig",
        "FeedForwardConfig",
        "NormalizationConfig",
        "TransformerBlockConfig",
        "TransformerConfig",
    ),
    "decoder": (
        "DecoderBlock",
        "DecoderLM",
    ),
    "encoder": ("TextEncoderBase",),
    "encoder_decoder": (
        "EncoderDecoderLM",
        "EncoderStates",
    ),
    "feed_forward": (
        "FeedForward",
        "GatedFeedForward",
    ),
    "kernels": (
        "AttentionKernel",
        "MatmulAttention",
        "SdpaAttention",
    ),
    "layer_choices": (
        "LayerChoices",
        "Mixer",
        "Mlp",
        "Norm",
    ),
    "lora": ("LoraWeights",),
    "moe": ("MixtureOfExperts",),
    "norm": (
        "GroupNorm",
        "LayerNorm",
        "RMSNorm",
        "build_norm",
    ),
    "vision.patches": ("PatchEmbedding",),
    "positions": (
        "RelativePositionBias",
        "TimestepEmbedding",
        "alibi_bias",
        "sinusoidal_embedding",
    ),
    "ring": ("RingAttention",),
    "rotary": (
        "apply_rotary",
        "rotary_table",
    ),
    "rotary_scaling": (
        "FrequencyScaling",
        "LinearScaling",
        "llama3_scaling",
        "ntk_scaling",
        "yarn_scaling",
    ),
    "transformer": (
        "TransformerBlock",
        "TransformerLM",
    ),
    "vision.unet": (
        "AttentionBlock2D",
        "Downsample2D",
        "ResidualBlock2D",
        "Upsample2D",
    ),
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
