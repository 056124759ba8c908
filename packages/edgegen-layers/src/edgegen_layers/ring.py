"""An attention kernel whose cache is a ring in blocks with a sliding window.

Such a block never looks back further than its window, so a cache for the whole text is a waste of memory, and of time:
attention costs by the slot. Here it has room for the window and for the tokens of one call; the token at position p
goes to slot ``p mod R``, over the one that was there.

What a call writes beyond the text's end (a prefill is padded to its length) lands on tokens that have left the window,
because R exceeds it by :data:`RESERVE`. For the same reason a runtime may forget up to that many tokens again.
"""

from __future__ import annotations

import torch

from edgegen.errors import ErrorCode, UsageError
from edgegen.tracing import dynamic_update_slice
from edgegen_layers.config import AttentionConfig
from edgegen_layers.kernels import MatmulAttention

RESERVE = 128
"""Slots beyond the window: the most tokens of one call."""


class RingAttention(MatmulAttention):
    """As :class:`MatmulAttention`; keys ``[B, KH, R, H]`` and values ``[B, KH, H, R]`` where there is a window."""

    def cache_shapes(self, config: AttentionConfig, length: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return super().cache_shapes(config, min(length, _ring(config) or length))

    def max_rollback(self, config: AttentionConfig, length: int) -> int | None:
        ring = _ring(config)
        return RESERVE if ring is not None and ring < length else None

    def mask(
        self, positions: torch.Tensor, slots: int, config: AttentionConfig, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        if bias is not None and slots == _ring(config):
            raise UsageError(
                "attention=ring has no biases of scores by position",
                code=ErrorCode.LAYER_NOT_APPLICABLE,
                hint="leave out --layer attention=ring for a model with ALiBi or relative positions",
            )
        return super().mask(positions, slots, config, bias)

    def hidden(self, positions: torch.Tensor, slots: int, config: AttentionConfig) -> torch.Tensor:
        if slots != _ring(config):  # a cache that is shorter than a ring would be
            return super().hidden(positions, slots, config)
        assert config.sliding_window is not None
        # In float arithmetic, as for the other kernels. A slot holds the last position written that belongs to it.
        slot = torch.arange(slots, device=positions.device, dtype=torch.float32)
        held = positions[-1:].float() - _remainder(positions[-1:].float() - slot, slots)  # [R]
        ahead = held - positions.float()[:, None]  # [T, R]
        behind = -ahead - (config.sliding_window - 1)
        return (ahead.clamp(0, 1) + behind.clamp(0, 1) + (-held).clamp(0, 1)).clamp(max=1)

    def store(
        self,
        k: torch.Tensor,
        v: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        start: torch.Tensor,
        config: AttentionConfig,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        slots, length = self.cache_length(keys), k.shape[1]
        if slots != _ring(config):
            return super().store(k, v, keys, values, start, config)
        if length > RESERVE:
            raise UsageError(
                f"attention=ring takes at most {RESERVE} tokens in a call, not {length}",
                code=ErrorCode.LAYER_NOT_APPLICABLE,
                hint=f"--prefill-lengths 8,64,{RESERVE}",
            )
        first = _remainder(start.float(), slots)
        if length == 1:
            return (
                dynamic_update_slice(keys, k.transpose(1, 2), first.int(), 2),
                dynamic_update_slice(values, v.permute(0, 2, 3, 1), first.int(), 3),
            )
        # Several may go beyond the ring's end: each is put in its place by a product with 0 and 1, which is exact.
        token = torch.arange(length, device=k.device, dtype=torch.float32)
        slot = torch.arange(slots, device=k.device, dtype=torch.float32)
        target = _remainder(first + token, slots)
        chosen = 1 - (target[:, None] - slot).abs().clamp(max=1)  # [T, R]
        kept = 1 - chosen.sum(0)  # [R]
        keys = keys * kept[:, None] + chosen.T @ k.transpose(1, 2)
        return keys, values * kept + v.permute(0, 2, 3, 1) @ chosen


def _ring(config: AttentionConfig) -> int | None:
    """Slots of a ring for this attention; None where it sees everything."""
    return None if config.sliding_window is None else config.sliding_window + RESERVE


def _remainder(x: torch.Tensor, divisor: int) -> torch.Tensor:
    """Of whole numbers in float; positive."""
    return x - (x / divisor).floor() * divisor
