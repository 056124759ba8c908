"""Ways to stretch rotary positions over longer contexts than a model was trained for, as data.

Each is a function of the head's size that gives what :class:`~edgegen_layers.config.AttentionConfig` takes as
``rope_scaling``. Plain numbers, no torch: configurations are made while models are listed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LinearScaling:
    """Positions divided by a factor (Chen et al., 2023)."""

    factor: float


@dataclass(frozen=True, kw_only=True)
class FrequencyScaling:
    """Each frequency divided by a factor of its own: LongRoPE (Ding et al., 2024), Llama 3.1.

    Attributes:
        factors: one for each pair of channels.
        attention_factor: by which cosines and sines are multiplied.
    """

    factors: tuple[float, ...]
    attention_factor: float = 1.0


RotaryScaling = LinearScaling | FrequencyScaling


def llama3_scaling(
    head_dim: int, base: float, *, factor: float, low: float = 1.0, high: float = 4.0, original: int = 8192
) -> FrequencyScaling:
    """Llama 3.1's: slow frequencies divided by ``factor``, fast ones kept, those between interpolated.

    Args:
        head_dim: H.
        base: of the rotary frequencies.
        factor: by which slow ones are divided.
        low: turns in the original context below which a frequency counts as slow.
        high: turns above which it counts as fast.
        original: the context before it was extended, in tokens.
    """

    def divisor(channel: int) -> float:
        turns = original / (2 * math.pi * math.pow(base, channel / head_dim))
        kept = min(max((turns - low) / (high - low), 0.0), 1.0)
        return 1 / (kept + (1 - kept) / factor)

    return FrequencyScaling(factors=tuple(divisor(channel) for channel in range(0, head_dim, 2)))


def ntk_scaling(head_dim: int, *, factor: float) -> FrequencyScaling:
    """ "NTK-aware": a larger base, such that the slowest frequency is divided by ``factor`` and the fastest kept.

    Source: bloc97, 2023, as described by Peng et al., 2023 (https://arxiv.org/abs/2309.00071), section 3.1. What
    configurations call ``dynamic`` is this for a text of a certain length: with ``scale`` times the trained length, its
    factor is ``factor * scale - (factor - 1)``.

    Args:
        head_dim: H, more than 2.
        factor: by how much the context is extended.
    """
    stretched = factor ** (head_dim / (head_dim - 2))
    return FrequencyScaling(factors=tuple(stretched ** (channel / head_dim) for channel in range(0, head_dim, 2)))


def yarn_scaling(
    head_dim: int,
    base: float,
    *,
    factor: float,
    original: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    attention_factor: float | None = None,
    truncate: bool = True,
) -> FrequencyScaling:
    """YaRN (Peng et al., 2023, https://arxiv.org/abs/2309.00071).

    Args:
        head_dim: H.
        base: of the rotary frequencies.
        factor: by which slow frequencies are divided.
        original: the context before it was extended, in tokens.
        beta_fast: turns in the original context above which a frequency is kept.
        beta_slow: turns below which it is divided by ``factor``; between the two it is interpolated.
        attention_factor: by which cosines and sines are multiplied; None for ``0.1 ln(factor) + 1``.
        truncate: whether the ends of the interpolation are rounded to whole channels, as the paper's code does.
    """

    def channel_of(turns: float) -> float:
        return head_dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(base))

    first, last = channel_of(beta_fast), channel_of(beta_slow)
    if truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, head_dim - 1)
    width = max(last - first, 0.001)

    def divisor(pair: int) -> float:
        kept = 1 - min(max((pair - first) / width, 0.0), 1.0)
        return 1 / (kept + (1 - kept) / factor)

    if attention_factor is None:
        attention_factor = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
    return FrequencyScaling(
        factors=tuple(divisor(pair) for pair in range(head_dim // 2)), attention_factor=attention_factor
    )
