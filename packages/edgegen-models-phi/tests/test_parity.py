"""Checkpoints as they are published, through the family's weight maps, against transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from phi_checkpoints import CONFIGS, PHI2, PHI3, SAVERS, reference, save_fused_gguf

from edgegen_layers import FrequencyScaling
from edgegen_layers.testing import TOKENS, check_parity, eager_logits, expected_logits, load_model, resolve, save
from edgegen_models_phi.phi import build

GGUF_LACKS = "phi-2, normalized queries"
EVERY = [(size, saver) for size in CONFIGS for saver in SAVERS if (size, saver) != (GGUF_LACKS, "gguf")]


@pytest.mark.parametrize("size", CONFIGS)
def test_logits_are_those_of_transformers(size: str, tmp_path: Path):
    theirs = reference(CONFIGS[size])
    model = load_model("phi", save(theirs, tmp_path), CONFIGS[size])
    check_parity(model, TOKENS, expected_logits(theirs))


@pytest.mark.parametrize("kernel", ["matmul", "sdpa"])
@pytest.mark.parametrize(("size", "saver"), EVERY)
def test_so_they_are_from_every_checkpoint_and_with_every_kernel(size: str, saver: str, kernel: str, tmp_path: Path):
    theirs = reference(CONFIGS[size])
    model = load_model("phi", SAVERS[saver](theirs, tmp_path), CONFIGS[size], attention=kernel)
    torch.testing.assert_close(eager_logits(model), expected_logits(theirs), atol=1e-4, rtol=1e-4)


def test_queries_keys_and_values_of_a_gguf_may_be_fused(tmp_path: Path):
    theirs = reference(PHI2)
    model = load_model("phi", save_fused_gguf(theirs, tmp_path), PHI2)
    torch.testing.assert_close(eager_logits(model), expected_logits(theirs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("names", ["qkv_proj", "gate_up_proj"])
def test_the_rows_of_fused_tensors_are_in_our_order(names: str, tmp_path: Path):
    theirs = reference(PHI3)
    sources = resolve("phi", save(theirs, tmp_path), PHI3)
    ours, own = {
        "qkv_proj": ("attention.qkv", "self_attn.qkv_proj"),
        "gate_up_proj": ("feed_forward.gate_up", "mlp.gate_up_proj"),
    }[names]
    published = theirs.state_dict()[f"model.layers.1.{own}.weight"].numpy()
    np.testing.assert_array_equal(sources[f"blocks.1.{ours}.weight"].read(), published)


def test_the_context_of_the_row_picks_the_factors():
    extended = CONFIGS["phi-3, long factors"]
    short, long = extended.rope_scaling.factors, extended.long_factor
    for context, expected in ((8, short), (9, long), (64, long)):
        config = replace(extended, max_position_embeddings=context)
        with torch.device("meta"):
            scaling = build(config, layers={}).attention_configs[0].rope_scaling
        assert isinstance(scaling, FrequencyScaling)
        assert scaling.factors == expected
        assert scaling.attention_factor == pytest.approx(np.sqrt(1 + np.log(64 / 8) / np.log(8)))
