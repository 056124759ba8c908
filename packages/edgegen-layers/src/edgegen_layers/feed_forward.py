"""Feed-forward layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from edgegen_layers.config import FeedForwardConfig


class GatedFeedForward(nn.Module):
    """``down(activation(gate(x)) * up(x))``, ``[B, T, D] -> [B, T, D]``.

    Gate and up are one matrix, gate's rows first: one product, and its input is quantized once.
    """

    def __init__(self, dim: int, config: FeedForwardConfig) -> None:
        super().__init__()
        self.activation: Callable[[torch.Tensor], torch.Tensor] = getattr(nn.functional, config.activation)
        self.gate_up = nn.Linear(dim, 2 * config.intermediate_size, bias=config.use_bias)
        self.down = nn.Linear(config.intermediate_size, dim, bias=config.use_bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # [B, T, F] each
        return self.down(self.activation(gate) * up)  # type: ignore[no-any-return]
