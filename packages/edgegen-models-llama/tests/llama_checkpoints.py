"""Tiny Llamas of transformers' with random weights, as the checkpoints that people publish."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import gguf
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from edgegen_layers import DecoderLM, testing
from edgegen_layers.families.llama import Size

TIED = Size(layers=2, dim=32, heads=4, groups=2, hidden=40, context=64, vocab=48, rotary_base=500.0, tied=True)
SIZES = {
    "tied": TIED,
    "untied": replace(TIED, tied=False),
    "multi-query": replace(TIED, groups=1),
    "multi-head": replace(TIED, groups=4),
}
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9]


def reference(size: Size) -> LlamaForCausalLM:
    """Every weight random, so that each one matters: transformers starts norms at 1."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocab,
        hidden_size=size.dim,
        intermediate_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.groups,
        max_position_embeddings=size.context,
        rope_parameters={"rope_type": "default", "rope_theta": size.rotary_base},
        rms_norm_eps=1e-5,
        tie_word_embeddings=size.tied,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.normal_(mean=1 if "norm" in name else 0, std=0.3)
    return model


def expected_logits(model: LlamaForCausalLM) -> torch.Tensor:
    """``[T, V]`` for :data:`TOKENS`."""
    return model(torch.tensor([TOKENS])).logits[0]


def save_single(model: LlamaForCausalLM, folder: Path) -> Path:
    model.save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()
    return folder


def save_sharded(model: LlamaForCausalLM, folder: Path) -> Path:
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    return folder


def save_gguf(model: LlamaForCausalLM, folder: Path) -> Path:
    """As llama.cpp's converter does: its names, and the rows of queries and keys in its order."""
    c = model.config
    file = folder / "model.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_block_count(c.num_hidden_layers)
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, c.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and c.tie_word_embeddings:
            continue
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = c.num_attention_heads if "q_proj" in name else c.num_key_value_heads
            rows, columns = tensor.shape
            tensor = tensor.reshape(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


SAVERS = {"one file": save_single, "shards": save_sharded, "gguf": save_gguf}


def save_tensors(tensors: Mapping[str, torch.Tensor], folder: Path) -> Path:
    """Any tensors at all, as one file."""
    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return folder


resolve = partial(testing.resolve, "llama")
load_model = partial(testing.load_model, "llama")


def step(model: DecoderLM, cache, start: int, stop: int):
    """Run ``TOKENS[start:stop]``; the new cache, and logits ``[T, V]``."""
    tokens = torch.tensor([TOKENS[start:stop]], dtype=torch.int32)
    outputs = model(tokens, torch.arange(start, stop, dtype=torch.int32), cache)
    return outputs["kv_cache"], outputs["logits"][0]
