"""Self-attention over a cache."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from edgegen_layers.config import AttentionConfig
from edgegen_layers.kernels import AttentionKernel
from edgegen_layers.lora import AttentionLora
from edgegen_layers.norm import build_norm
from edgegen_layers.rotary import RotaryTable, apply_rotary


class Place(NamedTuple):
    """Where in the text a step is, in the forms that attention needs; made once for all blocks alike.

    Attributes:
        rotary: see :func:`~edgegen_layers.rotary.rotary_table`.
        mask: see :meth:`AttentionKernel.mask`.
        start: ``[1]`` int32, the first token's cache slot.
    """

    rotary: RotaryTable
    mask: torch.Tensor
    start: torch.Tensor


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
        if config.qk_norm is not None:
            self.query_norm = build_norm(config.head_dim, config.qk_norm)
            self.key_norm = build_norm(config.head_dim, config.qk_norm)
        self.output = nn.Linear(config.num_heads * config.head_dim, dim, bias=config.output_proj_use_bias)

    def forward(
        self,
        x: torch.Tensor,
        place: Place,
        keys: torch.Tensor,
        values: torch.Tensor,
        lora: AttentionLora | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        heads, groups = self.config.num_heads, self.config.num_query_groups
        qkv = self.qkv(x)
        if lora is not None:
            qkv = qkv + torch.cat([lora.q(x), lora.k(x), lora.v(x)], dim=-1)
        qkv = qkv.unflatten(-1, (heads + 2 * groups, self.config.head_dim))  # [B, T, N + 2 KH, H]
        qk, v = qkv[:, :, : heads + groups], qkv[:, :, heads + groups :]
        if self.config.qk_norm is not None:
            qk = torch.cat([self.query_norm(qk[:, :, :heads]), self.key_norm(qk[:, :, heads:])], dim=2)
        qk = apply_rotary(qk, place.rotary)
        q, k = qk[:, :, :heads], qk[:, :, heads:]
        mixed, keys, values = self.kernel.attend(q, k, v, keys, values, place.start, place.mask, self.config)
        projected = self.output(mixed)
        return projected if lora is None else projected + lora.o(mixed), keys, values
