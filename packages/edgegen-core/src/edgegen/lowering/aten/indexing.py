"""Elements at places that are computed: looked up and overwritten.

Positions become int32: a tensor that LiteRT can hold has no more elements than that. Where several updates meet, the
last one stays, as on PyTorch's CPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgegen.graph import Value
from edgegen.lowering.aten.integers import floor_quotient
from edgegen.lowering.context import LoweringContext, Number
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


@lowers("aten.embedding.default")
def _embedding(g: LoweringContext, table: Value, ids: Value, *args: object, **kwargs: object) -> Value:
    if table.dtype != "float32" or ids.rank == 0:
        return g.gather(table, ids, 0)
    return g.embedding(ids, table)


@lowers("aten.index_select.default")
def _index_select(g: LoweringContext, x: Value, axis: int, index: Value) -> Value:
    if x.rank == 0:
        return x
    return g.gather(x, g.reshape(index, [math.prod(index.shape)]), axis % x.rank)


def non_negative(g: LoweringContext, index: Value, size: int) -> Value:
    """int32 positions, those before 0 counted from the end."""
    if index.constant is not None:
        return g.constant(np.where(index.constant < 0, index.constant + size, index.constant), "int32")
    index = g.cast(index, "int32")
    return g.where(g.compare("LESS", index, 0), g.add(index, size), index)


# -- x[i, :, j] -----------------------------------------------------------------------------------------------------


@lowers("aten.index.Tensor", "aten._unsafe_index.Tensor")
def _index(g: LoweringContext, x: Value, indices: Sequence[Value | None]) -> Value:
    axes = _indexed_axes(indices)
    if not axes:
        return x
    if len(axes) == 1:
        (axis,) = axes
        return g.gather(x, non_negative(g, _whole(indices[axis]), x.shape[axis]), axis)
    order = [*axes, *(i for i in range(x.rank) if i not in axes)]
    moved = g.transpose(x, order)
    places = _places(g, [_whole(indices[axis]) for axis in axes], moved.shape[: len(axes)])
    rest = moved.shape[len(axes) :]
    found = g.gather(g.reshape(moved, (math.prod(moved.shape[: len(axes)]), *rest)), places, 0)
    if axes == list(range(axes[0], axes[0] + len(axes))):
        # Neighbouring indices leave their axes where they were.
        n = places.rank
        found = g.transpose(found, [*range(n, n + axes[0]), *range(n), *range(n + axes[0], found.rank)])
    return found


def _indexed_axes(indices: Sequence[Value | None]) -> list[int]:
    return [axis for axis, index in enumerate(indices) if index is not None]


def _whole(index: Value | None) -> Value:
    assert index is not None
    if index.dtype in ("bool", "uint8"):
        raise NotImplementedError("with a mask that is computed, since the result's shape would depend on it")
    return index


def _places(g: LoweringContext, indices: Sequence[Value], shape: Sequence[int]) -> Value:
    """Positions among the elements of a tensor of ``shape``, from one index for each of its axes; they broadcast."""
    total: Value | None = None
    for axis, index in enumerate(indices):
        place = non_negative(g, index, shape[axis])
        stride = math.prod(shape[axis + 1 :])
        if stride != 1:
            fixed = place.constant
            place = g.mul(place, stride) if fixed is None else g.constant(fixed * stride, "int32")
        total = place if total is None else g.add(total, place)
    assert total is not None
    return total


@lowers("aten.index_put.default", "aten._unsafe_index_put.default")
def _index_put(
    g: LoweringContext, x: Value, indices: Sequence[Value | None], values: Value, accumulate: bool = False
) -> Value:
    axes = _indexed_axes(indices)
    if len(axes) == 1 and _mask(indices[axes[0]]) is not None and math.prod(values.shape) == 1:
        # x[mask] = number
        mask = _mask(indices[axes[0]])
        assert mask is not None
        shape = (1,) * axes[0] + mask.shape + (1,) * (x.rank - axes[0] - mask.rank)
        value = g.reshape(values, ())
        return g.where(g.reshape(mask, shape), g.add(x, value) if accumulate else value, x)
    order = [*axes, *(i for i in range(x.rank) if i not in axes)]
    moved = g.transpose(x, order)
    n = len(axes)
    places = _places(g, [_whole(indices[axis]) for axis in axes], moved.shape[:n])
    adjacent = axes == list(range(axes[0], axes[0] + n))
    rest = moved.shape[n:]
    first = axes[0] if adjacent else 0
    spread = g.expand(values, (*rest[:first], *places.shape, *rest[first:]))
    lead = [*range(first, first + places.rank), *range(first), *range(first + places.rank, spread.rank)]
    updates = g.transpose(spread, lead)
    rows = (math.prod(moved.shape[:n]), math.prod(rest))
    target, updates = g.reshape(moved, rows), g.reshape(updates, (math.prod(places.shape), rows[1]))
    places = g.flat(places)
    result = _added(g, target, places, updates) if accumulate else _replaced(g, target, places, updates)
    return g.transpose(g.reshape(result, moved.shape), [order.index(i) for i in range(x.rank)])


def _mask(index: Value | None) -> Value | None:
    return index if index is not None and index.dtype == "bool" else None


def _replaced(g: LoweringContext, x: Value, places: Value, updates: Value) -> Value:
    """Rows of ``x [N, D]`` at ``places [M]`` replaced by ``updates [M, D]``."""
    if x.rank > 1 and x.shape[1] == 1:
        return g.reshape(_replaced(g, g.flat(x), places, g.flat(updates)), x.shape)
    numbers = g.constant(np.arange(updates.shape[0]), "int32")
    count = g.constant(x.shape[0], "int32")
    writer = g.op("UNSORTED_SEGMENT_MAX", [numbers, places, count], (x.shape[0],))
    found = g.gather(updates, g.binary("MAXIMUM", writer, g.constant(0, "int32")), 0)
    written = g.reshape(g.compare("GREATER_EQUAL", writer, 0), (x.shape[0], *(1,) * (x.rank - 1)))
    return g.where(written, found, x)


def _added(g: LoweringContext, x: Value, places: Value, updates: Value) -> Value:
    """As :func:`_replaced`, with updates that are added."""
    shape = g.constant(list(x.shape), "int32")
    index = g.reshape(places, (*places.shape, 1))
    if x.dtype == "bool":
        return g.cast(_added(g, g.cast(x, "int32"), places, g.cast(updates, "int32")), "bool")
    return g.binary("ADD", x, g.op("SCATTER_ND", [index, updates, shape], x.shape, x.dtype))


# -- along one axis: gather and scatter -----------------------------------------------------------------------------


def _places_along(g: LoweringContext, index: Value, shape: Sequence[int], axis: int) -> Value:
    """Positions among the elements of a tensor of ``shape`` for a ``gather``-like index, flat."""
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    grid = np.zeros(index.shape, np.int64)
    for i, n in enumerate(index.shape):
        if i != axis:
            grid += (np.arange(n) * strides[i]).reshape([-1 if j == i else 1 for j in range(index.rank)])
    along = non_negative(g, index, shape[axis])
    return g.flat(g.add(g.mul(along, strides[axis]), g.constant(grid, "int32")))


@lowers("aten.gather.default")
def _gather(g: LoweringContext, x: Value, axis: int, index: Value, **kwargs: object) -> Value:
    if x.rank == 0:
        return g.expand(x, g.shape)
    if index.rank == 0:
        index = g.reshape(index, (1,))
    return g.reshape(along(g, x, axis % x.rank, index), g.shape)


def along(g: LoweringContext, x: Value, axis: int, index: Value) -> Value:
    """``torch.gather`` for an axis that is not negative."""
    return g.reshape(g.gather(g.flat(x), _places_along(g, index, x.shape, axis), 0), index.shape)


Update = tuple[Value, Value, Value]


def _scattered(g: LoweringContext, x: Value, axis: int, index: Value, source: Value | Number) -> Update:
    """Operand, indices and updates of a scatter, flattened."""
    lifted = [g.reshape(v, (1,)) if v.rank == 0 else v for v in (x, index)]
    x, index = lifted
    if isinstance(source, Value):
        source = g.reshape(source, (1,)) if source.rank == 0 else source
        updates = g.slice(source, [0] * source.rank, index.shape)
    else:
        updates = g.constant(np.full(index.shape, source), x.dtype)
    return g.flat(x), _places_along(g, index, x.shape, axis % x.rank), g.flat(updates)


@lowers("aten.scatter.src", "aten.scatter.value")
def _scatter(g: LoweringContext, x: Value, axis: int, index: Value, source: Value | Number) -> Value:
    if 0 in index.shape:
        return x
    return g.reshape(_replaced(g, *_scattered(g, x, axis, index, source)), g.shape)


@lowers("aten.scatter_add.default")
def _scatter_add(g: LoweringContext, x: Value, axis: int, index: Value, source: Value) -> Value:
    if 0 in index.shape:
        return x
    return g.reshape(_added(g, *_scattered(g, x, axis, index, source)), g.shape)


_SEGMENTS = {"prod": ("PROD", "MUL"), "amax": ("MAX", "MAXIMUM"), "amin": ("MIN", "MINIMUM")}


@lowers("aten.scatter_reduce.two")
def _scatter_reduce(
    g: LoweringContext,
    x: Value,
    axis: int,
    index: Value,
    source: Value,
    reduce: str,
    *,
    include_self: bool = True,
) -> Value:
    if 0 in index.shape:
        return x
    if x.dtype == "bool":
        whole = [g.cast(v, "int32") for v in (x, source)]
        return g.cast(_scatter_reduce(g, whole[0], axis, index, whole[1], reduce, include_self=include_self), "bool")
    flat, places, updates = _scattered(g, x, axis, index, source)
    zero = g.constant(np.zeros(flat.shape), flat.dtype)
    count = _added(g, zero, places, g.constant(np.ones(updates.shape), flat.dtype))
    touched = g.compare("GREATER", count, 0)
    if reduce in ("sum", "mean"):
        start = flat if include_self else g.where(touched, 0, flat)
        result = _added(g, start, places, updates)
        if reduce == "mean":
            parts = g.add(count, 1) if include_self else g.binary("MAXIMUM", count, g.constant(1, count.dtype))
            result = _mean(g, result, parts)
    else:
        kind, combine = _SEGMENTS[reduce]
        segments = g.constant(flat.shape[0], "int32")
        gathered = g.op(f"UNSORTED_SEGMENT_{kind}", [updates, places, segments], flat.shape)
        result = g.where(touched, g.binary(combine, flat, gathered) if include_self else gathered, flat)
    return g.reshape(result, g.shape)


def _mean(g: LoweringContext, total: Value, parts: Value) -> Value:
    return g.div(total, parts) if total.dtype.startswith("float") else floor_quotient(g, total, parts)


@lowers("aten.index_reduce.default")
def _index_reduce(
    g: LoweringContext,
    x: Value,
    axis: int,
    index: Value,
    source: Value,
    reduce: str,
    *,
    include_self: bool = True,
) -> Value:
    """``index [n]`` says where along ``axis`` each slice of ``source`` goes."""
    along_axis = [-1 if i == axis % max(x.rank, 1) else 1 for i in range(x.rank)]
    spread = g.expand(g.reshape(index, [index.elements if n < 0 else n for n in along_axis]), source.shape)
    return _scatter_reduce(g, x, axis, spread, source, reduce, include_self=include_self)


@lowers("aten.take.default")
def _take(g: LoweringContext, x: Value, index: Value) -> Value:
    return g.gather(g.flat(x), non_negative(g, index, x.elements), 0)


@lowers("aten.put.default")
def _put(g: LoweringContext, x: Value, index: Value, source: Value, accumulate: bool = False) -> Value:
    """Positions count through the whole tensor, as those of ``take``."""
    if 0 in index.shape:
        return x
    flat, places = g.flat(x), non_negative(g, g.flat(index), x.elements)
    change = _added if accumulate else _replaced
    return g.reshape(change(g, flat, places, g.flat(source)), g.shape)


@lowers("aten.masked_scatter.default")
def _masked_scatter(g: LoweringContext, x: Value, mask: Value, source: Value) -> Value:
    """The k-th place that the mask marks takes the k-th element of ``source``."""
    shape = np.broadcast_shapes(x.shape, mask.shape)
    x, mask = g.flat(g.expand(x, shape)), g.flat(g.expand(mask, shape))
    marked = g.op("CUMSUM", [g.cast(mask, "int32"), g.constant(0, "int32")], mask.shape, exclusive=True, reverse=False)
    last = math.prod(source.shape) - 1
    found = g.gather(g.flat(source), g.binary("MINIMUM", marked, g.constant(last, "int32")), 0)
    return g.reshape(g.where(mask, found, x), shape)
