"""Mixtures of experts, against a loop over tokens, and in LiteRT."""

from __future__ import annotations

import pytest
import torch
from lowering import check_lowered, randomize

from edgegen_layers import FeedForwardConfig, MixtureOfExperts


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("gated", [True, False])
def test_each_token_goes_through_its_likeliest_experts(gated: bool, normalize: bool):
    config = FeedForwardConfig(
        intermediate_size=6, activation="silu", gated=gated, num_experts=4, num_experts_per_token=2,
        normalize_expert_weights=normalize,
    )  # fmt: skip
    layer = MixtureOfExperts(8, config)
    randomize(layer)
    layer.requires_grad_(False)
    x = torch.randn(1, 5, 8)
    rows = layer.up.weight.chunk(4)
    expected = torch.zeros(5, 8)
    for t, token in enumerate(x[0]):
        likelihood = torch.softmax(layer.router.weight @ token, dim=0)
        chosen = likelihood.argsort(descending=True)[:2].tolist()
        total = likelihood[chosen].sum() if normalize else 1.0
        for expert in chosen:
            hidden = rows[expert] @ token
            gate, up = hidden.chunk(2) if gated else (hidden, torch.ones(6))
            value = torch.nn.functional.silu(gate) * up
            expected[t] += likelihood[expert] / total * (layer.down[expert].weight @ value)
    torch.testing.assert_close(layer(x)[0], expected)
    check_lowered(layer, x)
