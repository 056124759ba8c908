"""Checkpoints with the published names, through the family's weight maps, against a plain implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from openelm_checkpoints import CONFIGS, SAVERS, TIED, expected_logits, reference

from edgegen_layers.testing import TOKENS, check_parity, eager_logits, load_model, resolve
from edgegen_models_openelm.openelm import build

# In llama.cpp the head is always tied.
EVERY = [(size, saver) for size in CONFIGS for saver in SAVERS if (size, saver) != ("untied", "gguf")]


@pytest.mark.parametrize("size", CONFIGS)
def test_logits_are_those_of_the_reference(size: str, tmp_path: Path):
    model = load_model("openelm", SAVERS["safetensors"](CONFIGS[size], tmp_path), CONFIGS[size])
    check_parity(model, TOKENS, expected_logits(reference(CONFIGS[size])))


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@pytest.mark.parametrize(("size", "saver"), EVERY)
def test_so_they_are_from_every_checkpoint_and_with_every_kernel(size: str, saver: str, kernel: str, tmp_path: Path):
    model = load_model("openelm", SAVERS[saver](CONFIGS[size], tmp_path), CONFIGS[size], attention=kernel)
    torch.testing.assert_close(eager_logits(model), expected_logits(reference(CONFIGS[size])), atol=1e-4, rtol=1e-4)


def test_each_block_has_a_cache_of_its_own_shape():
    with torch.device("meta"):
        cache = build(TIED, layers={}).new_cache(12)
    assert [tuple(keys.shape) for keys in cache.k] == [(1, groups, 12, 8) for groups in TIED.num_key_value_heads]


@pytest.mark.parametrize(("ours", "own"), [("attention.qkv", "attn.qkv_proj"), ("feed_forward.gate_up", "ffn.proj_1")])
def test_the_rows_of_fused_tensors_are_in_our_order(ours: str, own: str, tmp_path: Path):
    sources = resolve("openelm", SAVERS["safetensors"](TIED, tmp_path), TIED)
    published = reference(TIED).state_dict()[f"transformer.layers.1.{own}.weight"].numpy()
    np.testing.assert_array_equal(sources[f"blocks.1.{ours}.weight"].read(), published)
