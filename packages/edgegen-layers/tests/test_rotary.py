"""Rotary positions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from edgegen_layers import apply_rotary, rotary_table


@pytest.mark.parametrize("base", [10_000.0, 100_000.0])
@pytest.mark.parametrize("head_dim", [2, 8, 64])
def test_agrees_with_transformers(head_dim: int, base: float):
    torch.manual_seed(0)
    q, k = torch.randn(1, 7, 3, head_dim), torch.randn(1, 7, 1, head_dim)
    positions = torch.tensor([0, 1, 2, 100, 2047, 8190, 8191])
    config = LlamaConfig(
        hidden_size=3 * head_dim,
        num_attention_heads=3,
        num_key_value_heads=1,
        rope_parameters={"rope_type": "default", "rope_theta": base},
    )
    cos, sin = LlamaRotaryEmbedding(config)(q, positions[None])
    expected_q, expected_k = apply_rotary_pos_emb(q.transpose(1, 2), k.transpose(1, 2), cos, sin)
    table = rotary_table(positions.int(), head_dim, base)
    torch.testing.assert_close(apply_rotary(q, table), expected_q.transpose(1, 2))
    torch.testing.assert_close(apply_rotary(k, table), expected_k.transpose(1, 2))


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
@settings(deadline=None, max_examples=40)
def test_products_depend_only_on_the_distance(query: int, key: int, shift: int):
    torch.manual_seed(0)
    q, k = torch.randn(1, 1, 2, 16), torch.randn(1, 1, 2, 16)

    def product(query_at: int, key_at: int) -> torch.Tensor:
        turned = [
            apply_rotary(x, rotary_table(torch.tensor([at]), 16, 10_000.0)) for x, at in ((q, query_at), (k, key_at))
        ]
        return (turned[0] * turned[1]).sum(-1)

    torch.testing.assert_close(product(query, key), product(query + shift, key + shift), atol=2e-3, rtol=0)


def test_position_zero_changes_nothing():
    x = torch.randn(1, 1, 2, 8)
    assert torch.equal(apply_rotary(x, rotary_table(torch.tensor([0]), 8, 10_000.0)), x)
