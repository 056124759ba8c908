"""Positions other than rotary ones, against transformers' own, and in LiteRT."""

from __future__ import annotations

import pytest
import torch
from lowering import check_lowered, randomize
from torch import nn
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

from edgegen_layers.positions import (
    RelativePositionBias,
    TimestepEmbedding,
    alibi_bias,
    alibi_slopes,
    sinusoidal_embedding,
)


@pytest.mark.parametrize("heads", [1, 4, 6, 12, 16])
def test_alibi_agrees_with_bloom(heads: int):
    theirs = build_alibi_tensor(torch.ones(1, 5), heads, torch.float32).reshape(heads, 1, 5)
    torch.testing.assert_close(torch.tensor(alibi_slopes(heads)), theirs[:, 0, 1])
    positions = torch.arange(5)
    ours = alibi_bias(positions, positions, heads)
    # Bloom counts from the text's beginning, we from the query: a softmax does not tell the two apart.
    torch.testing.assert_close(ours.softmax(-1), theirs.expand(heads, 5, 5).softmax(-1))


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (16, 64), (8, 20)])
def test_relative_buckets_agree_with_t5(num_buckets: int, max_distance: int, bidirectional: bool):
    bias = RelativePositionBias(num_buckets, max_distance, 4, bidirectional=bidirectional)
    offset = torch.arange(-300, 301)[None]
    theirs = T5Attention._relative_position_bucket(
        offset, bidirectional=bidirectional, num_buckets=num_buckets, max_distance=max_distance
    )
    assert torch.equal(bias.buckets(offset.float()), theirs.int())


def test_relative_biases_in_litert():
    bias = RelativePositionBias(32, 128, 4, bidirectional=True)
    randomize(bias)
    check_lowered(bias, torch.arange(3, 8, dtype=torch.int32), torch.arange(160, dtype=torch.int32))


def test_sinusoidal_embedding_is_the_papers():
    positions = torch.tensor([0, 1, 7, 900])
    found = sinusoidal_embedding(positions, 8)
    for row, position in enumerate(positions.tolist()):
        for pair in range(4):
            angle = torch.tensor(position / 10_000 ** (2 * pair / 8), dtype=torch.float32)
            torch.testing.assert_close(found[row, pair], angle.sin(), atol=1e-4, rtol=0)
            torch.testing.assert_close(found[row, 4 + pair], angle.cos(), atol=1e-4, rtol=0)
    swapped = sinusoidal_embedding(positions, 8, cos_first=True)
    torch.testing.assert_close(swapped, torch.cat([found[:, 4:], found[:, :4]], dim=1))
    last = sinusoidal_embedding(torch.tensor([1]), 8, max_period=100.0, denominator=1)[0, 3]
    torch.testing.assert_close(last, torch.tensor(0.01).sin())


def test_timestep_embedding():
    embedding = TimestepEmbedding(16, 24)
    randomize(embedding)
    steps = torch.tensor([0.0, 10.0, 999.0])
    layers = nn.Sequential(embedding.up, nn.SiLU(), embedding.down)
    torch.testing.assert_close(embedding(steps), layers(sinusoidal_embedding(steps, 16, cos_first=True)))
    check_lowered(embedding, steps, tolerance=1e-3)
