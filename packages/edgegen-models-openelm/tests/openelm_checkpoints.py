"""Tiny OpenELMs with random weights, as the checkpoints that people publish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from openelm_reference import OpenELM

from edgegen_layers.testing import TOKENS, random_model, save_tensors, write_gguf
from edgegen_models_openelm.openelm import OpenELMConfig

DIVISOR = 8
MULTIPLIERS = (0.5, 1.25, 2.0)

TIED = OpenELMConfig(
    vocab_size=48,
    hidden_size=32,
    intermediate_size=(16, 40, 64),
    num_attention_heads=(2, 4, 6),
    num_key_value_heads=(1, 2, 3),
    head_dim=8,
    max_position_embeddings=64,
    rope_theta=500.0,
)
CONFIGS = {
    "tied": TIED,
    "untied": replace(TIED, tie_word_embeddings=False),
    "raw queries": replace(TIED, qk_norm=False),
    "equal blocks": replace(TIED, num_attention_heads=(4, 4, 4), num_key_value_heads=(4, 4, 4)),
    "multi-query": replace(TIED, num_key_value_heads=(1, 1, 1)),
}


def reference(config: OpenELMConfig) -> OpenELM:
    blocks = zip(config.num_attention_heads, config.num_key_value_heads, config.intermediate_size, strict=True)
    model = OpenELM(
        dim=config.hidden_size,
        head_dim=config.head_dim,
        vocab=config.vocab_size,
        sizes=list(blocks),
        base=config.rope_theta,
        tied=config.tie_word_embeddings,
        normalize=config.qk_norm,
    )
    return random_model(model)


def expected_logits(model: OpenELM) -> torch.Tensor:
    """``[T, V]`` for :data:`TOKENS`."""
    return model(torch.tensor(TOKENS))


def config_json(config: OpenELMConfig) -> dict[str, object]:
    """``config.json``, with the keys of the published ones."""
    return {
        "activation_fn_name": "swish",
        "architectures": ["OpenELMForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_openelm.OpenELMConfig"},
        "bos_token_id": 1,
        "eos_token_id": 2,
        "ffn_dim_divisor": DIVISOR,
        "ffn_multipliers": list(MULTIPLIERS),
        "ffn_with_glu": True,
        "head_dim": config.head_dim,
        "initializer_range": 0.02,
        "max_context_length": config.max_position_embeddings,
        "model_dim": config.hidden_size,
        "model_type": "openelm",
        "normalization_layer_name": "rms_norm",
        "normalize_qk_projections": config.qk_norm,
        "num_gqa_groups": config.num_attention_heads[0] // config.num_key_value_heads[0],
        "num_kv_heads": list(config.num_key_value_heads),
        "num_query_heads": list(config.num_attention_heads),
        "num_transformer_layers": len(config.num_attention_heads),
        "qkv_multipliers": [0.5, 1.0],
        "rope_freq_constant": int(config.rope_theta),
        "rope_max_length": 2 * config.max_position_embeddings,
        "share_input_output_layers": config.tie_word_embeddings,
        "torch_dtype": "float32",
        "transformers_version": "4.39.3",
        "use_cache": True,
        "vocab_size": config.vocab_size,
    }


def save_single(config: OpenELMConfig, folder: Path) -> Path:
    return save_tensors(reference(config).state_dict(), folder, config_json(config))


def save_gguf(config: OpenELMConfig, folder: Path) -> Path:
    """As llama.cpp's converter does: its names, gate and up apart."""
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in reference(config).state_dict().items():
        if "proj_1" in name:
            block = name.split(".")[2]
            tensors |= dict(
                zip((f"blk.{block}.ffn_{part}.weight" for part in ("gate", "up")), tensor.chunk(2), strict=True)
            )
        else:
            tensors[name] = tensor
    metadata = {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": list(config.intermediate_size),
        "attention.head_count": list(config.num_attention_heads),
        "attention.head_count_kv": list(config.num_key_value_heads),
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.dimension_count": config.head_dim,
        "rope.freq_base": config.rope_theta,
    }
    return write_gguf(tensors, folder / "model.gguf", "openelm", metadata)


SAVERS = {"safetensors": save_single, "gguf": save_gguf}
