"""Qwen: Llama's architecture with biases on queries, keys and values (2, 2.5) or with norms of queries and keys (3).

Sources: https://arxiv.org/abs/2407.10671, https://arxiv.org/abs/2505.09388; for the architecture see
:mod:`edgegen_layers.families.llama`.
"""

from __future__ import annotations

from edgegen.weights import Checkpoint
from edgegen_layers.families import llama_checkpoint_config
from edgegen_layers.families.llama import LlamaConfig
from edgegen_layers.families.llama_checkpoint_config import Architecture
from edgegen_models_qwen.variants import CONFIGS, QWEN2, QWEN3

_DEFAULTS = {
    "vocab_size": 151_936,
    "max_position_embeddings": 32_768,
    "num_key_value_heads": 32,
    "rms_norm_eps": 1e-6,
    "sliding_window": 4096,
}
ARCHITECTURES = {
    "qwen2": Architecture(implied=QWEN2, defaults=_DEFAULTS, windows="chosen"),
    "qwen3": Architecture(
        implied=QWEN3, defaults={**_DEFAULTS, "head_dim": 128}, windows="chosen", biases=("attention_bias",)
    ),
}
"""``model_type``, or ``general.architecture``, of the generations."""


def config(variant: str) -> LlamaConfig:
    """Configuration of a listed variant; raises KeyError for any other."""
    return LlamaConfig(**CONFIGS[variant])


def read_config(checkpoint: Checkpoint) -> LlamaConfig | None:
    """Configuration that a checkpoint states; see :mod:`edgegen_layers.families.llama_checkpoint_config`."""
    return llama_checkpoint_config.read_config(checkpoint, ARCHITECTURES)
