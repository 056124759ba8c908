"""Attention: causal over a cache (decoders), bidirectional (encoders), and cross attention between the two."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from edgegen_layers.config import AttentionConfig
from edgegen_layers.kernels import AttentionKernel, sdpa
from edgegen_layers.lora import AttentionLora
from edgegen_layers.norm import build_norm
from edgegen_layers.rotary import RotaryTable, apply_rotary


class AttentionInputs(NamedTuple):
    """RoPE tables, mask and cache offset of one call; shared by all blocks of equal attention.

    Attributes:
        rotary: see :func:`~edgegen_layers.rotary.rotary_table`; None without rotary positions.
        mask: see :meth:`~edgegen_layers.kernels.AttentionKernel.mask`.
        start: ``[1]`` int32, cache slot of the first token.
    """

    rotary: RotaryTable | None
    mask: torch.Tensor
    start: torch.Tensor


class QueriesKeysValues(nn.Module):
    """Input projections of self-attention, norms of each head's queries and keys, and rotary positions."""

    def __init__(self, hidden_size: int, config: AttentionConfig) -> None:
        super().__init__()
        self.config = config
        if config.qkv_fused:
            self.qkv = nn.Linear(hidden_size, config.qkv_rows, bias=config.qkv_use_bias)
        else:
            self.query = nn.Linear(hidden_size, config.query_rows, bias=config.qkv_use_bias)
            self.key = nn.Linear(hidden_size, config.kv_rows, bias=config.qkv_use_bias)
            self.value = nn.Linear(hidden_size, config.kv_rows, bias=config.qkv_use_bias)
        if config.qk_norm is not None:
            self.query_norm = build_norm(config.head_dim, config.qk_norm)
            self.key_norm = build_norm(config.head_dim, config.qk_norm)

    def project(
        self, x: torch.Tensor, rotary: RotaryTable | None, lora: AttentionLora | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``x [B, T, D]`` to queries ``[B, T, N, H]`` and keys and values ``[B, T, KH, H]``."""
        config = self.config
        heads, kv_heads = config.num_attention_heads, config.num_kv_heads
        qkv = self.qkv(x) if config.qkv_fused else torch.cat([self.query(x), self.key(x), self.value(x)], dim=-1)
        if lora is not None:
            qkv = qkv + torch.cat([lora.q(x), lora.k(x), lora.v(x)], dim=-1)
        qkv = qkv.unflatten(-1, (heads + 2 * kv_heads, config.head_dim))  # [B, T, N + 2 KH, H]
        qk, v = qkv[:, :, : heads + kv_heads], qkv[:, :, heads + kv_heads :]
        if config.qk_norm is not None:
            qk = torch.cat([self.query_norm(qk[:, :, :heads]), self.key_norm(qk[:, :, heads:])], dim=2)
        if rotary is not None:  # queries and keys are rotated together
            qk = apply_rotary(qk, rotary, interleaved=config.rotary_interleaved)
        return qk[:, :, :heads], qk[:, :, heads:], v


class CausalSelfAttention(QueriesKeysValues):
    """Grouped-query attention over a cache, ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, hidden_size: int, config: AttentionConfig, kernel: AttentionKernel) -> None:
        super().__init__(hidden_size, config)
        self.kernel = kernel
        self.output = nn.Linear(config.query_rows, hidden_size, bias=config.output_proj_use_bias)

    def forward(
        self,
        x: torch.Tensor,
        inputs: AttentionInputs,
        keys: torch.Tensor,
        values: torch.Tensor,
        lora: AttentionLora | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        q, k, v = self.project(x, inputs.rotary, lora)
        mixed, keys, values = self.kernel.attend(q, k, v, keys, values, inputs.start, inputs.mask, self.config)
        projected = self.output(mixed)
        return projected if lora is None else projected + lora.o(mixed), keys, values


class SelfAttention(QueriesKeysValues):
    """Bidirectional attention without a cache, ``[B, T, D] -> [B, T, D]``."""

    def __init__(self, hidden_size: int, config: AttentionConfig) -> None:
        super().__init__(hidden_size, config)
        self.output = nn.Linear(config.query_rows, hidden_size, bias=config.output_proj_use_bias)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, rotary: RotaryTable | None = None) -> torch.Tensor:
        """``mask``, ``[1 or B, 1 or N, 1 or T, T]``, is added to scores."""
        q, k, v = self.project(x, rotary)
        return self.output(_attend(q, k, v, mask, self.config))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Cross attention, ``[B, T, D] -> [B, T, D]``.

    Keys and values depend on the encoder's output alone: :meth:`project_states` makes them, once for all steps.
    """

    def __init__(self, hidden_size: int, config: AttentionConfig, encoder_dim: int) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(hidden_size, config.query_rows, bias=config.qkv_use_bias)
        self.key_value = nn.Linear(encoder_dim, 2 * config.kv_rows, bias=config.qkv_use_bias)
        self.output = nn.Linear(config.query_rows, hidden_size, bias=config.output_proj_use_bias)

    def project_states(self, encoder_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``[B, S, M]`` to keys and values, each ``[B, S, KH, H]``."""
        both = self.key_value(encoder_states).unflatten(-1, (2 * self.config.num_kv_heads, self.config.head_dim))
        k, v = both.chunk(2, dim=2)
        return k, v

    def forward(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """``mask``, ``[1 or B, 1, 1, S]``, is added to scores."""
        q = self.query(x).unflatten(-1, (self.config.num_attention_heads, self.config.head_dim))
        return self.output(_attend(q, keys, values, mask, self.config))  # type: ignore[no-any-return]


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, config: AttentionConfig
) -> torch.Tensor:
    """``[B, T, N * H]``."""
    return sdpa(q, k, v, mask, scale=config.score_scale, logit_cap=config.logit_softcap).flatten(2)
