"""Rotary position embedding (Su et al., 2021, https://arxiv.org/abs/2104.09864).

In the half-rotated form of Llama, where channel ``j`` of a head is turned together with the one half a head away, or in
the interleaved form of GPT-J, where neighbours are turned together.
"""

from __future__ import annotations

import torch

from edgegen_layers.rotary_scaling import FrequencyScaling, LinearScaling, RotaryScaling

RotaryTable = tuple[torch.Tensor, torch.Tensor]


def rotary_table(
    positions: torch.Tensor,
    rotary_dim: int,
    base: float,
    scaling: RotaryScaling | None = None,
    *,
    interleaved: bool = False,
) -> RotaryTable:
    """Cosines and signed sines for :func:`apply_rotary`, each ``[1, T, 1, R]``.

    Args:
        positions: ``[T]``, any numeric dtype.
        rotary_dim: R, the channels of a head that are rotated; even.
        base: frequencies fall from 1 to ``1 / base``.
        scaling: how they are stretched.
        interleaved: for :func:`apply_rotary` with the same.
    """
    exponent = torch.arange(0, rotary_dim, 2, device=positions.device, dtype=torch.float32) / rotary_dim
    frequencies, amplitude = _scaled(1.0 / base**exponent, scaling)  # [R/2]
    angles = positions.float()[:, None] * frequencies  # [T, R/2]
    cos, sin = angles.cos(), angles.sin()
    if amplitude != 1.0:
        cos, sin = cos * amplitude, sin * amplitude
    # The rotation negates one of each pair; the sign sits in the table, so that applying it takes no negation.
    if interleaved:
        return _heads(torch.stack([cos, cos], dim=-1).flatten(1)), _heads(torch.stack([-sin, sin], dim=-1).flatten(1))
    return _heads(torch.cat([cos, cos], dim=-1)), _heads(torch.cat([-sin, sin], dim=-1))


def apply_rotary(x: torch.Tensor, table: RotaryTable, *, interleaved: bool = False) -> torch.Tensor:
    """Rotate the first R channels of every head of ``x [B, T, N, H]`` by its position."""
    cos, sin = table
    rotary_dim = cos.shape[-1]
    if rotary_dim < x.shape[-1]:
        rotated = apply_rotary(x[..., :rotary_dim], table, interleaved=interleaved)
        return torch.cat([rotated, x[..., rotary_dim:]], dim=-1)
    if interleaved:
        pairs = x.reshape(*x.shape[:-1], rotary_dim // 2, 2)  # [B, T, N, R/2, 2]
        swapped = torch.cat([pairs[..., 1:], pairs[..., :1]], dim=-1).flatten(-2)
    else:
        half = rotary_dim // 2
        swapped = torch.cat([x[..., half:], x[..., :half]], dim=-1)
    return x * cos + swapped * sin


def _heads(table: torch.Tensor) -> torch.Tensor:
    return table[None, :, None, :]  # [T, R] -> [1, T, 1, R]


def _scaled(frequencies: torch.Tensor, scaling: RotaryScaling | None) -> tuple[torch.Tensor, float]:
    """Frequencies as stretched, and what cosines and sines are multiplied by."""
    match scaling:
        case None:
            return frequencies, 1.0
        case LinearScaling(factor=factor):
            return frequencies / factor, 1.0
        case FrequencyScaling(factors=factors, attention_factor=amplitude):
            # One by one, because a tensor of Python numbers has no contents on the meta device.
            each = torch.cat([torch.full((1,), factor, device=frequencies.device) for factor in factors])
            return frequencies / each, amplitude
