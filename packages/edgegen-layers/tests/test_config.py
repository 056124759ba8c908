"""Configurations refuse what cannot be built, and can be compared."""

from __future__ import annotations

import pytest

from edgegen_layers import AttentionConfig, FeedForwardConfig, TransformerBlockConfig


def test_heads_that_groups_cannot_share_evenly_are_refused():
    with pytest.raises(ValueError, match="6 heads cannot share 4 key/value heads"):
        AttentionConfig(num_attention_heads=6, num_kv_heads=4, head_dim=8)


def test_odd_heads_cannot_be_rotated():
    with pytest.raises(ValueError, match="even number of channels, not 7"):
        AttentionConfig(num_attention_heads=4, num_kv_heads=2, head_dim=7)


@pytest.mark.parametrize(("groups", "rows"), [(1, 60), (2, 80), (4, 120)])
def test_the_fused_projection_has_rows_for_queries_keys_and_values(groups: int, rows: int):
    assert AttentionConfig(num_attention_heads=4, num_kv_heads=groups, head_dim=10).qkv_rows == rows


def test_equal_blocks_are_interchangeable():
    def block(width: int) -> TransformerBlockConfig:
        attention = AttentionConfig(num_attention_heads=4, num_kv_heads=2, head_dim=8)
        return TransformerBlockConfig(attn_config=attention, ff_config=FeedForwardConfig(intermediate_size=width))

    assert len({block(8), block(8), block(9)}) == 2
