"""Sorting. LiteRT's TOPK_V2 takes the largest along the last axis, equal ones in their order."""

from __future__ import annotations

from edgegen.graph import Value
from edgegen.lowering.aten.indexing import along
from edgegen.lowering.aten.integers import descending, ordered
from edgegen.lowering.aten.reduction import argmax
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


def _ranked(g: LoweringContext, x: Value, k: int, axis: int, largest: bool) -> tuple[Value, Value]:
    if x.rank == 0:
        return x, g.constant(0, "int64")
    axis %= x.rank
    moved = g.last(x, axis)
    keys = ordered(g, moved)
    if not largest:
        keys = descending(g, keys)
    shape = (*moved.shape[:-1], k)
    _, index = g.multiple("TOPK_V2", [keys, g.constant(k, "int32")], [(shape, keys.dtype), (shape, "int32")])
    index = g.from_last(index, axis)
    return along(g, x, axis, index), g.cast(index, "int64")


@lowers("aten.topk.default")
def _topk(
    g: LoweringContext, x: Value, k: int, axis: int = -1, largest: bool = True, sorted: bool = True
) -> tuple[Value, Value]:
    return _ranked(g, x, k, axis, largest)


@lowers("aten.sort.default")
def _sort(g: LoweringContext, x: Value, axis: int = -1, descending: bool = False) -> tuple[Value, Value]:
    return _ranked(g, x, x.shape[axis] if x.rank else 1, axis, descending)


@lowers("aten.sort.stable")
def _sort_stable(
    g: LoweringContext, x: Value, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> tuple[Value, Value]:
    return _sort(g, x, dim, descending)


@lowers("aten.kthvalue.default")
def _kthvalue(g: LoweringContext, x: Value, k: int, axis: int = -1, keepdim: bool = False) -> tuple[Value, Value]:
    values, index = _ranked(g, x, k, axis, largest=False)
    return tuple(g.reshape(_last_of(g, v, axis), g.shape) for v in (values, index))  # type: ignore[return-value]


def _last_of(g: LoweringContext, x: Value, axis: int) -> Value:
    return g.narrow(x, axis % x.rank, x.shape[axis] - 1, 1) if x.rank else x


@lowers("aten.median.dim")
def _median_dim(g: LoweringContext, x: Value, axis: int, keepdim: bool = False) -> tuple[Value, Value]:
    """The lower one of two in the middle; NaN where there is one."""
    if x.rank == 0:
        return x, g.constant(0, "int64")
    axis %= x.rank
    found = _kthvalue(g, x, (x.shape[axis] + 1) // 2, axis)
    if not x.dtype.startswith("float"):
        return found
    nan = g.is_nan(x)
    any_nan = g.reshape(g.reduce("REDUCE_ANY", nan, [axis], keep=True), g.shape)
    first = g.reshape(argmax(g, x, axis), g.shape)
    return g.where(any_nan, float("nan"), found[0]), g.where(any_nan, first, found[1])


@lowers("aten.median.default")
def _median(g: LoweringContext, x: Value) -> Value:
    return _median_dim(g, g.flat(x), 0)[0]


# -- places in what is sorted ---------------------------------------------------------------------------------------


@lowers("aten.searchsorted.Tensor")
def _searchsorted(
    g: LoweringContext,
    boundaries: Value,
    x: Value,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Value | None = None,
) -> Value:
    """Number of ``boundaries [..., N]`` before each of ``x [..., M]``, by comparison with all of them."""
    if sorter is not None:
        boundaries = along(g, boundaries, boundaries.rank - 1, sorter)
    lead = boundaries.shape[:-1] if boundaries.rank > 1 else (1,) * (x.rank - 1)
    columns = g.reshape(boundaries, (*lead, *((1,) if x.rank else ()), boundaries.shape[-1]))
    kind = "LESS_EQUAL" if right or side == "right" else "LESS"
    before = g.compare(kind, columns, g.reshape(x, (*x.shape, 1)))
    return g.cast(g.reduce("SUM", g.cast(before, "int32"), [before.rank - 1], keep=False), g.dtype)


@lowers("aten.bucketize.Tensor")
def _bucketize(
    g: LoweringContext, x: Value, boundaries: Value, *, out_int32: bool = False, right: bool = False
) -> Value:
    return _searchsorted(g, boundaries, x, right=right)
