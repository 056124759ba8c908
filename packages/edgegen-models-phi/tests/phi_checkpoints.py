"""Tiny Phis with random weights, as the checkpoints that people publish."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from edgegen_layers.testing import random_model, save, save_gguf, save_sharded, settings
from edgegen_models_phi.phi import Phi2Config, Phi3Config, PhiConfig
from edgegen_models_phi.variants import longrope

PHI2 = Phi2Config(
    vocab_size=48, hidden_size=40, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=64, partial_rotary_factor=0.4, rope_theta=500.0,
)  # fmt: skip
PHI3 = Phi3Config(
    vocab_size=48, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, head_dim=8, max_position_embeddings=64, rope_theta=500.0,
)  # fmt: skip

EXTENDED = 64
"""Context of the models with LongRoPE."""


def stretched(short: tuple[float, ...], long: tuple[float, ...], original: int) -> dict[str, Any]:
    return {
        "rope_scaling": longrope(short, original, EXTENDED),
        "long_factor": long,
        "original_max_position_embeddings": original,
        "extended_max_position_embeddings": EXTENDED,
    }


# The tokens fit the original length of the first; of the second they do not, so that transformers takes the long ones.
SHORT, LONG = (stretched((1.0, 1.3, 1.1, 2.0), (1.1, 1.7, 4.0, 9.0), original) for original in (16, 8))

CONFIGS: dict[str, PhiConfig] = {
    "phi-2": PHI2,
    "phi-2, grouped queries": replace(PHI2, num_key_value_heads=2),
    "phi-2, tied": replace(PHI2, tie_word_embeddings=True),
    "phi-2, normalized queries": replace(PHI2, qk_layernorm=True),
    "phi-3": PHI3,
    "phi-3, grouped queries": replace(PHI3, num_key_value_heads=2, rms_norm_eps=1e-3),
    "phi-3, window": replace(PHI3, sliding_window=4),
    "phi-3, tied": replace(PHI3, tie_word_embeddings=True),
    "phi-3, short factors": replace(PHI3, max_position_embeddings=16, **SHORT),
    "phi-3, long factors": replace(PHI3, **LONG),
    "phi-4": replace(
        PHI3,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        partial_rotary_factor=0.75,
        max_position_embeddings=16,
        **stretched((1.0, 1.3, 2.0), (1.0,) * 3, 16),
    ),
}


def reference(config: PhiConfig) -> transformers.PreTrainedModel:
    rope: dict[str, Any] = {
        "rope_type": "default",
        "rope_theta": config.rope_theta,
        "partial_rotary_factor": config.partial_rotary_factor,
    }
    common = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None, "attn_implementation": "eager"}
    if isinstance(config, Phi2Config):
        own = settings(config, "rope_theta", "rope_scaling", "partial_rotary_factor")
        theirs = transformers.PhiConfig(**own, **common, rope_parameters=rope)
        return random_model(transformers.PhiForCausalLM(theirs))
    apart = (
        "head_dim", "partial_rotary_factor", "attention_bias", "attention_output_bias", "mlp_bias", "qk_norm",
        "long_factor", "extended_max_position_embeddings", "layer_types",
    )  # fmt: skip
    own = settings(config, "rope_theta", "rope_scaling", *apart)
    if config.rope_scaling:
        own["max_position_embeddings"] = EXTENDED
        factors = {"short_factor": list(config.rope_scaling.factors), "long_factor": list(config.long_factor)}
        rope |= {"rope_type": "longrope", **factors}
    else:
        own["original_max_position_embeddings"] = config.max_position_embeddings
    return random_model(transformers.Phi3ForCausalLM(transformers.Phi3Config(**own, **common, rope_parameters=rope)))


def save_phi_gguf(model: transformers.PreTrainedModel, folder: Path, *, fused: bool = False) -> Path:
    """As llama.cpp's converter does; for Phi-2 with fused queries, keys and values, as it once did."""
    c, rope, state = model.config, model.config.rope_parameters, model.state_dict()
    stated: dict[str, Any] = {
        "rope.dimension_count": int(rope["partial_rotary_factor"] * c.hidden_size) // c.num_attention_heads,
        "rope.freq_base": rope["rope_theta"],
    }
    factors: dict[str, torch.Tensor] = {}
    if c.model_type == "phi":
        stated["attention.layer_norm_epsilon"] = c.layer_norm_eps
    else:
        stated["attention.layer_norm_rms_epsilon"] = c.rms_norm_eps
        stated["rope.scaling.original_context_length"] = c.original_max_position_embeddings
        stated["attention.sliding_window"] = c.sliding_window or 0
    if "long_factor" in rope:
        original = c.original_max_position_embeddings
        ratio = c.max_position_embeddings / original
        stated["rope.scaling.attn_factor"] = math.sqrt(1 + math.log(ratio) / math.log(original))
        factors = {f"rope_factors_{kind}.weight": torch.tensor(rope[f"{kind}_factor"]) for kind in ("long", "short")}

    def written(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
        if name == "model.embed_tokens.weight":
            return {name: tensor, **factors}
        if fused and "self_attn.q_proj" in name:
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            block, kind = name.split(".")[2], name.rsplit(".", 1)[1]
            return {f"blk.{block}.attn_qkv.{kind}": torch.cat(parts)}
        return {} if fused and ("k_proj" in name or "v_proj" in name) else {name: tensor}

    return save_gguf(model, folder, "phi2" if c.model_type == "phi" else "phi3", stated, written)


save_fused_gguf = partial(save_phi_gguf, fused=True)

SAVERS = {"one file": save, "shards": save_sharded, "gguf": save_phi_gguf}
