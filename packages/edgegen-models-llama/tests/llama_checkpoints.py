"""Tiny Llamas with random weights, as the checkpoints that people publish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import transformers

from edgegen_layers.families.llama import LlamaConfig
from edgegen_layers.testing import random_model, save, save_gguf, save_sharded, settings

TIED = LlamaConfig(
    vocab_size=48, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, max_position_embeddings=64, rope_theta=500.0, tie_word_embeddings=True,
)  # fmt: skip
CONFIGS = {
    "tied": TIED,
    "untied": replace(TIED, tie_word_embeddings=False),
    "multi-query": replace(TIED, num_key_value_heads=1),
    "multi-head": replace(TIED, num_key_value_heads=4),
}


def reference(config: LlamaConfig) -> transformers.LlamaForCausalLM:
    rope = {"rope_type": "default", "rope_theta": config.rope_theta}
    ours = ("rope_theta", "rope_scaling", "sliding_window", "layer_types", "qk_norm", "attention_output_bias")
    own = settings(config, *ours)
    return random_model(transformers.LlamaForCausalLM(transformers.LlamaConfig(**own, rope_parameters=rope)))


def save_llama_gguf(model: transformers.LlamaForCausalLM, folder: Path) -> Path:
    """With the rows of queries and keys in llama.cpp's order."""

    def reordered(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            c, (rows, columns) = model.config, tensor.shape
            heads = c.num_attention_heads if "q_proj" in name else c.num_key_value_heads
            tensor = tensor.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
        return {name: tensor}

    return save_gguf(model, folder, "llama", {}, reordered)


SAVERS = {"one file": save, "shards": save_sharded, "gguf": save_llama_gguf}
