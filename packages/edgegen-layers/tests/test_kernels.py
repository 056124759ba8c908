"""Attention kernels: their cache layouts, and that only the layout tells them apart."""

from __future__ import annotations

import pytest
import torch
from tiny_llama import KERNELS
from torch import nn

from edgegen.errors import UsageError
from edgegen.plugins import load, registry
from edgegen_layers import AttentionConfig
from edgegen_layers.kernels import causal_hidden

CONFIG = AttentionConfig(num_attention_heads=6, num_kv_heads=2, head_dim=8)
SLOTS = 10

CACHE_SHAPES = {
    "matmul": ((1, 2, SLOTS, 8), (1, 2, 8, SLOTS)),  # [B, KH, S, H] and [B, KH, H, S]
    "sdpa": ((1, SLOTS, 2, 8), (1, SLOTS, 2, 8)),  # [B, S, KH, H]
}


def attend(name: str, q, k, v, start: int, history=None):
    """Attend to a cache whose first slots hold ``history``, keys and values ``[1, S, KH, H]``."""
    kernel = KERNELS[name]()
    keys, values = (torch.zeros(shape) for shape in kernel.cache_shapes(CONFIG, SLOTS))
    if history is not None:
        mask = kernel.mask(torch.arange(start), SLOTS, CONFIG)
        queries = torch.zeros(1, start, CONFIG.num_attention_heads, CONFIG.head_dim)
        _, keys, values = kernel.attend(queries, *history, keys, values, torch.tensor([0]), mask, CONFIG)
    mask = kernel.mask(torch.arange(start, start + q.shape[1]), SLOTS, CONFIG)
    return kernel.attend(q, k, v, keys, values, torch.tensor([start]), mask, CONFIG)


@pytest.mark.parametrize("name", KERNELS)
def test_cache_shapes(name: str):
    kernel = KERNELS[name]()
    assert kernel.cache_shapes(CONFIG, SLOTS) == CACHE_SHAPES[name]
    assert kernel.cache_length(torch.empty(CACHE_SHAPES[name][0])) == SLOTS


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize(("start", "length"), [(0, 4), (3, 1), (3, 5), (SLOTS - 1, 1), (0, SLOTS)])
def test_agrees_with_pytorch_attention_over_the_same_history(name: str, start: int, length: int):
    torch.manual_seed(0)
    q = torch.randn(1, length, CONFIG.num_attention_heads, CONFIG.head_dim)
    k, v = torch.randn(2, 1, start + length, CONFIG.num_kv_heads, CONFIG.head_dim)
    mixed, _, _ = attend(name, q, k[:, start:], v[:, start:], start, (k[:, :start], v[:, :start]) if start else None)
    visible = torch.arange(start + length) <= torch.arange(start, start + length)[:, None]
    expected = nn.functional.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=visible, enable_gqa=True
    )
    torch.testing.assert_close(mixed, expected.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("name", KERNELS)
def test_keys_and_values_go_to_their_slots_and_nowhere_else(name: str):
    k, v = torch.randn(2, 1, 3, CONFIG.num_kv_heads, CONFIG.head_dim)
    q = torch.randn(1, 3, CONFIG.num_attention_heads, CONFIG.head_dim)
    _, keys, values = attend(name, q, k, v, start=4)
    by_slot = {"matmul": ((0, 2, 1, 3), (0, 3, 1, 2)), "sdpa": ((0, 1, 2, 3), (0, 1, 2, 3))}[name]
    for cached, written, axes in ((keys, k, by_slot[0]), (values, v, by_slot[1])):
        slots = cached.permute(axes)  # [B, S, KH, H]
        assert torch.equal(slots[:, 4:7], written)
        assert not slots[:, :4].any()
        assert not slots[:, 7:].any()


def test_a_token_sees_itself_and_what_came_before():
    hidden = causal_hidden(torch.tensor([2, 3], dtype=torch.int32), 5)
    assert hidden.tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, 1]]


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_found_by_name(name: str):
    assert load(registry().layer("attention", name).impl) is KERNELS[name]


def test_an_unknown_kernel_suggests_the_closest():
    with pytest.raises(UsageError, match="did you mean matmul"):
        registry().layer("attention", "matmull")
