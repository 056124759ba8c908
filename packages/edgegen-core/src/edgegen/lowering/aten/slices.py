"""Parts of a tensor at places that are known beforehand, read and overwritten."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


@lowers("aten.slice.Tensor")
def _slice(
    g: LoweringContext,
    x: Value,
    axis: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    begin, _, _ = slice(start, end).indices(x.shape[axis])
    axis %= x.rank
    begins, steps = [0] * x.rank, [1] * x.rank
    begins[axis], steps[axis] = begin, step
    return g.strided(x, begins, g.shape, steps)


@lowers("aten.narrow.default")
def _narrow(g: LoweringContext, x: Value, axis: int, start: int, length: int) -> Value:
    return g.narrow(x, axis % x.rank, start % x.shape[axis], length)


@lowers("aten.select.int")
def _select(g: LoweringContext, x: Value, axis: int, index: int) -> Value:
    return g.reshape(g.narrow(x, axis % x.rank, index % x.shape[axis], 1), g.shape)


@lowers("aten.split_with_sizes.default")
def _split_with_sizes(g: LoweringContext, x: Value, sizes: Sequence[int], axis: int = 0) -> tuple[Value, ...]:
    return _parts(g, x, sizes, axis % x.rank)


@lowers("aten.split.Tensor")
def _split(g: LoweringContext, x: Value, size: int, axis: int = 0) -> tuple[Value, ...]:
    return _parts(g, x, _even(x.shape[axis], size), axis % x.rank)


@lowers("aten.chunk.default")
def _chunk(g: LoweringContext, x: Value, chunks: int, axis: int = 0) -> tuple[Value, ...]:
    return _parts(g, x, _even(x.shape[axis], math.ceil(x.shape[axis] / chunks)), axis % x.rank)


def _even(whole: int, size: int) -> list[int]:
    return [min(size, whole - start) for start in range(0, whole, size)]


def _parts(g: LoweringContext, x: Value, sizes: Sequence[int], axis: int) -> tuple[Value, ...]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(g.narrow(x, axis, start, size) for start, size in zip(starts, sizes, strict=True))


# -- views that PyTorch describes by strides -----------------------------------------------------------------------


@lowers("aten.diagonal.default")
def _diagonal(g: LoweringContext, x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    return _elements(g, x, lambda places: np.diagonal(places, offset, dim1, dim2))


@lowers("aten.as_strided.default", "aten.as_strided_copy.default")
def _as_strided(
    g: LoweringContext, x: Value, size: Sequence[int], stride: Sequence[int], start: int | None = None
) -> Value:
    """as_strided of a contiguous tensor; functional graphs have no others."""
    places = _strided_places(size, stride, start)
    return _elements(g, x, lambda _: places)


def _strided_places(size: Sequence[int], stride: Sequence[int], start: int | None) -> np.ndarray[Any, Any]:
    places = np.asarray(start or 0)
    for n, step in zip(size, stride, strict=True):
        places = places[..., None] + np.arange(n) * step
    return places


@lowers("aten.unfold.default", "aten.unfold_copy.default")
def _unfold(g: LoweringContext, x: Value, axis: int, size: int, step: int) -> Value:
    """Windows along an axis; what they hold becomes the last axis."""
    if x.rank == 0:
        return g.reshape(x, g.shape)
    axis %= x.rank
    every = tuple(slice(None, None, step if i == axis else None) for i in range(x.rank))
    return _elements(g, x, lambda places: sliding_window_view(places, size, axis)[every])


def _elements(g: LoweringContext, x: Value, choose: Any) -> Value:
    """Elements of ``x``, chosen by their positions in memory."""
    places = choose(np.arange(math.prod(x.shape)).reshape(x.shape))
    return g.reshape(g.gather(g.flat(x), g.constant(places.reshape(-1), "int32"), 0), g.shape)


# -- overwritten parts ----------------------------------------------------------------------------------------------


@lowers("aten.select_scatter.default")
def _select_scatter(g: LoweringContext, x: Value, source: Value, axis: int, index: int) -> Value:
    axis %= x.rank
    one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    return _overwritten(g, x, g.reshape(g.operand(source), one), axis, [index % x.shape[axis]])


@lowers("aten.slice_scatter.default")
def _slice_scatter(
    g: LoweringContext,
    x: Value,
    source: Value,
    axis: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    places = range(x.shape[axis])[slice(start, end, step)]
    axis %= x.rank
    shape = (*x.shape[:axis], len(places), *x.shape[axis + 1 :])
    return _overwritten(g, x, g.expand(g.operand(source), shape), axis, places) if len(places) else x


def _overwritten(g: LoweringContext, x: Value, source: Value, axis: int, places: Sequence[int]) -> Value:
    """``x`` with ``source`` at ``places`` of ``axis``."""
    n, first, last = x.shape[axis], places[0], places[-1]
    if last - first + 1 == len(places):
        before = [g.narrow(x, axis, 0, first)] if first else []
        after = [g.narrow(x, axis, last + 1, n - last - 1)] if last + 1 < n else []
        return g.concat([*before, source, *after], axis)
    taken = np.arange(n)
    taken[list(places)] = n + np.arange(len(places))
    return g.gather(g.concat([x, source], axis), g.constant(taken, "int32"), axis)


@lowers("aten.diagonal_scatter.default")
def _diagonal_scatter(
    g: LoweringContext, x: Value, source: Value, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Value:
    return _elements_replaced(g, x, source, lambda places: np.diagonal(places, offset, dim1, dim2))


@lowers("aten.as_strided_scatter.default")
def _as_strided_scatter(
    g: LoweringContext,
    x: Value,
    source: Value,
    size: Sequence[int],
    stride: Sequence[int],
    start: int | None = None,
) -> Value:
    return _elements_replaced(g, x, source, lambda _: _strided_places(size, stride, start))


def _elements_replaced(g: LoweringContext, x: Value, source: Value, choose: Any) -> Value:
    """The reverse of :func:`_elements`."""
    count = math.prod(x.shape)
    taken = np.arange(count)
    places = choose(np.arange(count).reshape(x.shape)).reshape(-1)
    taken[places] = count + np.arange(len(places))
    both = g.concat([g.flat(x), g.flat(g.operand(source))], 0)
    return g.reshape(g.gather(both, g.constant(taken, "int32"), 0), x.shape)


@lowers("edgegen.dynamic_update_slice.default")
def _dynamic_update_slice(g: LoweringContext, operand: Value, update: Value, start: Value, axis: int) -> Value:
    zero = g.constant([0], "int32")
    starts: list[Value] = [zero] * operand.rank
    starts[axis] = g.reshape(g.cast(start, "int32"), [1])
    return g.op("DYNAMIC_UPDATE_SLICE", [operand, update, g.concat(starts, 0)], operand.shape)
