"""Tiny Gemmas of transformers' with random weights, as the checkpoints that people publish."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import gguf
import torch
from safetensors.torch import save_file
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    PreTrainedModel,
)

from edgegen_layers import DecoderLM, LinearScaling, testing
from edgegen_models_gemma.model import GENERATIONS, Size

# More blocks than a period, and windows and caps small enough to matter in a text of twelve tokens.
FIRST = Size(layers=2, dim=32, heads=4, groups=1, hidden=40, context=64, vocab=48, head_dim=16, rotary_base=500.0)
CAPS = {"attention_cap": 2.0, "final_cap": 3.0}
SECOND = replace(FIRST, **GENERATIONS["gemma2"] | CAPS, layers=3, groups=2, window=4, query_scalar=10.0)
THIRD = replace(FIRST, **GENERATIONS["gemma3"] | {"rotary_base": 5000.0, "local_base": 300.0}, layers=7, window=3)
SIZES = {
    "gemma": FIRST,
    "gemma-multi-head": replace(FIRST, groups=4),
    "gemma2": SECOND,
    "gemma2-uncapped": replace(SECOND, attention_cap=None, final_cap=None),
    "gemma3": THIRD,
    "gemma3-scaled": replace(THIRD, groups=2, query_scalar=24.0, rotary_scaling=LinearScaling(factor=8.0)),
    "gemma3-other-pattern": replace(THIRD, layers=5, local=(True, False, False, True, True)),
}
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9]


def reference(name: str) -> PreTrainedModel:
    """Every weight random, so that each one matters: transformers starts norms at 1, which Gemma stores as 0."""
    torch.manual_seed(0)
    size = SIZES[name]
    shape = {
        "vocab_size": size.vocab,
        "hidden_size": size.dim,
        "intermediate_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.groups,
        "head_dim": size.head_dim,
        "max_position_embeddings": size.context,
    }
    windows = {
        "sliding_window": size.window,
        "layer_types": [
            "sliding_attention" if size.local[i % len(size.local)] else "full_attention" for i in range(size.layers)
        ],
        "query_pre_attn_scalar": int(size.query_scalar or size.head_dim),
        "attn_logit_softcapping": size.attention_cap,
        "final_logit_softcapping": size.final_cap,
    }
    rope: dict = {"rope_type": "default", "rope_theta": size.rotary_base}
    if size.qk_norm:
        scaled = {"rope_type": "linear", "factor": 8.0} if size.rotary_scaling else {}
        near = {"rope_type": "default", "rope_theta": size.local_base}
        ropes = {"full_attention": rope | scaled, "sliding_attention": near}
        model = Gemma3ForCausalLM(Gemma3TextConfig(**shape, **windows, rope_parameters=ropes))
    elif size.post_norms:
        model = Gemma2ForCausalLM(Gemma2Config(**shape, **windows, rope_parameters=rope))
    else:
        model = GemmaForCausalLM(GemmaConfig(**shape, rope_parameters=rope))
    model.set_attn_implementation("eager")  # the others leave out the soft cap
    model = model.eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.normal_(std=0.3)
    return model


def expected_logits(model: PreTrainedModel) -> torch.Tensor:
    """``[T, V]`` for :data:`TOKENS`."""
    return model(torch.tensor([TOKENS])).logits[0]


def save_single(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()
    return folder


def save_sharded(model: PreTrainedModel, folder: Path) -> Path:
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    return folder


def save_seeing(model: PreTrainedModel, folder: Path) -> Path:
    """As one that sees images: the text's part under a prefix, beside a tower that is not exported."""
    tensors = {f"language_model.{name}": tensor for name, tensor in model.state_dict().items() if "lm_head" not in name}
    tensors["vision_tower.vision_model.post_layernorm.weight"] = torch.ones(8)
    tensors["multi_modal_projector.mm_soft_emb_norm.weight"] = torch.ones(8)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")
    config = {"model_type": "gemma3", "text_config": model.config.to_diff_dict(), "vision_config": {"hidden_size": 8}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def save_gguf(model: PreTrainedModel, folder: Path) -> Path:
    """As llama.cpp's converter does: its names, and 1 added to every norm."""
    c = model.config
    file = folder / "model.gguf"
    name = c.model_type.removesuffix("_text")
    writer = gguf.GGUFWriter(file, name)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    far = c.rope_parameters.get("full_attention", c.rope_parameters)
    writer.add_rope_freq_base(far["rope_theta"])
    if far["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(far["factor"])
    if name != "gemma":
        writer.add_sliding_window(c.sliding_window)
    if getattr(c, "attn_logit_softcapping", None):
        writer.add_attn_logit_softcapping(c.attn_logit_softcapping)
        writer.add_final_logit_softcapping(c.final_logit_softcapping)
    if name == "gemma3":
        writer.add_rope_freq_base_swa(c.rope_parameters["sliding_attention"]["rope_theta"])
    architecture = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    names = gguf.get_tensor_name_map(architecture, c.num_hidden_layers)
    for key, tensor in model.state_dict().items():
        if key != "lm_head.weight":
            stored = tensor + 1 if key.endswith("norm.weight") else tensor
            writer.add_tensor(names.get_name(key, try_suffixes=(".weight",)), stored.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def save_gemma_pytorch(model: PreTrainedModel, folder: Path) -> Path:
    """As Gemma's own PyTorch code names them: queries, keys and values in one, rotary positions as a buffer."""
    state, three = dict(model.state_dict()), isinstance(model, Gemma3ForCausalLM)
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
    "one file": save_single,
    "shards": save_sharded,
    "gguf": save_gguf,
    "gemma-pytorch": save_gemma_pytorch,
}


resolve = partial(testing.resolve, "gemma")
load_model = partial(testing.load_model, "gemma")


def step(model: DecoderLM, cache, start: int, stop: int):
    """Run ``TOKENS[start:stop]``; the new cache, and logits ``[T, V]``."""
    tokens = torch.tensor([TOKENS[start:stop]], dtype=torch.int32)
    outputs = model(tokens, torch.arange(start, stop, dtype=torch.int32), cache)
    return outputs["kv_cache"], outputs["logits"][0]
