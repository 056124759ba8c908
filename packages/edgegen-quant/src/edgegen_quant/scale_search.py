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

FACTORS = np.linspace(0.75, 1.15, 9, dtype=np.float32)
"""Tried before fitting, times the scale that just reaches the largest magnitude with the most negative integer. Of
normal weights, 40 lower the squared error by half a percent further."""

_AT_ONCE = 1 << 18
"""Numbers in work: few calls of numpy, and yet what fits a core's cache with its intermediate results."""


def block_scales(scales: Floats) -> Floats:
    """The nearest numbers that bfloat16 and float16 both hold as normal ones."""
    bits = np.clip(scales, SMALLEST_BLOCK_SCALE, _LARGEST_BLOCK_SCALE).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    return ((bits + (np.uint32(0x7FFF) + even)) & np.uint32(0xFFFF0000)).view(np.float32)


def channel_scales(scales: Floats) -> Floats:
    """Scales of rows are float32, and must be normal numbers."""
    return np.maximum(scales, SMALLEST_CHANNEL_SCALE)


def to_integers(
    rows: Floats, bits: int, block: int | None, *, search: bool = True
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Integers of ``bits`` bits and their scales.

    Args:
        rows: ``[R, K]``, finite.
        bits: from 2 to 8; all of two's complement is used.
        block: neighbours of a row that share a scale, a divisor of K; None for the whole row, with a float32 scale.
        search: False for the largest magnitude over the largest integer.

    Returns:
        int8 ``[R, K]`` and float32 ``[R, K / block]``. Each row depends on nothing but itself.
    """
    count, width = rows.shape
    length = block or width
    snap = channel_scales if block is None else block_scales
    data = np.empty(rows.shape, np.int8)
    scales = np.empty((count, width // length), np.float32)
    step = max(1, _AT_ONCE // len(FACTORS) // width)
    for start in range(0, count, step):
        part = slice(start, start + step)
        blocks = rows[part].reshape(-1, length)
        found = search_scales(blocks, bits, snap) if search else snap(_largest(blocks.T) / most_of(bits))
        scales[part] = found.reshape(-1, width // length)
        data[part] = _integers(blocks, found[:, None], bits).reshape(-1, width)
    return data, scales


def search_scales(blocks: Floats, bits: int, snap: Snap, importance: Floats | None = None) -> Floats:
    """The best scales ``[N]`` that are found for ``blocks [N, b]``.

    Args:
        importance: ``[b]``, what squared errors count, positive; None for all alike.
    """
    step = max(1, _AT_ONCE // len(FACTORS) // blocks.shape[1])
    parts = [_searched(blocks[at : at + step], bits, snap, importance) for at in range(0, len(blocks), step)]
    return np.concatenate(parts)


def most_of(bits: int) -> np.float32:
    """The largest integer."""
    return np.float32(2 ** (bits - 1) - 1)


def _searched(blocks: Floats, bits: int, snap: Snap, importance: Floats | None) -> Floats:
    if len(blocks) == 1:  # numpy would add up a single column in another order, and the last bit would differ
        return _searched(blocks.repeat(2, axis=0), bits, snap, importance)[:1]
    columns = np.ascontiguousarray(blocks.T, np.float32)  # numpy is fast along long rows
    weight = None if importance is None else importance[:, None]
    largest, most = _largest(columns), most_of(bits)
    tried = snap(np.stack([largest / most, *(largest / (most + 1) * FACTORS[:, None])]))
    errors = _errors(columns, tried, bits, weight)
    best = errors.argmin(axis=0)[None]
    scales, error = (np.take_along_axis(each, best, axis=0)[0] for each in (tried, errors))
    fitted = snap(_fitted(columns, scales, bits, weight))
    better = _errors(columns, fitted[None], bits, weight)[0] < error
    return np.where(better, fitted, scales)


def _largest(columns: Floats) -> Floats:
    largest: Floats = np.maximum(columns.max(axis=0), -columns.min(axis=0))
    return largest


def _integers(numbers: Floats, scales: Floats, bits: int) -> Floats:
    """The nearest integers; ``scales`` have, or fit, the shape of ``numbers``."""
    integers = numbers * (np.float32(1) / scales)
    np.rint(integers, out=integers)
    return np.clip(integers, -most_of(bits) - 1, most_of(bits), out=integers)


def _errors(columns: Floats, scales: Floats, bits: int, weight: Floats | None) -> Floats:
    """Sum of squared errors of each block, ``[F, N]`` for scales ``[F, N]``."""
    scaled = columns * (np.float32(1) / scales)[:, None]
    wrong = np.rint(scaled)
    np.clip(wrong, -most_of(bits) - 1, most_of(bits), out=wrong)
    wrong -= scaled
    wrong *= wrong
    if weight is not None:
        wrong *= weight
    errors: Floats = wrong.sum(axis=1) * (scales * scales)
    return errors


def _fitted(columns: Floats, scales: Floats, bits: int, weight: Floats | None) -> Floats:
    """Scales that suit the integers best: least squares."""
    integers = _integers(columns, scales, bits)
    weighted = integers if weight is None else integers * weight
    above, below = (weighted * columns).sum(axis=0), (weighted * integers).sum(axis=0)
    fitted: Floats = np.divide(above, below, out=scales.copy(), where=below > 0)
    return fitted


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
