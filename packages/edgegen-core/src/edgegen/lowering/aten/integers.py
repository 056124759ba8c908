"""Whole-number arithmetic that LiteRT has no kernel for, exact nonetheless."""

from __future__ import annotations

from collections.abc import Callable

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext

_PASSES = 3
"""Each finds 22 more bits of a quotient of 63."""


def floor_quotient(g: LoweringContext, a: Value, b: Value) -> Value:
    """``floor(a / b)`` of whole numbers; there is a kernel for 32 bits."""
    if a.dtype != "int64":
        return g.binary("FLOOR_DIV", a, b)
    return exact_quotient(g, g.sub(a, g.binary("FLOOR_MOD", a, b)), b)


def exact_quotient(g: LoweringContext, a: Value, b: Value) -> Value:
    """``a / b`` of int64 where nothing is left over, below ``2 ** 62``: float32 estimates, corrected exactly."""
    divisor = g.cast(b, "float32")
    quotient: Value | None = None
    for _ in range(_PASSES):
        estimate = g.cast(g.unary("ROUND", g.div(g.cast(a, "float32"), divisor)), "int64")
        quotient = estimate if quotient is None else g.add(quotient, estimate)
        a = g.sub(a, g.mul(estimate, b))
    assert quotient is not None
    return quotient


def bit_and(g: LoweringContext, a: Value, b: Value) -> Value:
    """Bitwise and. ``x + y = (x ^ y) + 2 * (x & y)``, on halves of 16 bits, where nothing overflows."""
    if a.dtype == "int64":
        return _on_halves(g, bit_and, a, b)
    if a.dtype != "int32":
        return g.cast(bit_and(g, g.cast(a, "int32"), g.cast(b, "int32")), a.dtype)
    sixteen = g.constant(16, "int32")
    high = [g.binary("RIGHT_SHIFT", x, sixteen) for x in (a, b)]
    low = [g.sub(x, g.mul(h, 1 << 16)) for x, h in zip((a, b), high, strict=True)]
    return g.add(g.mul(_common_bits(g, *high), 1 << 16), _common_bits(g, *low))


def _common_bits(g: LoweringContext, a: Value, b: Value) -> Value:
    return g.binary("RIGHT_SHIFT", g.sub(g.add(a, b), g.binary("BITWISE_XOR", a, b)), g.constant(1, "int32"))


def bit_xor(g: LoweringContext, a: Value, b: Value) -> Value:
    """Bitwise exclusive or."""
    return _on_halves(g, bit_xor, a, b) if a.dtype == "int64" else g.binary("BITWISE_XOR", a, b)


def bit_or(g: LoweringContext, a: Value, b: Value) -> Value:
    """Bitwise or: what is in one, or in both."""
    return bit_xor(g, bit_xor(g, a, b), bit_and(g, a, b))


def bit_not(g: LoweringContext, a: Value) -> Value:
    """All bits the other way round."""
    return g.sub(g.constant(-1 if a.dtype != "uint8" else 255, a.dtype), a)


def _on_halves(
    g: LoweringContext, function: Callable[[LoweringContext, Value, Value], Value], a: Value, b: Value
) -> Value:
    """64 bits as two times 32."""
    a, b = (g.op("BITCAST", [x], (*x.shape, 2), "int32") for x in (a, b))
    result = function(g, a, b)
    return g.op("BITCAST", [result], result.shape[:-1], "int64")


def ordered(g: LoweringContext, x: Value) -> Value:
    """Whole numbers that sort as PyTorch sorts ``x``: NaN comes last, -0 equals 0.

    A positive float32's bits grow with it; those of a negative one are turned round.
    """
    if x.dtype in ("int32", "int64"):
        return x
    if not x.dtype.startswith("float"):
        return g.cast(x, "int32")
    x = g.cast(x, "float32")
    largest = g.constant(2**31 - 1, "int32")
    bits = g.op("BITCAST", [g.where(g.compare("EQUAL", x, 0), 0.0, x)], x.shape, "int32")
    keys = g.where(g.compare("LESS", bits, 0), g.binary("BITWISE_XOR", bits, largest), bits)
    return g.where(g.is_nan(x), largest, keys)


def descending(g: LoweringContext, keys: Value) -> Value:
    """Keys in the opposite order; unlike a change of sign it cannot overflow."""
    return g.sub(g.constant(-1, keys.dtype), keys)
