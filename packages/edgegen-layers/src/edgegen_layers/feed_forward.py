"""Feed-forward layers."""

from __future__ import annotations

import torch
from torch import nn

from edgegen_layers.activations import Activation
from edgegen_layers.config import FeedForwardConfig
from edgegen_layers.moe import MixtureOfExperts


class GatedFeedForward(nn.Module):
    """``down(activation(gate(x)) * up(x))``, ``[B, T, D] -> [B, T, D]``.

    Gate and up are one matrix, gate's rows first: one product, and its input is quantized once.
    """

    def __init__(self, dim: int, config: FeedForwardConfig) -> None:
        super().__init__()
        self.activation = Activation(config.activation)
        self.gate_up = nn.Linear(dim, 2 * config.intermediate_size, bias=config.use_bias)
        self.down = nn.Linear(config.intermediate_size, dim, bias=config.use_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # [B, T, F] each
        return self.down(self.activation(gate) * up)  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """``down(activation(up(x)))``, ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, dim: int, config: FeedForwardConfig) -> None:
        super().__init__()
        self.activation = Activation(config.activation)
        self.up = nn.Linear(dim, config.intermediate_size, bias=config.use_bias)
        self.down = nn.Linear(config.intermediate_size, dim, bias=config.use_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(self.activation(self.up(x)))  # type: ignore[no-any-return]


def build_feed_forward(dim: int, config: FeedForwardConfig) -> nn.Module:
    """The feed-forward layer that ``config`` describes."""
    if config.num_experts is not None:
        return MixtureOfExperts(dim, config)
    return GatedFeedForward(dim, config) if config.gated else FeedForward(dim, config)
