"""Tiny Phis of transformers' with random weights, as the checkpoints that people publish."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import gguf
import torch
from safetensors.torch import save_file
from transformers import Phi3Config, Phi3ForCausalLM, PhiConfig, PhiForCausalLM, PreTrainedModel

from edgegen_layers import DecoderLM, testing
from edgegen_models_phi.model import LongRope, Size

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9]

PHI2 = Size(
    layers=2,
    dim=40,
    heads=4,
    groups=4,
    hidden=48,
    context=64,
    vocab=48,
    parallel=True,
    rotary=0.4,
    rotary_base=500.0,
)
PHI3 = Size(layers=2, dim=32, heads=4, groups=4, hidden=40, context=64, vocab=48, rotary_base=500.0)
# The tokens fit the original length of the first; of the second they do not, so that transformers takes the long ones.
SHORT = LongRope(short=(1.0, 1.3, 1.1, 2.0), long=(1.1, 1.7, 4.0, 9.0), original=16, extended=64)
LONG = replace(SHORT, original=8)

SIZES = {
    "phi-2": PHI2,
    "phi-2, grouped queries": replace(PHI2, groups=2),
    "phi-2, tied": replace(PHI2, tied=True),
    "phi-2, normalized queries": replace(PHI2, qk_norm=True),
    "phi-3": PHI3,
    "phi-3, grouped queries": replace(PHI3, groups=2, epsilon=1e-3),
    "phi-3, window": replace(PHI3, window=4),
    "phi-3, tied": replace(PHI3, tied=True),
    "phi-3, short factors": replace(PHI3, context=16, long_rope=SHORT),
    "phi-3, long factors": replace(PHI3, long_rope=LONG),
    "phi-4": replace(
        PHI3,
        groups=2,
        tied=True,
        rotary=0.75,
        context=16,
        long_rope=replace(SHORT, short=(1.0, 1.3, 2.0), long=(1.0,) * 3),
    ),
}


def reference(size: Size) -> PreTrainedModel:
    """Every weight random, so that each one matters: transformers starts norms at 1 and biases at 0."""
    torch.manual_seed(0)
    model = _phi2(size) if size.parallel else _phi3(size)
    model = model.eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.normal_(mean=1 if "norm" in name and name.endswith("weight") else 0, std=0.3)
    return model


def _common(size: Size) -> dict[str, object]:
    return {
        "vocab_size": size.vocab,
        "hidden_size": size.dim,
        "intermediate_size": size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.groups,
        "tie_word_embeddings": size.tied,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
        "attn_implementation": "eager",
    }


def _phi2(size: Size) -> PhiForCausalLM:
    rope = {"rope_type": "default", "rope_theta": size.rotary_base, "partial_rotary_factor": size.rotary}
    return PhiForCausalLM(
        PhiConfig(
            **_common(size),
            max_position_embeddings=size.context,
            layer_norm_eps=size.epsilon,
            qk_layernorm=size.qk_norm,
            rope_parameters=rope,
        )
    )


def _phi3(size: Size) -> Phi3ForCausalLM:
    rope: dict[str, object] = {"rope_type": "default", "rope_theta": size.rotary_base}
    rope["partial_rotary_factor"] = size.rotary
    scaled = size.long_rope
    if scaled:
        rope |= {"rope_type": "longrope", "short_factor": list(scaled.short), "long_factor": list(scaled.long)}
    return Phi3ForCausalLM(
        Phi3Config(
            **_common(size),
            max_position_embeddings=scaled.extended if scaled else size.context,
            original_max_position_embeddings=scaled.original if scaled else size.context,
            rms_norm_eps=size.epsilon,
            sliding_window=size.window,
            rope_parameters=rope,
        )
    )


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


def save_gguf(model: PreTrainedModel, folder: Path, *, fused: bool = False) -> Path:
    """As llama.cpp's converter does; for Phi-2 with fused queries, keys and values, as it once did."""
    c = model.config
    phi2 = c.model_type == "phi"
    rope = c.rope_parameters
    architecture = gguf.MODEL_ARCH.PHI2 if phi2 else gguf.MODEL_ARCH.PHI3
    file = folder / "model.gguf"
    writer = gguf.GGUFWriter(file, "phi2" if phi2 else "phi3")
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_rope_dimension_count(int(rope["partial_rotary_factor"] * c.hidden_size) // c.num_attention_heads)
    writer.add_rope_freq_base(rope["rope_theta"])
    if phi2:
        writer.add_layer_norm_eps(c.layer_norm_eps)
    else:
        writer.add_layer_norm_rms_eps(c.rms_norm_eps)
        writer.add_rope_scaling_orig_ctx_len(c.original_max_position_embeddings)
        writer.add_sliding_window(c.sliding_window or 0)
    if "long_factor" in rope:
        original = c.original_max_position_embeddings
        ratio = c.max_position_embeddings / original
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(ratio) / math.log(original)))
        for kind in ("long", "short"):
            writer.add_tensor(f"rope_factors_{kind}.weight", torch.tensor(rope[f"{kind}_factor"]).numpy())
    names = gguf.get_tensor_name_map(architecture, c.num_hidden_layers)
    state = model.state_dict()
    for name, tensor in state.items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        if fused and "self_attn.q_proj" in name:
            parts = [state[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            block, kind = name.split(".")[2], name.rsplit(".", 1)[1]
            writer.add_tensor(f"blk.{block}.attn_qkv.{kind}", torch.cat(parts).numpy())
        elif not (fused and ("k_proj" in name or "v_proj" in name)):
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def save_fused_gguf(model: PreTrainedModel, folder: Path) -> Path:
    return save_gguf(model, folder, fused=True)


SAVERS = {"one file": save_single, "shards": save_sharded, "gguf": save_gguf}


def save_tensors(tensors: Mapping[str, torch.Tensor], folder: Path) -> Path:
    """Any tensors at all, as one file."""
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


resolve = partial(testing.resolve, "phi")
load_model = partial(testing.load_model, "phi")


def logits(model: DecoderLM) -> torch.Tensor:
    """``[T, V]`` for :data:`TOKENS`, read at once."""
    length = len(TOKENS)
    tokens, positions = torch.tensor([TOKENS], dtype=torch.int32), torch.arange(length, dtype=torch.int32)
    return model(tokens, positions, model.new_cache(length))["logits"][0]
