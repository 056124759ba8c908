"""Reductions and running totals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from edgegen.graph import Value
from edgegen.lowering.aten.indexing import along
from edgegen.lowering.aten.integers import descending, ordered
from edgegen.lowering.aten.math import log1p
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers

Axes = Sequence[int] | int | None


def _axes(x: Value, axes: Axes) -> list[int]:
    """Non-negative and sorted; none given means all."""
    if isinstance(axes, int):
        axes = [axes]
    return sorted(axis % x.rank for axis in axes or range(x.rank)) if x.rank else []


def _reduction(kind: str) -> Callable[..., Value]:
    def rule(
        g: LoweringContext, x: Value, axes: Axes = None, keep: bool = False, *, dtype: torch.dtype | None = None
    ) -> Value:
        return g.reduce(kind, g.operand(x), _axes(x, axes), keep)

    return rule


lowers("aten.mean.dim", "aten.mean.default")(_reduction("MEAN"))
lowers("aten.sum.dim_IntList", "aten.sum.default")(_reduction("SUM"))
lowers("aten.prod.dim_int")(_reduction("REDUCE_PROD"))


@lowers("aten.prod.default")
def _prod(g: LoweringContext, x: Value, *, dtype: torch.dtype | None = None) -> Value:
    return g.reduce("REDUCE_PROD", g.operand(x), _axes(x, None), keep=False)


def _truth(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, x: Value, axes: Axes = None, keep: bool = False) -> Value:
        return g.cast(g.reduce(kind, g.cast(x, "bool"), _axes(x, axes), keep), g.dtype)

    return rule


lowers("aten.any.default", "aten.any.dim", "aten.any.dims")(_truth("REDUCE_ANY"))
lowers("aten.all.default", "aten.all.dim", "aten.all.dims")(_truth("REDUCE_ALL"))


# -- extremes -------------------------------------------------------------------------------------------------------


def _extreme(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, x: Value, axes: Axes = None, keep: bool = False) -> Value:
        """NaN where there is one, which the kernel overlooks."""
        found = g.reduce(kind, x, _axes(x, axes), keep)
        if not x.dtype.startswith("float"):
            return found
        return g.where(g.reduce("REDUCE_ANY", g.is_nan(x), _axes(x, axes), keep), float("nan"), found)

    return rule


_amax, _amin = _extreme("REDUCE_MAX"), _extreme("REDUCE_MIN")
lowers("aten.amax.default", "aten.max.default")(_amax)
lowers("aten.amin.default", "aten.min.default")(_amin)


def argmax(g: LoweringContext, x: Value, axis: int, largest: bool = True) -> Value:
    """Position of the first of the largest (or smallest) along ``axis`` as int64; NaN counts as either."""
    keys = ordered(g, x)
    if not largest:
        keys = descending(g, keys)
        if x.dtype.startswith("float"):
            keys = g.where(g.is_nan(x), 2**31 - 1, keys)
    if keys.dtype == "int64":
        moved = g.last(keys, axis)
        shape = (*moved.shape[:-1], 1)
        _, index = g.multiple("TOPK_V2", [moved, g.constant(1, "int32")], [(shape, "int64"), (shape, "int32")])
        return g.cast(g.reshape(index, shape[:-1]), "int64")
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return g.op("ARG_MAX", [keys, g.constant(axis, "int32")], shape, "int64", outputType="int64")


def _arg(largest: bool) -> Callable[..., Value]:
    def rule(g: LoweringContext, x: Value, axis: int | None = None, keep: bool = False) -> Value:
        if axis is None or x.rank == 0:
            x, axis = g.flat(x), 0
        return g.reshape(argmax(g, x, axis % x.rank, largest), g.shape)

    return rule


lowers("aten.argmax.default")(_arg(True))
lowers("aten.argmin.default")(_arg(False))


def _extreme_with_index(largest: bool) -> Callable[..., tuple[Value, Value]]:
    def rule(g: LoweringContext, x: Value, axis: int, keep: bool = False) -> tuple[Value, Value]:
        if x.rank == 0:
            return x, g.constant(0, "int64")
        axis %= x.rank
        values = (_amax if largest else _amin)(g, x, axis, keep)
        return values, g.reshape(argmax(g, x, axis, largest), g.shape)

    return rule


lowers("aten.max.dim")(_extreme_with_index(True))
lowers("aten.min.dim")(_extreme_with_index(False))


# -- moments --------------------------------------------------------------------------------------------------------


def _variance(g: LoweringContext, x: Value, axes: Axes, correction: float | None, keep: bool) -> Value:
    dtype, x = x.dtype, g.cast(x, "float32")
    which = _axes(x, axes)
    centred = g.sub(x, g.reduce("MEAN", x, which, keep=True))
    freedom = max(0.0, math.prod(x.shape[i] for i in which) - (1 if correction is None else correction))
    total = g.reduce("SUM", g.mul(centred, centred), which, keep)
    return g.cast(g.div(total, freedom), dtype)


@lowers("aten.var.correction")
def _var(
    g: LoweringContext, x: Value, axes: Axes = None, *, correction: float | None = None, keepdim: bool = False
) -> Value:
    return _variance(g, x, axes, correction, keepdim)


@lowers("aten.var.dim")
def _var_dim(g: LoweringContext, x: Value, axes: Axes, unbiased: bool = True, keepdim: bool = False) -> Value:
    return _variance(g, x, axes, 1 if unbiased else 0, keepdim)


@lowers("aten.var_mean.correction")
def _var_mean(
    g: LoweringContext, x: Value, axes: Axes = None, *, correction: float | None = None, keepdim: bool = False
) -> tuple[Value, Value]:
    mean = g.reduce("MEAN", x, _axes(x, axes), keepdim)
    return _variance(g, x, axes, correction, keepdim), mean


# -- norms ----------------------------------------------------------------------------------------------------------


def norm(g: LoweringContext, x: Value, p: float, axes: Axes, keep: bool = False) -> Value:
    """The p-norm of vectors along ``axes``."""
    which, size = _axes(x, axes), g.unary("ABS", x)
    if p == 0:
        return g.reduce("SUM", g.cast(g.compare("NOT_EQUAL", x, 0), x.dtype), which, keep)
    if p == 1:
        return g.reduce("SUM", size, which, keep)
    if p == 2:
        return g.unary("SQRT", g.reduce("SUM", g.mul(x, x), which, keep))
    if math.isinf(p):
        return (_amax if p > 0 else _amin)(g, size, which, keep)
    power = g.reduce("SUM", g.binary("POW", size, g.constant(p, x.dtype)), which, keep)
    return g.binary("POW", power, g.constant(1 / p, x.dtype))


@lowers("aten.linalg_vector_norm.default")
def _vector_norm(
    g: LoweringContext,
    x: Value,
    order: float = 2,
    axes: Axes = None,
    keep: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Value:
    return g.cast(norm(g, g.cast(x, "float32"), order, axes, keep), g.dtype)


# -- running totals -------------------------------------------------------------------------------------------------


@lowers("aten.cumsum.default")
def _cumsum(g: LoweringContext, x: Value, axis: int, *, dtype: torch.dtype | None = None) -> Value:
    x = g.operand(x)
    if x.rank == 0:
        return x
    return g.op("CUMSUM", [x, g.constant(axis % x.rank, "int32")], x.shape, exclusive=False, reverse=False)


def _running(g: LoweringContext, x: Value, axis: int, combine: Callable[[Value, Value], Value]) -> Value:
    """By doubling: after k steps each element holds what is made of the 2**k up to it."""
    n, shift = x.shape[axis], 1
    while shift < n:
        start, rest = g.narrow(x, axis, 0, shift), g.narrow(x, axis, shift, n - shift)
        x = g.concat([start, combine(g.narrow(x, axis, 0, n - shift), rest)], axis)
        shift *= 2
    return x


@lowers("aten.cumprod.default")
def _cumprod(g: LoweringContext, x: Value, axis: int, *, dtype: torch.dtype | None = None) -> Value:
    x = g.operand(x)
    return _running(g, x, axis % x.rank, g.mul) if x.rank else x


def _running_extreme(largest: bool) -> Callable[..., tuple[Value, Value]]:
    def rule(g: LoweringContext, x: Value, axis: int) -> tuple[Value, Value]:
        """Values, and the position of the last of equal ones."""
        if x.rank == 0:
            return x, g.constant(0, "int64")
        axis %= x.rank
        keys = ordered(g, x)
        if not largest:
            keys = descending(g, keys)
            if x.dtype.startswith("float"):
                keys = g.where(g.is_nan(x), 2**31 - 1, keys)
        best = _running(g, keys, axis, lambda a, b: g.binary("MAXIMUM", a, b))
        places = np.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(x.rank)])
        marked = g.where(g.compare("EQUAL", keys, best), g.constant(np.broadcast_to(places, x.shape), "int32"), -1)
        index = _running(g, marked, axis, lambda a, b: g.binary("MAXIMUM", a, b))
        return along(g, x, axis, index), g.cast(index, "int64")

    return rule


lowers("aten.cummax.default")(_running_extreme(True))
lowers("aten.cummin.default")(_running_extreme(False))


@lowers("aten.logcumsumexp.default")
def _logcumsumexp(g: LoweringContext, x: Value, axis: int) -> Value:
    """The larger of two exponents is taken out of their sum, so that it does not overflow."""

    def both(a: Value, b: Value) -> Value:
        less = g.unary("EXP", g.unary("NEG", g.unary("ABS", g.sub(a, b))))
        added = g.where(g.compare("EQUAL", a, b), math.log(2), log1p(g, less))
        return g.add(g.binary("MAXIMUM", a, b), added)

    wide = g.cast(x, "float32")
    return g.cast(_running(g, wide, axis % x.rank, both), g.dtype) if x.rank else x
