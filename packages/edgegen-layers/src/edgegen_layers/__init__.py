"""Building blocks for transformer models that export well to LiteRT."""

from edgegen_layers._version import __version__
from edgegen_layers.attention import CausalSelfAttention
from edgegen_layers.cache import KVCache
from edgegen_layers.config import (
    AttentionConfig,
    FeedForwardConfig,
    ModelConfig,
    NormalizationConfig,
    TransformerBlockConfig,
)
from edgegen_layers.decoder import DecoderLM, TransformerBlock
from edgegen_layers.feed_forward import GatedFeedForward
from edgegen_layers.kernels import AttentionKernel, MatmulAttention, SdpaAttention
from edgegen_layers.norm import RMSNorm
from edgegen_layers.rotary import apply_rotary, rotary_table

__all__ = [
    "AttentionConfig",
    "AttentionKernel",
    "CausalSelfAttention",
    "DecoderLM",
    "FeedForwardConfig",
    "GatedFeedForward",
    "KVCache",
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
