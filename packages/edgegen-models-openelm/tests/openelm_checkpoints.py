"""Tiny OpenELMs with random weights, as the checkpoints that people publish."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import gguf
import torch
from openelm_reference import OpenELM
from safetensors.torch import save_file

from edgegen_layers import DecoderLM, testing
from edgegen_models_openelm.model import Size

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9]
DIVISOR = 8
MULTIPLIERS = (0.5, 1.25, 2.0)

TIED = Size(
    dim=32,
    head_dim=8,
    heads=(2, 4, 6),
    groups=(1, 2, 3),
    hidden=(16, 40, 64),
    context=64,
    vocab=48,
    rotary_base=500.0,
)
SIZES = {
    "tied": TIED,
    "untied": replace(TIED, tied=False),
    "raw queries": replace(TIED, qk_norm=False),
    "equal blocks": replace(TIED, heads=(4, 4, 4), groups=(4, 4, 4)),
    "multi-query": replace(TIED, groups=(1, 1, 1)),
}


def reference(size: Size) -> OpenELM:
    """Every weight random, so that each one matters."""
    torch.manual_seed(0)
    model = OpenELM(
        dim=size.dim,
        head_dim=size.head_dim,
        vocab=size.vocab,
        sizes=list(zip(size.heads, size.groups, size.hidden, strict=True)),
        base=size.rotary_base,
        tied=size.tied,
        normalize=size.qk_norm,
    ).requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.normal_(mean=1 if "norm" in name else 0, std=0.3)
    return model


def expected_logits(model: OpenELM) -> torch.Tensor:
    """``[T, V]`` for :data:`TOKENS`."""
    return model(torch.tensor(TOKENS))


def settings(size: Size) -> dict[str, object]:
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
        "head_dim": size.head_dim,
        "initializer_range": 0.02,
        "max_context_length": size.context,
        "model_dim": size.dim,
        "model_type": "openelm",
        "normalization_layer_name": "rms_norm",
        "normalize_qk_projections": size.qk_norm,
        "num_gqa_groups": size.heads[0] // size.groups[0],
        "num_kv_heads": list(size.groups),
        "num_query_heads": list(size.heads),
        "num_transformer_layers": len(size.heads),
        "qkv_multipliers": [0.5, 1.0],
        "rope_freq_constant": int(size.rotary_base),
        "rope_max_length": 2 * size.context,
        "share_input_output_layers": size.tied,
        "torch_dtype": "float32",
        "transformers_version": "4.39.3",
        "use_cache": True,
        "vocab_size": size.vocab,
    }


def save_single(size: Size, folder: Path) -> Path:
    (folder / "config.json").write_text(json.dumps(settings(size)))
    return save_tensors(reference(size).state_dict(), folder)


def save_gguf(size: Size, folder: Path) -> Path:
    """As llama.cpp's converter does: its names, gate and up apart."""
    file = folder / "model.gguf"
    layers = len(size.heads)
    writer = gguf.GGUFWriter(file, "openelm")
    writer.add_block_count(layers)
    writer.add_context_length(size.context)
    writer.add_embedding_length(size.dim)
    writer.add_feed_forward_length(list(size.hidden))
    writer.add_head_count(list(size.heads))
    writer.add_head_count_kv(list(size.groups))
    writer.add_rope_freq_base(size.rotary_base)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(size.head_dim)
    writer.add_key_length(size.head_dim)
    writer.add_value_length(size.head_dim)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.OPENELM, layers)
    for name, tensor in reference(size).state_dict().items():
        if "proj_1" in name:
            block = name.split(".")[2]
            for part, rows in zip(("gate", "up"), tensor.chunk(2), strict=True):
                writer.add_tensor(f"blk.{block}.ffn_{part}.weight", rows.contiguous().numpy())
        else:
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


SAVERS = {"safetensors": save_single, "gguf": save_gguf}


def save_tensors(tensors: Mapping[str, torch.Tensor], folder: Path) -> Path:
    """Any tensors at all, as one file."""
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


resolve = partial(testing.resolve, "openelm")
load_model = partial(testing.load_model, "openelm")


def logits(model: DecoderLM) -> torch.Tensor:
    """``[T, V]`` for :data:`TOKENS`, read at once."""
    length = len(TOKENS)
    tokens, positions = torch.tensor([TOKENS], dtype=torch.int32), torch.arange(length, dtype=torch.int32)
    return model(tokens, positions, model.new_cache(length))["logits"][0]
