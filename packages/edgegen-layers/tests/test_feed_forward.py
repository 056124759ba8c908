"""Gated feed-forward."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgegen_layers import FeedForwardConfig, GatedFeedForward


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("activation", ["silu", "gelu", "relu"])
def test_agrees_with_three_separate_projections(activation: str, use_bias: bool):
    torch.manual_seed(0)
    layer = GatedFeedForward(16, FeedForwardConfig(intermediate_size=24, activation=activation, use_bias=use_bias))
    gate, up = nn.Linear(16, 24, bias=use_bias), nn.Linear(16, 24, bias=use_bias)
    with torch.no_grad():
        layer.gate_up.weight.copy_(torch.cat([gate.weight, up.weight]))
        if use_bias:
            layer.gate_up.bias.copy_(torch.cat([gate.bias, up.bias]))
    x = torch.randn(2, 5, 16)
    activate = getattr(nn.functional, activation)
    torch.testing.assert_close(layer(x), layer.down(activate(gate(x)) * up(x)))


@pytest.mark.parametrize("use_bias", [False, True])
def test_has_a_bias_on_every_projection_or_on_none(use_bias: bool):
    layer = GatedFeedForward(4, FeedForwardConfig(intermediate_size=6, use_bias=use_bias))
    assert [name for name, _ in layer.named_parameters() if name.endswith("bias")] == (
        ["gate_up.bias", "down.bias"] if use_bias else []
    )
