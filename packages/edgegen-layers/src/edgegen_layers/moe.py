"""Mixture of experts: feed-forward layers of which each token goes through a few (Shazeer et al., 2017)."""

from __future__ import annotations

import torch
from torch import nn

from edgegen_layers.activations import Activation
from edgegen_layers.config import FeedForwardConfig


class MixtureOfExperts(nn.Module):
    """Sum of each token's ``num_experts_per_token`` likeliest experts, weighted, ``[B, T, D] -> [B, T, D]``.

    All experts are computed and the unwanted ones weighted with 0: shapes stay fixed, every product runs on kernels for
    quantized weights, and the sum is exact. It costs what all experts cost, so it is for few experts, or for prefill.

    The first projections of all experts are one matrix (the first expert's gate rows, its up rows, the second's, ...),
    so that their input is quantized once; the second ones stay apart.
    """

    def __init__(self, hidden_size: int, config: FeedForwardConfig) -> None:
        super().__init__()
        assert config.num_experts is not None
        self.config = config
        self.experts = config.num_experts
        rows = config.intermediate_size * (2 if config.gated else 1)
        self.router = nn.Linear(hidden_size, self.experts, bias=False)
        self.up = nn.Linear(hidden_size, self.experts * rows, bias=config.use_bias)
        self.down = nn.ModuleList(
            nn.Linear(config.intermediate_size, hidden_size, bias=config.use_bias) for _ in range(self.experts)
        )
        self.activation = Activation(config.activation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.weights(x)  # [B, T, E]
        hidden = self.up(x).unflatten(-1, (self.experts, -1))  # [B, T, E, F], or 2 F
        if self.config.gated:
            gate, up = hidden.chunk(2, dim=-1)
            hidden = self.activation(gate) * up
        else:
            hidden = self.activation(hidden)
        shares = [down(hidden[:, :, i]) * weights[:, :, i : i + 1] for i, down in enumerate(self.down)]
        result: torch.Tensor = sum(shares[1:], shares[0])
        return result

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Routing weights ``[B, T, E]``; 0 for experts that a token does not go to."""
        likelihood = self.router(x).softmax(-1)
        chosen, indices = likelihood.topk(self.config.num_experts_per_token, dim=-1)  # [B, T, K]
        if self.config.normalize_expert_weights:
            chosen = chosen / chosen.sum(-1, keepdim=True)
        numbers = torch.arange(self.experts, device=x.device)
        one_hot = (indices[..., None] == numbers).float()  # [B, T, K, E]
        return (one_hot * chosen[..., None]).sum(-2)  # type: ignore[no-any-return]
