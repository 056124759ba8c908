"""Configurations of Llama and its kin by variant; the architecture is :mod:`edgegen_layers.families.llama`."""

from __future__ import annotations

from edgegen.weights import Checkpoint
from edgegen_layers.families import llama_checkpoint_config
from edgegen_layers.families.llama import LlamaConfig
from edgegen_layers.families.llama_checkpoint_config import LLAMA, MISTRAL
from edgegen_models_llama.variants import CONFIGS


def config(variant: str) -> LlamaConfig:
    """Configuration of a listed variant; raises KeyError for any other."""
    return LlamaConfig(**CONFIGS[variant])


def read_config(checkpoint: Checkpoint) -> LlamaConfig | None:
    """Configuration that a checkpoint states; see :mod:`edgegen_layers.families.llama_checkpoint_config`."""
    return llama_checkpoint_config.read_config(checkpoint, {"llama": LLAMA, "mistral": MISTRAL})
