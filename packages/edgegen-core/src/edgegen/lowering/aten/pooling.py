"""Pooling. LiteRT pools images, channels last; volumes are pooled in two passes."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.graph import Value
from edgegen.lowering.aten.reduction import argmax
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers

Positions = npt.NDArray[np.int64]
Pads = list[tuple[int, int]]


def _per_axis(numbers: Sequence[int] | int, n: int, default: Sequence[int] = ()) -> list[int]:
    numbers = [numbers] if isinstance(numbers, int) else list(numbers) or list(default)
    return numbers * n if len(numbers) == 1 else numbers


def _pooled(g: LoweringContext, kind: str, x: Value, kernel: Sequence[int], stride: Sequence[int], pads: Pads) -> Value:
    """``x [..., C]`` with two or three spatial axes; padding is zeros, or what LiteRT's SAME leaves out."""
    if len(kernel) == 3:
        n, depth, height, width, channels = x.shape
        flat = _pooled(g, kind, g.reshape(x, (n * depth, height, width, channels)), kernel[1:], stride[1:], pads[1:])
        rest = flat.shape[1:3]
        columns = g.reshape(flat, (n, depth, math.prod(rest), channels))
        result = _pooled(g, kind, columns, [kernel[0], 1], [stride[0], 1], [pads[0], (0, 0)])
        return g.reshape(result, (n, result.shape[1], *rest, channels))
    sizes = x.shape[1:3]
    out = [(n + sum(p) - k) // s + 1 for n, p, k, s in zip(sizes, pads, kernel, stride, strict=True)]
    options: dict[str, Any] = {"padding": "VALID", "filterHeight": kernel[0], "filterWidth": kernel[1]}
    if any(map(any, pads)):
        options["padding"] = "SAME"
    shape = (x.shape[0], *out, x.shape[3])
    options |= {"strideH": stride[0], "strideW": stride[1], "fusedActivationFunction": "NONE"}
    return g.op(kind, [x], shape, **options)


def _is_same(n: int, out: int, kernel: int, stride: int, before: int) -> bool:
    return out == -(-n // stride) and before == max((out - 1) * stride + kernel - n, 0) // 2


def _batched(g: LoweringContext, x: Value, n: int) -> Value:
    """``[N, C, ...]`` of the last ``n`` axes."""
    channels = x.shape[-n - 1]
    return g.reshape(x, (math.prod(x.shape[: -n - 1]), channels, *x.shape[-n:]))


def _last(g: LoweringContext, x: Value) -> Value:
    return g.transpose(x, [0, *range(2, x.rank), 1])


def _first(g: LoweringContext, x: Value) -> Value:
    return g.transpose(x, [0, x.rank - 1, *range(1, x.rank - 1)])


# -- averages -------------------------------------------------------------------------------------------------------


@lowers("aten.avg_pool2d.default", "aten.avg_pool3d.default")
def _avg_pool(
    g: LoweringContext,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Value:
    n = x.rank - 1 if x.rank == len(kernel) + 1 else x.rank - 2
    kernel, padding = _per_axis(kernel, n), _per_axis(padding, n)
    stride = _per_axis(stride, n, kernel)
    sizes, out = x.shape[-n:], g.shape[-n:]
    counts = [_counts(*numbers, count_include_pad) for numbers in zip(sizes, out, kernel, stride, padding, strict=True)]
    kernel, padding = _trimmed(sizes, out, kernel, padding)
    last = _last(g, _batched(g, x, n))
    if n == 2 and divisor is None and not count_include_pad and all(map(_is_same, sizes, out, kernel, stride, padding)):
        pooled = _pooled(g, "AVERAGE_POOL_2D", last, kernel, stride, _pads(sizes, out, kernel, stride, padding))
        return g.reshape(_first(g, pooled), g.shape)
    pads = _pads(sizes, out, kernel, stride, padding)
    pooled = _pooled(g, "AVERAGE_POOL_2D", g.pad(last, [(0, 0), *pads, (0, 0)]), kernel, stride, [(0, 0)] * n)
    parts = functools.reduce(np.multiply.outer, counts) if divisor is None else np.full(out, divisor)
    factor = math.prod(kernel) / parts
    if np.all(factor == factor.flat[0]):
        same = float(factor.flat[0])
        pooled = pooled if same == 1 else g.mul(pooled, same)
    else:
        pooled = g.mul(pooled, g.constant(factor[None, ..., None], pooled.dtype))
    return g.reshape(_first(g, pooled), g.shape)


def _trimmed(
    sizes: Sequence[int], out: Sequence[int], kernel: Sequence[int], padding: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Kernel and padding without what a single window has beyond the input; kernels may be vastly larger than that."""
    alone = [o == 1 for o in out]
    lengths = [min(k - p, n) if one else k for n, k, p, one in zip(sizes, kernel, padding, alone, strict=True)]
    return lengths, [0 if one else p for p, one in zip(padding, alone, strict=True)]


def _pads(
    sizes: Sequence[int], out: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Pads:
    """Padding of each axis, with what ``ceil_mode`` adds for windows that end beyond the input."""
    reach = [(o - 1) * s + k for o, s, k in zip(out, stride, kernel, strict=True)]
    return [(p, max(0, r - n - p)) for p, r, n in zip(padding, reach, sizes, strict=True)]


def _counts(n: int, out: int, kernel: int, stride: int, pad: int, include_pad: bool) -> npt.NDArray[np.float64]:
    """Divisor of each window along one axis."""
    start = np.arange(out) * stride - pad
    end = np.minimum(start + kernel, n + pad)
    if not include_pad:
        start, end = np.maximum(start, 0), np.minimum(end, n)
    return (end - start).astype(np.float64)


@lowers("aten._adaptive_avg_pool2d.default", "aten._adaptive_avg_pool3d.default")
def _adaptive_avg_pool(g: LoweringContext, x: Value, size: Sequence[int]) -> Value:
    axes = range(x.rank - len(size), x.rank)
    if set(size) == {1}:
        return g.reduce("MEAN", x, axes, keep=True)
    if all(x.shape[axis] % n == 0 for axis, n in zip(axes, size, strict=True)):
        kernel = [x.shape[axis] // n for axis, n in zip(axes, size, strict=True)]
        return _avg_pool(g, x, kernel)
    for axis, n in zip(axes, size, strict=True):
        x = g.matrix(x, axis, _adaptive_weights(x.shape[axis], n))
    return x


def _adaptive_weights(n: int, out: int) -> npt.NDArray[np.float64]:
    weights = np.zeros((out, n))
    for row, (start, end) in zip(weights, _adaptive_bounds(n, out), strict=True):
        row[start:end] = 1 / (end - start)
    return weights


def _adaptive_bounds(n: int, out: int) -> list[tuple[int, int]]:
    return [(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]


# -- maxima ---------------------------------------------------------------------------------------------------------


@lowers("aten.max_pool2d_with_indices.default", "aten.max_pool3d_with_indices.default")
def _max_pool(
    g: LoweringContext,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Value, Value]:
    n = x.rank - 1 if x.rank == len(kernel) + 1 else x.rank - 2
    kernel, padding, dilation = _per_axis(kernel, n), _per_axis(padding, n), _per_axis(dilation, n)
    stride = _per_axis(stride, n, kernel)
    sizes, out, shape = x.shape[-n:], g.shape[-n:], g.shape
    maps = [_positions(*numbers) for numbers in zip(sizes, out, kernel, stride, padding, dilation, strict=True)]
    if max(dilation) > 1 or x.dtype not in ("float32", "float16"):
        return _maxima(g, x, maps, shape)
    kernel, padding = _trimmed(sizes, out, kernel, padding)
    last = _last(g, _batched(g, x, n))
    pads = _pads(sizes, out, kernel, stride, padding)
    if n == 2 and all(map(_is_same, sizes, out, kernel, stride, padding)):
        pooled = _pooled(g, "MAX_POOL_2D", last, kernel, stride, pads)
    else:
        # XNNPACK pads with zeros only, which do no harm after RELU.
        fill = 0.0 if _made_by(g, x, "RELU") else float("-inf")
        padded = g.pad(last, [(0, 0), *pads, (0, 0)], fill)
        pooled = _pooled(g, "MAX_POOL_2D", padded, kernel, stride, [(0, 0)] * n)
    return g.reshape(_first(g, pooled), shape), _maxima(g, x, maps, shape)[1]


def _made_by(g: LoweringContext, x: Value, kind: str) -> bool:
    return any(op.kind == kind and x in op.outputs for op in reversed(g.graph.ops))


def _positions(n: int, out: int, kernel: int, stride: int, pad: int, dilation: int) -> Positions:
    """Input positions of each window along one axis, ``[out, kernel]``; padding repeats positions of the window."""
    places = np.arange(out)[:, None] * stride - pad + np.arange(kernel) * dilation
    inside = (places >= 0) & (places < n)
    rows = []
    for row, valid in zip(places, inside, strict=True):
        kept = row[valid]
        rows.append(np.concatenate([kept, np.full(kernel - len(kept), kept[-1])]))
    return np.stack(rows)


def _maxima(g: LoweringContext, x: Value, maps: Sequence[Positions], shape: Sequence[int]) -> tuple[Value, Value]:
    """The largest of each window, and its position among the elements of its channel."""
    n = len(maps)
    sizes, out = x.shape[-n:], tuple(len(rows) for rows in maps)
    grids = np.meshgrid(*(rows.reshape(-1) for rows in maps), indexing="ij")
    place = np.ravel_multi_index(grids, sizes)
    # [out, kernel, out, kernel, ...] -> [out, out, ..., all of the kernel]
    split = place.reshape([length for rows in maps for length in rows.shape])
    windows = split.transpose([*range(0, 2 * n, 2), *range(1, 2 * n, 2)]).reshape(math.prod(out), -1)
    planes = math.prod(x.shape[:-n])
    flat = g.reshape(x, (planes, math.prod(sizes)))
    seen = g.gather(flat, g.constant(windows, "int32"), 1)
    values = g.reduce("REDUCE_MAX", seen, [2], keep=False)
    within = g.cast(argmax(g, seen, 2), "int32")
    start = g.constant(np.arange(windows.shape[0]) * windows.shape[1], "int32")
    index = g.gather(g.constant(windows.reshape(-1), "int32"), g.add(within, start), 0)
    return g.reshape(values, shape), g.cast(g.reshape(index, shape), "int64")


@lowers("aten.adaptive_max_pool2d.default", "aten.adaptive_max_pool3d.default")
def _adaptive_max_pool(g: LoweringContext, x: Value, size: Sequence[int]) -> tuple[Value, Value]:
    maps = []
    for n, out in zip(x.shape[-len(size) :], size, strict=True):
        bounds = _adaptive_bounds(n, out)
        longest = max(end - start for start, end in bounds)
        maps.append(np.stack([np.minimum(start + np.arange(longest), end - 1) for start, end in bounds]))
    return _maxima(g, x, maps, g.shape)
