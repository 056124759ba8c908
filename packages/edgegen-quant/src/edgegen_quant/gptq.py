"""GPTQ: rounding of a matrix that compensates its own errors, given the Hessian of its inputs.

With the Hessian ``H``, the mean of ``x xᵀ`` over inputs ``x``, a row whose weights are off by ``e`` gives products that
are off by ``eᵀ H e`` in the mean square. With ``H = (1 + G) D (1 + G)ᵀ``, G strictly upper triangular and D diagonal,
that is the sum of squares of ``e (1 + G)``, weighted by D; and its k-th number depends on the first k errors only. So
columns are rounded one after the other, each after adding ``e G``, which is what cancels the errors so far: GPTQ
(Frantar et al., 2022, https://arxiv.org/abs/2210.17323), in the form of QuIP's LDLQ (Chee et al., 2023,
https://arxiv.org/abs/2307.13304). Columns with the largest inputs come first, while many are left to compensate them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgegen_quant.scale_search import Floats, block_scales, channel_scales, most_of, search_scales

_DAMPING = 0.5
"""Damping of the Hessian's diagonal, as a share of its mean: a text shows part of what inputs can be."""

_LEAST_IMPORTANT = 0.01
"""Least importance of a column, as a share of the mean: another text may use one that this one did not."""

_STEP = 64
"""Columns that are compensated at once, where they are no block."""

_FINE = 8
"""Columns of few bits that are rounded at once, without regard to each other. One at a time factors little."""


@dataclass(frozen=True)
class ColumnGroup:
    """A group of columns of a matrix that compensate each other's errors, in the order of rounding.

    Attributes:
        order: ``[k]``, their places in the matrix.
        factors: ``[k, k]``, what the error of a column adds to each that is rounded later (G); 0 elsewhere.
        importance: ``[k]``, weight of a column's squared error.
        step: columns that are compensated at once.
        fine: columns that are rounded at once, a divisor of ``step``.
    """

    order: npt.NDArray[np.intp]
    factors: Floats
    importance: Floats
    step: int
    fine: int

    @property
    def steps(self) -> Iterator[slice]:
        return _slices(0, len(self.order), self.step)


def column_groups(hessians: Sequence[Floats], bits: int, block: int | None) -> list[ColumnGroup]:
    """The groups of columns of a matrix, with their factors.

    Args:
        hessians: squares along the diagonal of ``H``; the size of each is a multiple of ``block``.
        bits: width of the numbers that it is rounded to.
        block: neighbours that share a scale, and stay together.
    """
    found, start = [], 0
    for hessian in hessians:
        found.append(_column_group(hessian, start, bits, block))
        start += len(hessian)
    return found


def gptq_round(
    rows: Floats, bits: int, block: int | None, columns: Sequence[ColumnGroup]
) -> tuple[npt.NDArray[np.int8], Floats]:
    """Integers and scales as :func:`edgegen_quant.scale_search.to_integers` gives; 8 bits reach down to -127 only."""
    count, width = rows.shape
    data = np.empty(rows.shape, np.int8)
    scales = np.empty((count, width // (block or width)), np.float32)
    if block is None:
        scales[:, 0] = _scales_of_rows(rows, bits, columns)
    for group in columns:
        _round(rows, bits, block, group, data, scales)
    return data, scales


def _column_group(hessian: Floats, start: int, bits: int, block: int | None) -> ColumnGroup:
    size = len(hessian)
    diagonal = hessian.diagonal()
    order = _by_magnitude(diagonal, block or 1)
    mean = max(float(diagonal.mean()), float(np.finfo(np.float32).tiny))
    damped = hessian[np.ix_(order, order)]
    damped[np.diag_indices(size)] += _DAMPING * mean
    step = block or _STEP
    fine = step if bits >= 8 else _FINE
    importance = np.maximum(diagonal[order], _LEAST_IMPORTANT * mean).astype(np.float32)
    return ColumnGroup(start + order, _factors(damped, fine), importance, step, fine)


def _factors(left: Floats, fine: int) -> Floats:
    """G with blocks of ``fine`` columns for single ones; eliminates them from ``left``, the last first."""
    factors = np.zeros_like(left)
    for panel in reversed([*_slices(0, len(left), _STEP)]):
        for part in reversed([*_slices(panel.start, panel.stop, fine)]):
            before, inside = slice(part.start), slice(panel.start, part.start)
            factors[before, part] = left[before, part] @ np.linalg.inv(left[part, part])
            left[before, inside] -= factors[before, part] @ left[part, inside]
        before = slice(panel.start)
        left[before, before] -= factors[before, panel] @ left[before, panel].T
    return factors


def _by_magnitude(diagonal: Floats, block: int) -> npt.NDArray[np.intp]:
    """Blocks of columns by what they are multiplied with, the largest first."""
    first = np.argsort(-diagonal.reshape(-1, block).sum(axis=1), kind="stable")
    order: npt.NDArray[np.intp] = (first[:, None] * block + np.arange(block)).reshape(-1)
    return order


def _scales_of_rows(rows: Floats, bits: int, columns: Sequence[ColumnGroup]) -> Floats:
    if bits >= 8:
        return channel_scales(np.maximum(rows.max(axis=1), -rows.min(axis=1)) / most_of(bits))
    importance = np.empty(rows.shape[1], np.float32)
    for group in columns:
        importance[group.order] = group.importance
    return search_scales(rows, bits, channel_scales, importance)


def _round(
    rows: Floats, bits: int, block: int | None, columns: ColumnGroup, data: npt.NDArray[np.int8], scales: Floats
) -> None:
    """Fill in the columns of ``data``, and the scales of their blocks."""
    most = most_of(bits)
    least = -most if bits >= 8 else -most - 1
    weights = rows[:, columns.order]
    errors = np.empty_like(weights)
    scale = scales[:, :1]
    for step in columns.steps:
        wanted = weights[:, step] + errors[:, : step.start] @ columns.factors[: step.start, step]
        if block is not None:
            place = columns.order[step.start] // block
            scales[:, place] = search_scales(wanted, bits, block_scales, columns.importance[step])
            scale = scales[:, place, None]
        per_scale = np.float32(1) / scale
        for part in _slices(step.start, step.stop, columns.fine):
            target = wanted[:, part.start - step.start : part.stop - step.start]
            if part.start > step.start:
                before = slice(step.start, part.start)
                target = target + errors[:, before] @ columns.factors[before, part]
            integers = np.clip(np.rint(target * per_scale), least, most)
            data[:, columns.order[part]] = integers
            errors[:, part] = weights[:, part] - integers * scale


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    return (slice(at, min(at + step, stop)) for at in range(start, stop, step))
