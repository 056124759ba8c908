"""Activations, by the names that configurations use."""

from __future__ import annotations

import torch
from torch import nn

from edgegen_layers.config import ACTIVATIONS


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """``x * sigmoid(1.702 x)``, the cheaper approximation of GELU (Hendrycks and Gimpel, 2016) that CLIP uses."""
    return x * (1.702 * x).sigmoid()


def squared_relu(x: torch.Tensor) -> torch.Tensor:
    """``max(x, 0)^2`` (So et al., 2021)."""
    return x.relu().square()


_OWN = {"quick_gelu": quick_gelu, "squared_relu": squared_relu}


class Activation(nn.Module):
    """An activation by its name in :data:`~edgegen_layers.config.ACTIVATIONS`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        function, self.options = ACTIVATIONS[name]
        self.function = _OWN.get(function) or getattr(nn.functional, function)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, **self.options)
