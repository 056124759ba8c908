"""Rotary position embedding (Su et al., 2021, https://arxiv.org/abs/2104.09864), in the half-rotated form of Llama."""

from __future__ import annotations

import torch

RotaryTable = tuple[torch.Tensor, torch.Tensor]


def rotary_table(positions: torch.Tensor, head_dim: int, base: float) -> RotaryTable:
    """Cosines and signed sines for :func:`apply_rotary`, each ``[1, T, 1, H]``.

    Args:
        positions: ``[T]``, any numeric dtype.
        head_dim: H, even.
        base: frequencies fall from 1 to ``1 / base``.
    """
    exponent = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    frequencies = 1.0 / base**exponent  # [H/2]
    angles = positions.float()[:, None] * frequencies  # [T, H/2]
    sin = angles.sin()
    # The rotation negates one half; the sign sits in the table, so that applying it takes no negation.
    signed = torch.cat([-sin, sin], dim=-1)
    return _heads(torch.cat([angles.cos()] * 2, dim=-1)), _heads(signed)


def apply_rotary(x: torch.Tensor, table: RotaryTable) -> torch.Tensor:
    """Rotate every head of ``x [B, T, N, H]`` by its position."""
    cos, sin = table
    half = x.shape[-1] // 2
    swapped = torch.cat([x[..., half:], x[..., :half]], dim=-1)
    return x * cos + swapped * sin


def _heads(table: torch.Tensor) -> torch.Tensor:
    return table[None, :, None, :]  # [T, H] -> [1, T, 1, H]
