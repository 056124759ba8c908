"""Tiny random checkpoints, as people publish them: for the tests of any family.

A configuration of transformers becomes a small model with large weights, and that a folder of safetensors or a GGUF
file::

    theirs = random_model(LlamaForCausalLM(LlamaConfig(vocab_size=48, ...)))
    folder = save(theirs, tmp_path)                      # or save_sharded, save_gguf
    check_parity(load_published("llama", folder), TOKENS, expected_logits(theirs))

Needs safetensors, and gguf to write such files.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from edgegen_layers.testing.parity import TOKENS

M = TypeVar("M", bound=nn.Module)

Change = Callable[[str, torch.Tensor], Mapping[str, torch.Tensor]]
"""``(published name, tensor) -> published name -> tensor``: what a writer makes of one tensor, e.g. reordered rows."""

_METADATA = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
}
"""GGUF key -> the same in ``config.json``."""


def random_model(
    model: M,
    *,
    std: float = 0.3,
    norm_mean: float = 1.0,
    deviations: Mapping[str, float] | None = None,
    seed: int = 0,
) -> M:
    """``model`` with every weight random, so that each one matters: transformers starts norms at 1 and biases at 0.

    Args:
        model: changed in place; in evaluation mode and without gradients afterwards.
        std: standard deviation, large enough for parity to mean something.
        norm_mean: mean of the scales of normalizations; 0 for those that are stored around zero.
        deviations: part of a name -> ``std`` there.
        seed: of the random numbers.
    """
    torch.manual_seed(seed)
    for name, parameter in model.eval().requires_grad_(False).named_parameters():
        scale = "norm" in name.lower() and name.endswith("weight")
        own = next((own for part, own in (deviations or {}).items() if part in name), std)
        parameter.normal_(mean=norm_mean if scale else 0.0, std=own)
    return model


def settings(config: Any, *without: str) -> dict[str, Any]:
    """Fields of a family's configuration, which has the checkpoint's own words: arguments for transformers'."""
    return {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name not in without}


def expected_logits(model: Any, tokens: Collection[int] = TOKENS) -> torch.Tensor:
    """Logits ``[T, V]`` of transformers' model."""
    logits: torch.Tensor = model(torch.tensor([list(tokens)])).logits[0]
    return logits


def save(model: Any, folder: Path) -> Path:
    """One safetensors file and ``config.json``, as ``save_pretrained`` writes them."""
    model.save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()
    return folder


def save_sharded(model: Any, folder: Path) -> Path:
    """The same in several shards with an index."""
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 2
    return folder


def save_tensors(tensors: Mapping[str, torch.Tensor], folder: Path, config: Mapping[str, Any] | None = None) -> Path:
    """Any tensors at all as one safetensors file, with ``config`` as ``config.json``."""
    from safetensors.torch import save_file

    save_file({name: tensor.clone().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def save_gguf(
    model: Any, folder: Path, architecture: str, metadata: Mapping[str, Any], change: Change | None = None
) -> Path:
    """A GGUF file as llama.cpp's converter writes it; see :func:`write_gguf`. A tied head is left out."""
    config = model.config
    known = {key: getattr(config, field) for key, field in _METADATA.items()}
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name != "lm_head.weight" or not config.tie_word_embeddings:
            tensors |= {name: tensor} if change is None else change(name, tensor)
    return write_gguf(tensors, folder / "model.gguf", architecture, {**known, **metadata})


def write_gguf(tensors: Mapping[str, torch.Tensor], file: Path, architecture: str, metadata: Mapping[str, Any]) -> Path:
    """A GGUF file of float32 tensors.

    Args:
        tensors: by the names of transformers' models, which become the format's; others stay as they are.
        file: where to.
        architecture: as ``gguf.MODEL_ARCH_NAMES`` has it, e.g. ``llama``.
        metadata: key without the architecture -> a number, a string or a list of integers.
    """
    import gguf

    writer = gguf.GGUFWriter(file, architecture)
    for key, value in metadata.items():
        add = {int: writer.add_uint32, float: writer.add_float32, str: writer.add_string, list: writer.add_array}
        add[type(value)](f"{architecture}.{key}", value)
    (kind,) = (kind for kind, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(kind, metadata.get("block_count", 1))
    for name, tensor in tensors.items():
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(known or name, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
