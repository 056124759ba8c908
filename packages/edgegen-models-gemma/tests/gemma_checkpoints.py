"""Tiny Gemmas with random weights, as the checkpoints that people publish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from edgegen_layers import LinearScaling
from edgegen_layers.testing import random_model, save, save_gguf, save_sharded, save_tensors, settings
from edgegen_models_gemma.gemma import GemmaConfig
from edgegen_models_gemma.variants import GENERATIONS, PERIODS, layer_types


def sized(generation: str, layers: int, **own: Any) -> GemmaConfig:
    """More blocks than a period, and windows and caps small enough to matter in a text of twelve tokens."""
    sizes = {
        "vocab_size": 48, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 64,
        "rope_theta": 500.0, "query_pre_attn_scalar": 16.0, "layer_types": layer_types(layers, PERIODS[generation]),
    }  # fmt: skip
    return GemmaConfig(**sizes | GENERATIONS[generation] | own)


FIRST = sized("gemma", 2)
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
SECOND = sized("gemma2", 3, num_key_value_heads=2, sliding_window=4, query_pre_attn_scalar=10.0, **CAPS)
THIRD = sized("gemma3", 7, sliding_window=3, rope_theta=5000.0, rope_local_base_freq=300.0)
SCALED = {"num_key_value_heads": 2, "query_pre_attn_scalar": 24.0, "rope_scaling": LinearScaling(factor=8.0)}
LOCAL, GLOBAL = "sliding_attention", "full_attention"
CONFIGS = {
    "gemma": FIRST,
    "gemma-multi-head": replace(FIRST, num_key_value_heads=4),
    "gemma2": SECOND,
    "gemma2-uncapped": replace(SECOND, attn_logit_softcapping=None, final_logit_softcapping=None),
    "gemma3": THIRD,
    "gemma3-scaled": replace(THIRD, **SCALED),
    "gemma3-other-pattern": replace(THIRD, num_hidden_layers=5, layer_types=(LOCAL, GLOBAL, GLOBAL, LOCAL, LOCAL)),
}


def reference(name: str) -> transformers.PreTrainedModel:
    """Scales of norms are stored around zero."""
    config = CONFIGS[name]
    own = settings(config, "rope_theta", "rope_local_base_freq", "rope_scaling", "post_norms", "qk_norm")
    own |= {"layer_types": list(config.layer_types), "query_pre_attn_scalar": int(config.query_pre_attn_scalar)}
    rope: dict = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.qk_norm:
        scaled = {"rope_type": "linear", "factor": 8.0} if config.rope_scaling else {}
        near = {"rope_type": "default", "rope_theta": config.rope_local_base_freq}
        ropes = {"full_attention": rope | scaled, "sliding_attention": near}
        model = transformers.Gemma3ForCausalLM(transformers.Gemma3TextConfig(**own, rope_parameters=ropes))
    elif config.post_norms:
        model = transformers.Gemma2ForCausalLM(transformers.Gemma2Config(**own, rope_parameters=rope))
    else:
        own = {
            key: value for key, value in own.items() if not key.endswith(("softcapping", "window", "types", "scalar"))
        }
        model = transformers.GemmaForCausalLM(transformers.GemmaConfig(**own, rope_parameters=rope))
    model.set_attn_implementation("eager")  # the others leave out the soft cap
    return random_model(model, norm_mean=0.0)


def save_seeing(model: transformers.PreTrainedModel, folder: Path) -> Path:
    """As one that sees images: the text's part under a prefix, beside a tower that is not exported."""
    tensors = {f"language_model.{name}": tensor for name, tensor in model.state_dict().items() if "lm_head" not in name}
    tensors["vision_tower.vision_model.post_layernorm.weight"] = torch.ones(8)
    tensors["multi_modal_projector.mm_soft_emb_norm.weight"] = torch.ones(8)
    text = model.config.to_diff_dict()
    return save_tensors(
        tensors, folder, {"model_type": "gemma3", "text_config": text, "vision_config": {"hidden_size": 8}}
    )


def save_gemma_gguf(model: transformers.PreTrainedModel, folder: Path) -> Path:
    """With 1 added to every norm."""
    c, name = model.config, model.config.model_type.removesuffix("_text")
    far = c.rope_parameters.get("full_attention", c.rope_parameters)
    stated = {
        "attention.key_length": c.head_dim,
        "attention.value_length": c.head_dim,
        "attention.layer_norm_rms_epsilon": c.rms_norm_eps,
        "rope.freq_base": far["rope_theta"],
    }
    if far["rope_type"] == "linear":
        stated |= {"rope.scaling.type": "linear", "rope.scaling.factor": far["factor"]}
    if name != "gemma":
        stated["attention.sliding_window"] = c.sliding_window
    if getattr(c, "attn_logit_softcapping", None):
        stated["attn_logit_softcapping"] = c.attn_logit_softcapping
        stated["final_logit_softcapping"] = c.final_logit_softcapping
    if name == "gemma3":
        stated["rope.freq_base_swa"] = c.rope_parameters["sliding_attention"]["rope_theta"]
    return save_gguf(
        model, folder, name, stated, lambda key, tensor: {key: tensor + 1 if key.endswith("norm.weight") else tensor}
    )


def save_gemma_pytorch(model: transformers.PreTrainedModel, folder: Path) -> Path:
    """As Gemma's own PyTorch code names them: queries, keys and values in one, rotary positions as a buffer."""
    state, three = dict(model.state_dict()), isinstance(model, transformers.Gemma3ForCausalLM)
    state["embedder.weight"] = state.pop("model.embed_tokens.weight")
    del state["lm_head.weight"]  # tied
    for i in range(model.config.num_hidden_layers):
        attention = f"model.layers.{i}.self_attn."
        parts = [state.pop(f"{attention}{part}_proj.weight") for part in "qkv"]
        state[attention + "qkv_proj.weight"] = torch.cat(parts)
        for theirs, own in (("q_norm", "query_norm"), ("k_norm", "key_norm")) if three else ():
            state[f"{attention}{own}.weight"] = state.pop(f"{attention}{theirs}.weight")
    for name in ("local_freqs_cis", "global_freqs_cis") if three else ("freqs_cis",):
        state[name] = torch.ones(8, 4, dtype=torch.complex64)
    file = folder / "model.ckpt"
    torch.save({"model_state_dict": state}, file)
    return file


SAVERS = {
    "one file": save,
    "shards": save_sharded,
    "gguf": save_gemma_gguf,
    "gemma-pytorch": save_gemma_pytorch,
}
