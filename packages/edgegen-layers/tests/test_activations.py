"""Activations by name: against their definitions, and in LiteRT."""

from __future__ import annotations

import pytest
import torch
from lowering import check_lowered

from edgegen_layers import Activation
from edgegen_layers.config import ACTIVATIONS

DEFINITIONS = {
    "elu": lambda x: torch.where(x > 0, x, x.exp() - 1),
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "gelu_quick": lambda x: x / (1 + (-1.702 * x).exp()),
    "gelu_tanh": lambda x: x / 2 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3))),
    "hard_swish": lambda x: x * (x + 3).clamp(0, 6) / 6,
    "leaky_relu": lambda x: torch.where(x > 0, x, 0.01 * x),
    "mish": lambda x: x * torch.tanh(torch.log1p(x.exp())),
    "relu": lambda x: x.clamp(min=0),
    "relu6": lambda x: x.clamp(0, 6),
    "relu_squared": lambda x: x.clamp(min=0) ** 2,
    "sigmoid": lambda x: 1 / (1 + (-x).exp()),
    "silu": lambda x: x / (1 + (-x).exp()),
    "softplus": lambda x: torch.log1p(x.exp()),
    "tanh": lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_what_they_are_called(name: str):
    x = torch.linspace(-8, 8, 65)
    torch.testing.assert_close(Activation(name)(x), DEFINITIONS[name](x), atol=1e-5, rtol=1e-4)
    check_lowered(Activation(name), x)
