"""Attention kernels: interchangeable ways to attend to a cache, chosen by name (``--layer attention=...``).

A kernel owns the layout of its cache. Both here give the same numbers; they differ in what a runtime makes of them.
"""

from __future__ import annotations

from typing import Protocol

import torch

from edgegen.tracing import composite, dynamic_update_slice
from edgegen_layers.config import AttentionConfig

MASKED = -0.7 * torch.finfo(torch.float32).max
"""Added to the score of a slot that must not be seen; finite, so that a product with 0 is 0."""


class AttentionKernel(Protocol):
    """Block ``attention``: a way to attend to the cache, whose layout it owns; its constructor takes no arguments.

    B, the batch, is 1; T tokens attend to S cache slots, with N query heads in groups that share one of KH key/value
    heads each. One kernel serves all blocks of a model.
    """

    def cache_shapes(self, config: AttentionConfig, length: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the cached keys and values for ``length`` slots."""
        ...

    def cache_length(self, keys: torch.Tensor) -> int:
        """S, read off the cached keys."""
        ...

    def mask(
        self, positions: torch.Tensor, slots: int, config: AttentionConfig, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mask for :meth:`attend`, in a form of the kernel's own; shared by all blocks of equal attention.

        Args:
            positions: ``[T]``, consecutive, of the tokens that attend.
            slots: S.
            config: of the attention.
            bias: ``[N, T, S]``, added to scores besides.
        """
        ...

    def max_rollback(self, config: AttentionConfig, length: int) -> int | None:
        """Most tokens that a cache of ``length`` slots can be rolled back by; None for all of them."""
        ...

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        start: torch.Tensor,
        mask: torch.Tensor,
        config: AttentionConfig,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Write ``k`` and ``v [B, T, KH, H]`` to the cache from slot ``start`` on, then attend with ``q [B, T, N, H]``.

        Returns ``[B, T, N * H]`` and the cache's new keys and values.
        """
        ...


class MatmulAttention:
    """Explicit batch matrix products, the fastest form on XNNPACK.

    Keys are kept as ``[B, KH, S, H]`` and values as ``[B, KH, H, S]``: both products then take the cache as it lies,
    and the queries of a group are further rows of one product.
    """

    def cache_shapes(self, config: AttentionConfig, length: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        heads, dim = config.num_kv_heads, config.head_dim
        return (1, heads, length, dim), (1, heads, dim, length)

    def cache_length(self, keys: torch.Tensor) -> int:
        return keys.shape[2]

    def mask(
        self, positions: torch.Tensor, slots: int, config: AttentionConfig, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        hidden = self.hidden(positions, slots, config)
        group = config.num_attention_heads // config.num_kv_heads
        if bias is None:
            return (hidden * MASKED).repeat(group, 1)[None, None]  # [1, 1, G*T, S]
        return (bias + hidden * MASKED).reshape(1, config.num_kv_heads, -1, slots)  # [1, KH, G*T, S]

    def max_rollback(self, config: AttentionConfig, length: int) -> int | None:
        return None

    def hidden(self, positions: torch.Tensor, slots: int, config: AttentionConfig) -> torch.Tensor:
        """``[T, S]``: 1 where a slot is hidden from a token, else 0."""
        return causal_hidden(positions, slots, config.sliding_window)

    def store(
        self,
        k: torch.Tensor,
        v: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        start: torch.Tensor,
        config: AttentionConfig,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The cache with ``k`` and ``v [B, T, KH, H]`` in it from slot ``start`` on."""
        keys = dynamic_update_slice(keys, k.transpose(1, 2), start, 2)
        return keys, dynamic_update_slice(values, v.permute(0, 2, 3, 1), start, 3)

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        start: torch.Tensor,
        mask: torch.Tensor,
        config: AttentionConfig,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        batch, length, heads, dim = q.shape
        keys, values = self.store(k, v, keys, values, start, config)
        grouped = q.transpose(1, 2).reshape(batch, config.num_kv_heads, -1, dim)  # [B, KH, G*T, H]
        scores = (grouped * config.score_scale) @ keys.transpose(2, 3)  # [B, KH, G*T, S]
        scores = softcap(scores, config.logit_softcap) + mask
        mixed = scores.softmax(dim=-1) @ values.transpose(2, 3)  # [B, KH, G*T, H]
        return mixed.reshape(batch, heads, length, dim).transpose(1, 2).flatten(2), keys, values


def softcap(x: torch.Tensor, cap: float | None) -> torch.Tensor:
    """``cap * tanh(x / cap)``, or ``x`` itself where there is no cap."""
    return x if cap is None else (x * (1 / cap)).tanh() * cap


@composite("odml.scaled_dot_product_attention", attributes=("scale", "logit_cap"))
def sdpa(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, *, scale: float, logit_cap: float | None
) -> torch.Tensor:
    """``q [B, T, N, H]``, ``k`` and ``v [B, S, KH, H]``, ``mask [B, 1 or N, T, S]`` (added) ``-> [B, T, N, H]``."""
    batch, length, heads, dim = q.shape
    kv_heads = k.shape[2]
    grouped = q.transpose(1, 2).reshape(batch, kv_heads, -1, dim)  # [B, KH, G*T, H]
    scores = softcap(grouped @ k.permute(0, 2, 3, 1) * scale, logit_cap)  # [B, KH, G*T, S]
    scores = scores.reshape(batch, heads, length, -1) + mask
    weights = scores.softmax(dim=-1).reshape(batch, kv_heads, -1, k.shape[1])
    mixed = weights @ v.transpose(1, 2)  # [B, KH, G*T, H]
    return mixed.reshape(batch, heads, length, dim).transpose(1, 2)


class SdpaAttention:
    """The ``odml.scaled_dot_product_attention`` composite, which GPU and NPU delegates (and XNNPACK) know as one.

    Keys and values are kept as ``[B, S, KH, H]``, the composite's own layout.
    """

    def cache_shapes(self, config: AttentionConfig, length: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        shape = (1, length, config.num_kv_heads, config.head_dim)
        return shape, shape

    def cache_length(self, keys: torch.Tensor) -> int:
        return keys.shape[1]

    def mask(
        self, positions: torch.Tensor, slots: int, config: AttentionConfig, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        mask = (causal_hidden(positions, slots, config.sliding_window) * MASKED)[None, None]  # [1, 1, T, S]
        return mask if bias is None else mask + bias  # [1, N, T, S]

    def max_rollback(self, config: AttentionConfig, length: int) -> int | None:
        return None

    def attend(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        start: torch.Tensor,
        mask: torch.Tensor,
        config: AttentionConfig,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        keys = dynamic_update_slice(keys, k, start, 1)
        values = dynamic_update_slice(values, v, start, 1)
        mixed = sdpa(q, keys, values, mask, scale=config.score_scale, logit_cap=config.logit_softcap)
        return mixed.flatten(2), keys, values


def causal_hidden(positions: torch.Tensor, length: int, window: int | None = None) -> torch.Tensor:
    """``[T, S]``: 1 where slot s comes after the token's position or ``window`` or more before it, else 0.

    In float arithmetic, which XNNPACK takes; comparisons it does not. Positions beyond 2^24 would not be exact.
    """
    slots = torch.arange(length, device=positions.device, dtype=torch.float32)
    ahead = slots - positions.float()[:, None]
    hidden = ahead.clamp(0, 1)
    if window is None or window >= length:
        return hidden
    return hidden + (-ahead - (window - 1)).clamp(0, 1)
