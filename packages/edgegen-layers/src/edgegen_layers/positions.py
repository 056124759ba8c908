"""Positions other than rotary ones: biases of attention's scores, and sinusoidal embeddings.

All are made from positions in float arithmetic, which XNNPACK takes, rather than from tables of integers.
"""

from __future__ import annotations

import math

import torch
from torch import nn


def alibi_slopes(heads: int) -> list[float]:
    """ALiBi's slopes: how fast each head's attention fades with distance (Press et al., 2021, https://arxiv.org/abs/2108.12409).

    A geometric sequence for a power of two; for other numbers, those of the power below and every other one of the
    power above, as the paper's code has it.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2 ** (-8 * (i + 1) / power) for i in range(power)]
    between = [2 ** (-8 * (2 * i + 1) / (2 * power)) for i in range(heads - power)]
    return slopes + between


def alibi_bias(query_positions: torch.Tensor, key_positions: torch.Tensor, heads: int) -> torch.Tensor:
    """``[N, T, S]``, to be added to scores: minus the distance times the head's slope.

    Args:
        query_positions: ``[T]``.
        key_positions: ``[S]``; what comes after a query must be masked besides.
        heads: N.
    """
    distance = key_positions.float()[None, :] - query_positions.float()[:, None]  # [T, S], 0 or less for what is seen
    # One by one, because a tensor of Python numbers has no contents on the meta device.
    return torch.stack([distance * slope for slope in alibi_slopes(heads)])


class RelativePositionBias(nn.Module):
    """A learned bias for each head and each bucket of distances (Raffel et al., 2019, https://arxiv.org/abs/1910.10683).

    Small distances have buckets of their own, larger ones share them logarithmically, all beyond ``max_distance`` the
    last.

    Args:
        num_buckets: of both directions together.
        max_distance: from which on all distances share the last bucket.
        heads: N.
        bidirectional: whether what comes after a token has buckets too (an encoder's), or counts as distance 0.
    """

    def __init__(self, num_buckets: int, max_distance: int, heads: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        self.buckets_each_way = num_buckets // 2 if bidirectional else num_buckets
        self.edges = _edges(self.buckets_each_way, max_distance)
        self.table = nn.Embedding(num_buckets, heads)

    def forward(self, query_positions: torch.Tensor, key_positions: torch.Tensor) -> torch.Tensor:
        """``[T]`` and ``[S]`` to ``[N, T, S]``, to be added to scores."""
        offset = key_positions.float()[None, :] - query_positions.float()[:, None]  # [T, S]
        return self.table(self.buckets(offset)).permute(2, 0, 1)  # type: ignore[no-any-return]

    def buckets(self, offset: torch.Tensor) -> torch.Tensor:
        """Bucket of each ``key - query``, ``[T, S]`` float to ``[T, S]`` int32."""
        distance = offset.abs() if self.bidirectional else (-offset).clamp(min=0)
        bucket = distance.clamp(max=self.buckets_each_way // 2)
        for edge in self.edges:
            bucket = bucket + (distance - (edge - 1)).clamp(0, 1)
        if self.bidirectional:
            bucket = bucket + offset.clamp(0, 1) * self.buckets_each_way
        return bucket.int()


def _edges(buckets: int, max_distance: int) -> list[int]:
    """The distances at which a shared bucket begins, but for the first.

    By the formula that the published models were trained with, in float32: a quotient of logarithms that falls short of
    a whole number by a rounding error does so here too, and not differently on another machine's logarithm.
    """
    exact = buckets // 2
    distances = torch.arange(exact, max_distance + 1, device="cpu")
    ratio = torch.log(distances.float() / exact) / math.log(max_distance / exact)
    shared = (exact + (ratio * (buckets - exact)).long()).clamp(max=buckets - 1)
    return [int(distances[shared >= bucket][0]) for bucket in range(exact + 1, buckets)]


def sinusoidal_embedding(
    positions: torch.Tensor, dim: int, *, max_period: float = 10_000.0, cos_first: bool = False, denominator: int = 0
) -> torch.Tensor:
    """``[T] -> [T, D]``: sines and cosines of frequencies that fall from 1 to about ``1 / max_period``.

    Positions of the original transformer (Vaswani et al., 2017), and time steps of diffusion models (Ho et al., 2020).

    Args:
        positions: of any numeric dtype.
        dim: D, even.
        max_period: as above.
        cos_first: cosines in the first half of the channels, as time steps mostly have it.
        denominator: taken off the number of frequencies in the exponent: 1 makes the last exactly ``1 / max_period``.
    """
    half = dim // 2
    exponent = torch.arange(half, device=positions.device, dtype=torch.float32) / (half - denominator)
    angles = positions.float()[:, None] * max_period**-exponent  # [T, D/2]
    waves = (angles.cos(), angles.sin()) if cos_first else (angles.sin(), angles.cos())
    return torch.cat(waves, dim=-1)


class TimestepEmbedding(nn.Module):
    """Time steps of a diffusion model (Ho et al., 2020): sinusoidal, then two linear layers. ``[B] -> [B, D]``.

    Args:
        channels: of the sinusoidal embedding.
        dim: D.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.channels = channels
        self.up = nn.Linear(channels, dim)
        self.down = nn.Linear(dim, dim)

    def forward(self, timesteps: torch.Tensor) -> torch.Tensor:
        waves = sinusoidal_embedding(timesteps, self.channels, cos_first=True)
        return self.down(nn.functional.silu(self.up(waves)))  # type: ignore[no-any-return]
