"""Normalization layers."""

from __future__ import annotations

import torch
from torch import nn

from edgegen.tracing import composite
from edgegen_layers.config import NormalizationConfig


@composite("odml.rms_norm", attributes=("epsilon",))
def rms_norm(x: torch.Tensor, weight: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """``x / sqrt(mean(x^2) + epsilon) * weight`` over the last axis; ``x [..., D]``, ``weight [D]``."""
    return nn.functional.rms_norm(x, weight.shape, weight, epsilon)


def build_norm(dim: int, config: NormalizationConfig) -> nn.Module:
    """The normalization that ``config`` describes, over a last axis of ``dim``."""
    return RMSNorm(dim, config) if config.kind == "rms" else nn.LayerNorm(dim, config.epsilon)


class RMSNorm(nn.Module):
    """Root-mean-square normalization with a learned scale, ``[..., D] -> [..., D]``."""

    def __init__(self, dim: int, config: NormalizationConfig) -> None:
        super().__init__()
        self.epsilon = config.epsilon
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self.weight, epsilon=self.epsilon)
