"""Integers with scales that lie as near to the weights as the storage lets them.

The obvious scale of some neighbours is their largest magnitude over the largest integer. With few bits another one is
nearly always nearer to the whole: a smaller one cuts off the extremes and halves the steps of all others, and where the
extreme is negative its integer may be the one more that two's complement has. So a row of factors is tried on each
scale, the best kept, and then fitted by least squares, as in llama.cpp's ``make_qx_quants`` or AWQ's search for clips.

Tried scales are exact in the file and in the kernel. XNNPACK keeps the scales of blocks as bfloat16, so only such
numbers are tried, as far as float16, which the file has, can hold them: 8 bits of precision, at least 2^-14.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Snap = Callable[[Floats], Floats]

SMALLEST_BLOCK_SCALE = np.float32(2.0**-14)
"""Smallest normal float16; XNNPACK refuses a matrix for any scale below it."""

SMALLEST_CHANNEL_SCALE = np.finfo(np.float32).tiny

_LARGEST_BLOCK_SCALE = np.float32(2.0**15)
"""bfloat16's largest power of two that float16 holds; weights beyond 8 times that exceed float16 themselves."""

FACTORS = 15
"""Scales tried before fitting. On SmolLM2, 40 lower the squared error by less than one percent further."""

_LOWEST, _HIGHEST = 0.7, 1.2
"""Of the scale that just reaches the largest magnitude with the most negative integer."""

_AT_ONCE = 1 << 16
"""Numbers in work: what fits a core's cache with its intermediate results."""


def block_scales(scales: Floats) -> Floats:
    """The nearest numbers that bfloat16 and float16 both hold as normal ones."""
    bits = np.clip(scales, SMALLEST_BLOCK_SCALE, _LARGEST_BLOCK_SCALE).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + (np.uint32(0x7FFF) + even)) & np.uint32(0xFFFF0000)).view(np.float32)


def channel_scales(scales: Floats) -> Floats:
    """Scales of rows are float32, and must be normal numbers."""
    return np.maximum(scales, SMALLEST_CHANNEL_SCALE)


def to_integers(
    rows: Floats, bits: int, block: int | None, importance: Floats | None = None, *, search: bool = True
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Integers of ``bits`` bits and their scales.

    Args:
        rows: ``[R, K]``, finite.
        bits: from 2 to 8; all of two's complement is used.
        block: neighbours of a row that share a scale, a divisor of K; None for the whole row, with a float32 scale.
        importance: ``[K]``, what a column's squared error counts, positive; None for all alike.
        search: False for the largest magnitude over the largest integer.

    Returns:
        int8 ``[R, K]`` and float32 ``[R, K / block]``. Each row depends on nothing but itself.
    """
    count, width = rows.shape
    length = block or width
    snap = channel_scales if block is None else block_scales
    data = np.empty(rows.shape, np.int8)
    scales = np.empty((count, width // length), np.float32)
    step = max(1, _AT_ONCE // width)
    for start in range(0, count, step):
        part = slice(start, start + step)
        blocks = rows[part].reshape(-1, length)
        weight = None if importance is None else np.tile(importance.reshape(-1, length), (len(rows[part]), 1))
        work = _Work(blocks, bits, weight)
        found = work.search(snap) if search else snap(work.largest / work.most)
        scales[part] = found[: len(blocks)].reshape(-1, width // length)
        data[part] = work.integers(found)[:, : len(blocks)].T.reshape(-1, width)
    return data, scales


class _Work:
    """Blocks ``[N, b]`` on their way to integers, and room for intermediate results.

    They lie with the numbers of a block below each other, ``[b, N]``: numpy is fast along long rows.
    """

    def __init__(self, blocks: Floats, bits: int, weight: Floats | None) -> None:
        if len(blocks) == 1:  # numpy would add up a single column in another order, and the last bit would differ
            blocks = blocks.repeat(2, axis=0)
            weight = None if weight is None else weight.repeat(2, axis=0)
        self.blocks = np.ascontiguousarray(blocks.T, np.float32)
        self.weight = None if weight is None else np.ascontiguousarray(weight.T)
        self.least, self.most = np.float32(-(2 ** (bits - 1))), np.float32(2 ** (bits - 1) - 1)
        self.largest: Floats = np.maximum(self.blocks.max(axis=0), -self.blocks.min(axis=0))
        self._scaled = np.empty_like(self.blocks)
        self._rounded = np.empty_like(self.blocks)

    def search(self, snap: Snap) -> Floats:
        """The best scales ``[N]`` that were found."""
        best = snap(self.largest / self.most)
        error = self._error(best)
        reaching = self.largest / -self.least
        for factor in np.linspace(_LOWEST, _HIGHEST, FACTORS, dtype=np.float32):
            best, error = self._better(best, error, snap(reaching * factor))
        return self._better(best, error, snap(self._fitted(best)))[0]

    def integers(self, scales: Floats) -> Floats:
        """The nearest integers ``[b, N]``, in a buffer that the next call overwrites."""
        np.multiply(self.blocks, np.float32(1) / scales, out=self._scaled)
        rounded = np.rint(self._scaled, out=self._rounded)
        return np.clip(rounded, self.least, self.most, out=rounded)

    def _better(self, best: Floats, error: Floats, tried: Floats) -> tuple[Floats, Floats]:
        other = self._error(tried)
        wins = other < error
        return np.where(wins, tried, best), np.where(wins, other, error)

    def _error(self, scales: Floats) -> Floats:
        """Of each block, the sum of squared errors."""
        wrong = self.integers(scales)
        wrong -= self._scaled
        wrong *= wrong
        return self._sum(wrong) * (scales * scales)

    def _fitted(self, scales: Floats) -> Floats:
        """Scales that suit the integers best: least squares."""
        integers = self.integers(scales)
        above = self._sum(integers * self.blocks)
        below = self._sum(integers * integers)
        fitted: Floats = np.divide(above, below, out=scales.copy(), where=below > 0)
        return fitted

    def _sum(self, numbers: Floats) -> Floats:
        """Over each block, weighted; overwrites ``numbers``."""
        if self.weight is not None:
            numbers *= self.weight
        total: Floats = numbers.sum(axis=0)
        return total


def pack(integers: npt.NDArray[np.int8], bits: int) -> npt.NDArray[Any]:
    """Integers ``[R, K]`` as the file has them: below 8 bits, bytes with the first number in the lowest bits."""
    if bits == 8:
        return np.ascontiguousarray(integers)
    per_byte = 8 // bits
    codes = (integers & np.int8(2**bits - 1)).view(np.uint8).reshape(len(integers), -1, per_byte)
    packed = codes[..., 0].copy()
    for place in range(1, per_byte):
        packed |= codes[..., place] << np.uint8(bits * place)
    return packed
