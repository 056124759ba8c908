"""Other shapes for the same elements, joined and repeated ones included.

XNNPACK takes none of EXPAND_DIMS, SQUEEZE, PACK and UNPACK, so rules say RESHAPE and CONCATENATION instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


@lowers(
    "aten.view.default",
    "aten.reshape.default",
    "aten._unsafe_view.default",
    "aten.unsqueeze.default",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.squeeze.default",
    "aten.flatten.using_ints",
    "aten.unflatten.int",
)
def _reshape(g: LoweringContext, x: Value, *args: Any, **kwargs: Any) -> Value:
    return g.reshape(x, g.shape)


@lowers("aten.permute.default")
def _permute(g: LoweringContext, x: Value, order: Sequence[int]) -> Value:
    return g.transpose(x, [axis % x.rank for axis in order])


@lowers("aten.transpose.int")
def _transpose(g: LoweringContext, x: Value, a: int, b: int) -> Value:
    if x.rank == 0:
        return x
    order = list(range(x.rank))
    order[a], order[b] = order[b], order[a]
    return g.transpose(x, order)


@lowers("aten.t.default")
def _t(g: LoweringContext, x: Value) -> Value:
    return g.transpose(x, range(x.rank)[::-1])


@lowers("aten.expand.default")
def _expand(g: LoweringContext, x: Value, *args: Any, **kwargs: Any) -> Value:
    return g.expand(x, g.shape)


@lowers("aten.repeat.default")
def _repeat(g: LoweringContext, x: Value, repeats: Sequence[int]) -> Value:
    if not repeats:
        return x
    aligned = g.reshape(x, (1,) * (len(repeats) - x.rank) + x.shape)
    return g.op("TILE", [aligned, g.constant(list(repeats), "int32")], g.shape)


@lowers("aten.cat.default")
def _cat(g: LoweringContext, parts: Sequence[Value], axis: int = 0) -> Value:
    filled = [g.operand(part) for part in parts if 0 not in part.shape]
    return g.concat(filled, axis % len(g.shape))


@lowers("aten.stack.default")
def _stack(g: LoweringContext, parts: Sequence[Value], axis: int = 0) -> Value:
    axis %= len(g.shape)
    one = (*g.shape[:axis], 1, *g.shape[axis + 1 :])
    return g.concat([g.reshape(g.operand(part), one) for part in parts], axis)


@lowers("aten.flip.default")
def _flip(g: LoweringContext, x: Value, axes: Sequence[int]) -> Value:
    return g.reverse(x, [axis % x.rank for axis in axes]) if x.rank else x
