"""Dynamic shapes, found by comparing the graphs of two sizes.

Lowering rules see numbers only. Where the graphs of two sizes differ, the number depends on the size: an axis of a
tensor becomes dynamic, and an operator's shape argument is rewritten to hold for any size, where LiteRT has a form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from edgegen.graph.builder import GraphBuilder
from edgegen.graph.ir import Array, Graph, Op, Value


class FixedSizeError(ValueError):
    """An operator of the graph holds for one size only; the message says which and where."""


def with_dynamic_shapes(graph: Graph, other: Graph) -> Graph:
    """``graph`` with dynamic axes: those that differ in ``other``, the graph of the same code for another size.

    Raises:
        FixedSizeError: an operator has no form that holds for both sizes.
    """
    if [op.kind for op in graph.ops] != [op.kind for op in other.ops]:
        raise FixedSizeError("the operators themselves depend on the size")
    pairs = dict(zip(graph.inputs.values(), other.inputs.values(), strict=True))
    for op, twin in zip(graph.ops, other.ops, strict=True):
        pairs.update(zip(op.outputs, twin.outputs, strict=True))
    dynamic_values = {value: replace(value, dynamic=_differing(value, twin)) for value, twin in pairs.items()}
    result = Graph(graph.name, {name: dynamic_values[value] for name, value in graph.inputs.items()})
    builder = GraphBuilder(result)
    for op, twin in zip(graph.ops, other.ops, strict=True):
        for rewritten in _FORMS.get(op.kind, _unchanged)(builder, op, twin):
            inputs = tuple(value if value is None else dynamic_values.get(value, value) for value in rewritten.inputs)
            outputs = tuple(dynamic_values.get(value, value) for value in rewritten.outputs)
            result.ops.append(replace(rewritten, inputs=inputs, outputs=outputs))
    result.outputs = {name: dynamic_values.get(value, value) for name, value in graph.outputs.items()}
    result.debug_outputs = {path: dynamic_values.get(value, value) for path, value in graph.debug_outputs.items()}
    return result


def _differing(value: Value, twin: Value) -> frozenset[int]:
    return frozenset(axis for axis, pair in enumerate(zip(value.shape, twin.shape, strict=True)) if pair[0] != pair[1])


def _unchanged(g: GraphBuilder, op: Op, twin: Op) -> list[Op]:
    if repr(op.options) != repr(twin.options):
        raise FixedSizeError(f"{op.kind} has options that depend on the size ({op.origin})")
    for value, other in zip(op.inputs, twin.inputs, strict=True):
        if value is not None and other is not None and not _same(value, other):
            raise FixedSizeError(f"{op.kind} takes a constant that depends on the size ({op.origin})")
    return [op]


def _same(value: Value, other: Value) -> bool:
    if value.constant is None or other.constant is None:
        return value.parameter == other.parameter
    return value.constant.shape == other.constant.shape and bool(np.array_equal(value.constant, other.constant))


def _constant(value: Value | None) -> Array:
    assert value is not None
    assert value.constant is not None
    return value.constant


def _reshape(g: GraphBuilder, op: Op, twin: Op) -> list[Op]:
    """At most one dynamic axis, as -1; more where the reshape only adds or removes axes of length 1."""
    dynamic_axes = _differing(op.output, twin.output)
    if len(dynamic_axes) < 2:
        shape = [-1 if axis in dynamic_axes else n for axis, n in enumerate(op.output.shape)]
        return [replace(op, inputs=(op.inputs[0], g.constant(shape, "int32")), options={"newShape": shape})]
    x = op.inputs[0]
    assert x is not None
    if x.shape == op.output.shape:  # a copy
        axes = list(range(op.output.rank))
        return [Op("TRANSPOSE", (x, g.constant(axes, "int32")), op.outputs, origin=op.origin)]
    added = _ones_added(x.shape, op.output.shape)
    if added is not None:
        return _expanded(g, op, x, added, dynamic_axes)
    removed = _ones_added(op.output.shape, x.shape)
    if removed is None:
        raise FixedSizeError(f"RESHAPE to a shape with {len(dynamic_axes)} dynamic axes ({op.origin})")
    return [Op("SQUEEZE", (x,), op.outputs, {"squeezeDims": removed}, origin=op.origin)]


def _ones_added(shape: tuple[int, ...], longer: tuple[int, ...]) -> list[int] | None:
    """Axes of ``longer`` that have length 1 and are not in ``shape``, if those are the only differences."""
    added, rest = [], list(shape)
    for axis, n in enumerate(longer):
        if rest and rest[0] == n:
            rest.pop(0)
        elif n == 1:
            added.append(axis)
        else:
            return None
    return None if rest else added


def _expanded(g: GraphBuilder, op: Op, x: Value, added: list[int], dynamic_axes: frozenset[int]) -> list[Op]:
    """EXPAND_DIMS operators in place of a RESHAPE, one for each added axis."""
    ops, missing = [], list(added)
    for axis in added:
        missing.remove(axis)
        kept = [each for each in range(op.output.rank) if each not in missing]
        shape = tuple(op.output.shape[each] for each in kept)
        dynamic = frozenset(place for place, each in enumerate(kept) if each in dynamic_axes)
        step = Value(f"{op.output.name}_{axis}", shape, x.dtype, dynamic=dynamic) if missing else op.output
        ops.append(Op("EXPAND_DIMS", (x, g.constant(axis, "int32")), (step,), origin=op.origin))
        x = step
    return ops


def _slice(g: GraphBuilder, op: Op, twin: Op) -> list[Op]:
    """A STRIDED_SLICE that counts from the end of a dynamic axis, where both sizes agree on that."""
    found: dict[str, list[int]] = {"begin": [], "end": []}
    ends = 0
    for axis, bounds in enumerate(zip(*(_bounds(each) for each in (op, twin)), strict=True)):
        (begin, end, n), (other_begin, other_end, other_n) = bounds
        if (end, other_end) == (n, other_n):
            ends |= 1 << axis
        found["begin"].append(_place(op, begin, other_begin, n, other_n))
        found["end"].append(0 if ends >> axis & 1 else _place(op, end, other_end, n, other_n))
    steps = [1] * len(op.output.shape)
    operands = [g.constant(each, "int32") for each in (found["begin"], found["end"], steps)]
    masks: dict[str, Any] = {"beginMask": 0, "endMask": ends, "ellipsisMask": 0, "newAxisMask": 0, "shrinkAxisMask": 0}
    return [Op("STRIDED_SLICE", (op.inputs[0], *operands), op.outputs, masks, origin=op.origin)]


def _bounds(op: Op) -> list[tuple[int, int, int]]:
    """Begin, end and length of each axis."""
    begin, size = _constant(op.inputs[1]), _constant(op.inputs[2])
    assert op.inputs[0] is not None
    return [(int(b), int(b + s), n) for b, s, n in zip(begin, size, op.inputs[0].shape, strict=True)]


def _place(op: Op, place: int, other: int, n: int, other_n: int) -> int:
    """An index that holds for both sizes: counted from the start, or from the end (negative)."""
    if place == other:
        return place
    if place - n == other - other_n:
        return place - n
    raise FixedSizeError(f"SLICE at a place that depends on the size in another way ({op.origin})")


_FORMS: Mapping[str, Any] = {"RESHAPE": _reshape, "SLICE": _slice}
"""Operators with shape arguments -> how they are rewritten to hold for any size."""
