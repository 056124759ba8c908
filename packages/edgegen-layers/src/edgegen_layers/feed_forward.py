"""Feed-forward layers."""

from __future__ import annotations

import torch
from torch import nn

from edgegen.tracing import composite
from edgegen_layers.activations import Activation
from edgegen_layers.config import FeedForwardConfig


@composite("odml.swiglu", attributes=lambda gate_up: {"gate_size": gate_up.shape[-1] // 2})
def swiglu(gate_up: torch.Tensor) -> torch.Tensor:
    """``silu(gate) * up``, ``[..., 2 * F] -> [..., F]``, gate's channels first."""
    gate, up = gate_up.chunk(2, dim=-1)
    return nn.functional.silu(gate) * up


class GatedFeedForward(nn.Module):
    """``down(activation(gate(x)) * up(x))``, ``[B, T, D] -> [B, T, D]``.

    Gate and up are one matrix, gate's rows first: one product, and its input is quantized once.
    """

    def __init__(self, hidden_size: int, config: FeedForwardConfig) -> None:
        super().__init__()
        self.config = config
        self.activation = Activation(config.activation)
        self.gate_up = nn.Linear(hidden_size, 2 * config.intermediate_size, bias=config.use_bias)
        self.down = nn.Linear(config.intermediate_size, hidden_size, bias=config.use_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate_up = self.gate_up(x)  # [B, T, 2 * F]
        if self.activation.name == "silu":
            return self.down(swiglu(gate_up))  # type: ignore[no-any-return]
        gate, up = gate_up.chunk(2, dim=-1)
        return self.down(self.activation(gate) * up)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """``down(activation(up(x)))``, ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, hidden_size: int, config: FeedForwardConfig) -> None:
        super().__init__()
        self.config = config
        self.activation = Activation(config.activation)
        self.up = nn.Linear(hidden_size, config.intermediate_size, bias=config.use_bias)
        self.down = nn.Linear(config.intermediate_size, hidden_size, bias=config.use_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.activation(self.up(x)))  # type: ignore[no-any-return]
