"""Self-attention over a cache."""

from __future__ import annotations

import torch
from torch import nn

from edgegen_layers.config import AttentionConfig
from edgegen_layers.kernels import AttentionKernel
from edgegen_layers.rotary import RotaryTable, apply_rotary


class CausalSelfAttention(nn.Module):
    """Grouped-query attention with rotary positions, ``[B, T, D] -> [B, T, D]``.

    Queries, keys and values come from one fused projection (in that order): one product instead of three, and its
    input is quantized once. Queries and keys are rotated together.
    """

    def __init__(self, dim: int, config: AttentionConfig, kernel: AttentionKernel) -> None:
        super().__init__()
        self.config = config
        self.kernel = kernel
        self.qkv = nn.Linear(dim, config.qkv_rows, bias=config.qkv_use_bias)
        self.output = nn.Linear(config.num_heads * config.head_dim, dim, bias=config.output_proj_use_bias)

    def forward(
        self,
        x: torch.Tensor,
        rotary: RotaryTable,
        mask: torch.Tensor,
        start: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads, groups = self.config.num_heads, self.config.num_query_groups
        qkv = self.qkv(x).unflatten(-1, (heads + 2 * groups, self.config.head_dim))  # [B, T, N + 2 KH, H]
        qk = apply_rotary(qkv[:, :, : heads + groups], rotary)
        q, k = qk[:, :, :heads], qk[:, :, heads:]
        v = qkv[:, :, heads + groups :]
        mixed, keys, values = self.kernel.attend(q, k, v, keys, values, start, mask, self.config)
        return self.output(mixed), keys, values
