"""Comparisons, choices, and bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgegen.graph import Value
from edgegen.lowering.aten.integers import bit_and, bit_not, bit_or, bit_xor
from edgegen.lowering.context import LoweringContext, Number
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


def _comparison(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, a: Value, b: Value | Number) -> Value:
        dtype = _promoted(a, b)
        return g.binary(kind, g.operand(a, dtype), g.operand(b, dtype), "bool")

    return rule


_COMPARISONS = {
    "eq": "EQUAL",
    "ne": "NOT_EQUAL",
    "lt": "LESS",
    "le": "LESS_EQUAL",
    "gt": "GREATER",
    "ge": "GREATER_EQUAL",
}
for _name, _kind in _COMPARISONS.items():
    lowers(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar")(_comparison(_kind))


def _promoted(a: Value, b: Value | Number) -> str:
    """The dtype to compare in."""
    order = ("bool", "uint8", "int8", "int32", "int64", "float16", "float32")
    if isinstance(b, Value):
        return max(a.dtype, b.dtype, key=order.index)
    if isinstance(b, bool):
        return a.dtype
    if isinstance(b, float):
        return a.dtype if a.dtype.startswith("float") else "float32"
    return max(a.dtype, "int32", key=order.index) if a.dtype in ("bool", "uint8", "int8") else a.dtype


@lowers("aten.isnan.default")
def _isnan(g: LoweringContext, x: Value) -> Value:
    return g.is_nan(x)


@lowers("aten.isinf.default")
def _isinf(g: LoweringContext, x: Value) -> Value:
    if not x.dtype.startswith("float"):
        return g.compare("NOT_EQUAL", x, x)
    return g.compare("EQUAL", g.unary("ABS", x), float("inf"))


def _logical(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, *operands: Value) -> Value:
        truths = [g.cast(x, "bool") for x in operands]
        return g.op(kind, truths, np.broadcast_shapes(*(x.shape for x in truths)), "bool")

    return rule


_LOGICAL = {"and": "LOGICAL_AND", "or": "LOGICAL_OR", "not": "LOGICAL_NOT", "xor": "NOT_EQUAL"}
for _name, _kind in _LOGICAL.items():
    lowers(f"aten.logical_{_name}.default")(_logical(_kind))


def _bitwise(kind: str, on_integers: Callable[[LoweringContext, Value, Value], Value]) -> Callable[..., Value]:
    def rule(g: LoweringContext, a: Value | Number, b: Value | Number) -> Value:
        left, right = g.operand(a), g.operand(b)
        if g.dtype == "bool":
            return g.binary(kind, left, right, "bool")
        shape = np.broadcast_shapes(left.shape, right.shape)
        return on_integers(g, g.expand(left, shape), g.expand(right, shape))

    return rule


for _name, _kind, _function in (
    ("and", "LOGICAL_AND", bit_and),
    ("or", "LOGICAL_OR", bit_or),
    ("xor", "NOT_EQUAL", bit_xor),
):
    lowers(f"aten.bitwise_{_name}.Tensor", f"aten.bitwise_{_name}.Scalar")(_bitwise(_kind, _function))


@lowers("aten.bitwise_not.default")
def _bitwise_not(g: LoweringContext, x: Value) -> Value:
    return g.negate(x) if x.dtype == "bool" else bit_not(g, x)


@lowers("aten.bitwise_left_shift.Tensor", "aten.bitwise_left_shift.Tensor_Scalar")
def _left_shift(g: LoweringContext, x: Value, by: Value | Number) -> Value:
    """As a product, which drops what is shifted out; all bits go where the shift is as wide as the number."""
    x, by = g.operand(x), g.operand(by)
    width = 64 if g.dtype == "int64" else 32
    powers = np.array([1 << n if n < width - 1 else -(1 << n) for n in range(width)])
    inside = g.binary("MAXIMUM", g.binary("MINIMUM", by, g.constant(width - 1, g.dtype)), g.constant(0, g.dtype))
    power = g.gather(g.constant(powers, g.dtype), inside, 0)
    return g.where(g.compare("EQUAL", by, inside), g.mul(x, power), 0)


@lowers("aten.bitwise_right_shift.Tensor", "aten.bitwise_right_shift.Tensor_Scalar")
def _right_shift(g: LoweringContext, x: Value, by: Value | Number) -> Value:
    x, by = g.operand(x), g.operand(by)
    if g.dtype == "int64":
        raise NotImplementedError("on int64; LiteRT's RIGHT_SHIFT takes int32")
    # PyTorch takes a shift that is out of range for the widest one.
    widest = 31 if g.dtype == "int32" else 7
    outside = g.either(g.compare("LESS", by, 0), g.compare("GREATER", by, widest))
    shape = np.broadcast_shapes(x.shape, by.shape)
    return g.binary("RIGHT_SHIFT", g.expand(x, shape), g.expand(g.where(outside, widest, by), shape))


@lowers("aten.where.self", "aten.where.Scalar", "aten.where.ScalarOther", "aten.where.ScalarSelf")
def _where(g: LoweringContext, condition: Value, a: Value | Number, b: Value | Number) -> Value:
    return g.op("SELECT_V2", [g.cast(condition, "bool"), g.operand(a), g.operand(b)], g.shape, g.dtype)


@lowers("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def _masked_fill(g: LoweringContext, x: Value, mask: Value, fill: Value | Number) -> Value:
    return g.op("SELECT_V2", [mask, g.operand(fill), x], g.shape, g.dtype)
