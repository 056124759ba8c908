"""Stretched rotary positions, against transformers' own."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gptj.modeling_gptj import apply_rotary_pos_emb as gptj_rotary

from edgegen_layers import FrequencyScaling, apply_rotary, rotary_table
from edgegen_layers.rotary_scaling import llama3_scaling, ntk_scaling, yarn_scaling

HEAD, BASE, LENGTH = 64, 10_000.0, 4096

CASES = {
    "llama3": (
        {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256},
        llama3_scaling(HEAD, BASE, factor=8.0, original=256),
    ),
    "dynamic": ({"factor": 3.0}, ntk_scaling(HEAD, factor=3.0 * 2 - 2.0)),
    "yarn": (
        {"factor": 4.0, "original_max_position_embeddings": 1024},
        yarn_scaling(HEAD, BASE, factor=4.0, original=1024),
    ),
    "yarn, with settings": (
        {
            "factor": 16.0, "original_max_position_embeddings": 512, "beta_fast": 24.0, "beta_slow": 2.0,
            "attention_factor": 1.3, "truncate": False,
        },
        yarn_scaling(
            HEAD, BASE, factor=16.0, original=512, beta_fast=24.0, beta_slow=2.0, attention_factor=1.3, truncate=False
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_transformers(name: str):
    settings, scaling = CASES[name]
    kind = name.partition(",")[0]
    config = LlamaConfig(
        hidden_size=2 * HEAD,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        rope_parameters={"rope_type": kind, "rope_theta": BASE, **settings},
    )
    frequencies, amplitude = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len=2 * LENGTH)
    assert isinstance(scaling, FrequencyScaling)
    plain = BASE ** -(torch.arange(0, HEAD, 2) / HEAD)
    torch.testing.assert_close(plain / torch.tensor(scaling.factors), frequencies, rtol=1e-5, atol=0)
    assert scaling.attention_factor == pytest.approx(amplitude)


def test_neighbours_turned_together_agree_with_gptj():
    x, positions = torch.randn(1, 7, 3, 16), torch.tensor([0, 1, 2, 5, 9, 100, 101])
    angles = positions[:, None] * BASE ** -(torch.arange(0, 16, 2) / 16)
    expected = gptj_rotary(x, angles.sin()[None], angles.cos()[None])
    table = rotary_table(positions, 16, BASE, interleaved=True)
    torch.testing.assert_close(apply_rotary(x, table, interleaved=True), expected)
