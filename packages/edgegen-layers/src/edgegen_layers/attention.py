"""Attention: over a cache (a decoder's), over a text at once (an encoder's), and to another text (between the two)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from edgegen_layers.config import AttentionConfig
from edgegen_layers.kernels import AttentionKernel, sdpa
from edgegen_layers.lora import AttentionLora
from edgegen_layers.norm import build_norm
from edgegen_layers.rotary import RotaryTable, apply_rotary


class Place(NamedTuple):
    """Where in the text a step is, in the forms that attention needs; made once for all blocks alike.

    Attributes:
        rotary: see :func:`~edgegen_layers.rotary.rotary_table`; None without rotary positions.
        mask: see :meth:`AttentionKernel.mask`.
        start: ``[1]`` int32, the first token's cache slot.
    """

    rotary: RotaryTable | None
    mask: torch.Tensor
    start: torch.Tensor


class QueriesKeysValues(nn.Module):
    """The input projections of self-attention, norms of each head's queries and keys, and rotary positions."""

    def __init__(self, dim: int, config: AttentionConfig) -> None:
        super().__init__()
        self.config = config
        if config.qkv_fused:
            self.qkv = nn.Linear(dim, config.qkv_rows, bias=config.qkv_use_bias)
        else:
            self.query = nn.Linear(dim, config.query_rows, bias=config.qkv_use_bias)
            self.key = nn.Linear(dim, config.group_rows, bias=config.qkv_use_bias)
            self.value = nn.Linear(dim, config.group_rows, bias=config.qkv_use_bias)
        if config.qk_norm is not None:
            self.query_norm = build_norm(config.head_dim, config.qk_norm)
            self.key_norm = build_norm(config.head_dim, config.qk_norm)

    def project(
        self, x: torch.Tensor, rotary: RotaryTable | None, lora: AttentionLora | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``x [B, T, D]`` to queries ``[B, T, N, H]`` and keys and values ``[B, T, KH, H]``."""
        config = self.config
        heads, groups = config.num_heads, config.num_kv_heads
        qkv = self.qkv(x) if config.qkv_fused else torch.cat([self.query(x), self.key(x), self.value(x)], dim=-1)
        if lora is not None:
            qkv = qkv + torch.cat([lora.q(x), lora.k(x), lora.v(x)], dim=-1)
        qkv = qkv.unflatten(-1, (heads + 2 * groups, config.head_dim))  # [B, T, N + 2 KH, H]
        qk, v = qkv[:, :, : heads + groups], qkv[:, :, heads + groups :]
        if config.qk_norm is not None:
            qk = torch.cat([self.query_norm(qk[:, :, :heads]), self.key_norm(qk[:, :, heads:])], dim=2)
        if rotary is not None:  # queries and keys are rotated together
            qk = apply_rotary(qk, rotary, interleaved=config.rotary_interleaved)
        return qk[:, :, :heads], qk[:, :, heads:], v


class CausalSelfAttention(QueriesKeysValues):
    """Grouped-query attention over a cache, ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, dim: int, config: AttentionConfig, kernel: AttentionKernel) -> None:
        super().__init__(dim, config)
        self.kernel = kernel
        self.output = nn.Linear(config.query_rows, dim, bias=config.output_proj_use_bias)

    def forward(
        self,
        x: torch.Tensor,
        place: Place,
        keys: torch.Tensor,
        values: torch.Tensor,
        lora: AttentionLora | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = self.project(x, place.rotary, lora)
        mixed, keys, values = self.kernel.attend(q, k, v, keys, values, place.start, place.mask, self.config)
        projected = self.output(mixed)
        return projected if lora is None else projected + lora.o(mixed), keys, values


class SelfAttention(QueriesKeysValues):
    """Attention of a text to all of itself, without a cache, ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, dim: int, config: AttentionConfig) -> None:
        super().__init__(dim, config)
        self.output = nn.Linear(config.query_rows, dim, bias=config.output_proj_use_bias)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, rotary: RotaryTable | None = None) -> torch.Tensor:
        """``mask``, ``[1 or B, 1 or N, 1 or T, T]``, is added to scores."""
        q, k, v = self.project(x, rotary)
        return self.output(_attend(q, k, v, mask, self.config))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Attention of a text to another one, ``[B, T, D] -> [B, T, D]``.

    Keys and values depend on the other text alone: :meth:`remember` makes them, once for the whole answer.
    """

    def __init__(self, dim: int, config: AttentionConfig, encoder_dim: int) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(dim, config.query_rows, bias=config.qkv_use_bias)
        self.key_value = nn.Linear(encoder_dim, 2 * config.group_rows, bias=config.qkv_use_bias)
        self.output = nn.Linear(config.query_rows, dim, bias=config.output_proj_use_bias)

    def remember(self, encoder_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``[B, S, M]`` to keys and values, each ``[B, S, KH, H]``."""
        both = self.key_value(encoder_states).unflatten(-1, (2 * self.config.num_kv_heads, self.config.head_dim))
        k, v = both.chunk(2, dim=2)
        return k, v

    def forward(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """``mask``, ``[1 or B, 1, 1, S]``, is added to scores."""
        q = self.query(x).unflatten(-1, (self.config.num_heads, self.config.head_dim))
        return self.output(_attend(q, keys, values, mask, self.config))  # type: ignore[no-any-return]


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, config: AttentionConfig
) -> torch.Tensor:
    """``[B, T, N * H]``."""
    return sdpa(q, k, v, mask, scale=config.score_scale, logit_cap=config.logit_softcap).flatten(2)
