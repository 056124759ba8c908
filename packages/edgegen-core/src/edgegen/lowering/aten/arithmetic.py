"""Arithmetic on tensors and numbers, whole ones included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgegen.graph import Value
from edgegen.lowering.aten.integers import exact_quotient, floor_quotient
from edgegen.lowering.context import LoweringContext, Number
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


def _binary(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, a: Value | Number, b: Value | Number, alpha: Number = 1) -> Value:
        right = g.operand(b)
        if alpha != 1:
            right = g.binary("MUL", right, g.constant(alpha, right.dtype))
        return g.binary(kind, g.operand(a), right)

    return rule


for _name, _kind in {"add": "ADD", "sub": "SUB", "mul": "MUL", "div": "DIV"}.items():
    lowers(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar")(_binary(_kind))


@lowers("aten.rsub.Scalar", "aten.rsub.Tensor")
def _rsub(g: LoweringContext, a: Value, b: Value | Number, alpha: Number = 1) -> Value:
    scaled = g.binary("MUL", g.operand(a), g.constant(alpha, g.dtype)) if alpha != 1 else g.operand(a)
    return g.binary("SUB", g.operand(b), scaled)


# -- extremes -----------------------------------------------------------------------------------------------------


def extreme(g: LoweringContext, kind: str, a: Value, b: Value) -> Value:
    """``MAXIMUM`` or ``MINIMUM`` that is NaN where either operand is; the kernel alone says so of one side only."""
    result = g.binary(kind, a, b)
    for x in (a, b):
        if x.dtype in ("float32", "float16") and not _free_of_nan(x):
            result = g.where(g.is_nan(x), x, result)
    return result


def _free_of_nan(x: Value) -> bool:
    return x.constant is not None and not np.isnan(x.constant).any()


@lowers("aten.maximum.default")
def _maximum(g: LoweringContext, a: Value, b: Value) -> Value:
    return extreme(g, "MAXIMUM", g.operand(a), g.operand(b))


@lowers("aten.minimum.default")
def _minimum(g: LoweringContext, a: Value, b: Value) -> Value:
    return extreme(g, "MINIMUM", g.operand(a), g.operand(b))


@lowers("aten.clamp.default")
def _clamp(g: LoweringContext, x: Value, low: Number | None = None, high: Number | None = None) -> Value:
    x = g.operand(x)
    if low is not None:
        x = g.binary("MAXIMUM", x, g.constant(low, g.dtype))
    return x if high is None else g.binary("MINIMUM", x, g.constant(high, g.dtype))


@lowers("aten.clamp.Tensor")
def _clamp_tensor(g: LoweringContext, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    x = g.operand(x)
    if low is not None:
        x = extreme(g, "MAXIMUM", x, g.operand(low))
    return x if high is None else extreme(g, "MINIMUM", x, g.operand(high))


def _either_number(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, a: Value, b: Value) -> Value:
        """The other one where one is NaN."""
        a, b = g.operand(a), g.operand(b)
        result = g.binary(kind, a, b)
        if not g.dtype.startswith("float"):
            return result
        return g.where(g.is_nan(a), b, g.where(g.is_nan(b), a, result))

    return rule


lowers("aten.fmax.default")(_either_number("MAXIMUM"))
lowers("aten.fmin.default")(_either_number("MINIMUM"))


# -- division and what it leaves ------------------------------------------------------------------------------------


@lowers("aten.div.Tensor_mode", "aten.div.Scalar_mode", "aten.floor_divide.default", "aten.floor_divide.Scalar")
def _div_mode(g: LoweringContext, a: Value | Number, b: Value | Number, rounding_mode: str | None = "floor") -> Value:
    a, b = g.operand(a), g.operand(b)
    if rounding_mode is None:
        return g.div(a, b)
    if rounding_mode == "trunc":
        return truncated(g, g.div(a, b)) if a.dtype.startswith("float") else _truncating(g, a, b)
    return _floored(g, a, b) if a.dtype.startswith("float") else floor_quotient(g, a, b)


def _floored(g: LoweringContext, a: Value, b: Value) -> Value:
    """As PyTorch does it: what is left is taken away first, so that 0.6 // 0.2 does not depend on how 0.6 / 0.2 rounds.

    Source: ``div_floor_floating`` in ``c10/util/generic_math.h``.
    """
    dtype = a.dtype
    a, b = g.cast(a, "float32"), g.cast(b, "float32")
    whole = g.unary("ROUND", g.div(g.sub(a, g.binary("FLOOR_MOD", a, b)), b))
    return g.cast(g.where(g.compare("EQUAL", b, 0), g.div(a, b), whole), dtype)


def _truncating(g: LoweringContext, a: Value, b: Value) -> Value:
    if a.dtype != "int64":
        return g.div(a, b)
    return exact_quotient(g, g.sub(a, remainder_of_sign(g, a, b)), b)


def remainder_of_sign(g: LoweringContext, a: Value, b: Value) -> Value:
    """Remainder of truncating division, with the sign of ``a``."""
    left = g.binary("FLOOR_MOD", a, b)
    crossed = g.binary("NOT_EQUAL", g.compare("LESS", a, 0), g.compare("LESS", b, 0), "bool")
    return g.where(g.both(crossed, g.compare("NOT_EQUAL", left, 0)), g.sub(left, b), left)


@lowers("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.remainder.Scalar_Tensor")
def _remainder(g: LoweringContext, a: Value | Number, b: Value | Number) -> Value:
    return g.binary("FLOOR_MOD", g.operand(a), g.operand(b))


@lowers("aten.fmod.Tensor", "aten.fmod.Scalar")
def _fmod(g: LoweringContext, a: Value, b: Value | Number) -> Value:
    a, b = g.operand(a), g.operand(b)
    if not a.dtype.startswith("float"):
        return remainder_of_sign(g, a, b)
    left = g.binary("FLOOR_MOD", g.unary("ABS", a), g.unary("ABS", b))
    return g.where(g.compare("LESS", a, 0), g.unary("NEG", left), left)


# -- powers ---------------------------------------------------------------------------------------------------------


@lowers("aten.pow.Tensor_Scalar")
def _pow(g: LoweringContext, x: Value, exponent: Number) -> Value:
    x = g.operand(x)
    if exponent == 2:
        return g.binary("MUL", x, x)
    if exponent == 0.5:
        return g.unary("SQRT", x)
    if exponent == -0.5:
        return g.div(g.constant(1.0, x.dtype), g.unary("SQRT", x))
    if x.dtype.startswith("float"):
        return g.binary("POW", x, g.constant(exponent, g.dtype))
    return _whole_power(g, x, int(exponent))


def _whole_power(g: LoweringContext, x: Value, exponent: int) -> Value:
    """By squaring: wraps as PyTorch's does, on every whole dtype."""
    result = g.broadcast(g.constant(np.ones((1,) * x.rank), x.dtype), x.shape)
    while exponent:
        if exponent % 2:
            result = g.mul(result, x)
        exponent //= 2
        x = g.mul(x, x) if exponent else x
    return result


@lowers("aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def _pow_tensor(g: LoweringContext, x: Value | Number, exponent: Value) -> Value:
    x, exponent = g.operand(x), g.operand(exponent)
    if x.dtype != "int64":
        return g.binary("POW", x, exponent)
    # Exponents of 64 and more leave only the lowest bit of the base, which odd and even ones from 63 on have too.
    parity = g.binary("FLOOR_MOD", exponent, g.constant(2, "int64"))
    small = g.binary("MINIMUM", exponent, g.add(parity, 64))
    result: Value = g.constant(np.ones((), np.int64))
    for _ in range(7):
        bit = g.binary("FLOOR_MOD", small, g.constant(2, "int64"))
        result = g.mul(result, g.where(g.compare("EQUAL", bit, 1), x, 1))
        small, x = floor_quotient(g, small, g.constant(2, "int64")), g.mul(x, x)
    return result


# -- one operand ----------------------------------------------------------------------------------------------------


@lowers("aten.neg.default")
def _neg(g: LoweringContext, x: Value) -> Value:
    return g.unary("NEG", g.operand(x))


@lowers("aten.abs.default")
def _abs(g: LoweringContext, x: Value) -> Value:
    x = g.operand(x)
    return g.binary("MAXIMUM", x, g.unary("NEG", x)) if x.dtype == "int64" else g.unary("ABS", x)


@lowers("aten.sign.default")
def _sign(g: LoweringContext, x: Value) -> Value:
    """0 for NaN, as PyTorch has it."""
    if x.dtype in ("bool", "uint8"):
        return g.binary("MINIMUM", x, g.constant(1, x.dtype))
    up = g.cast(g.compare("GREATER", x, 0), x.dtype)
    return g.sub(up, g.cast(g.compare("LESS", x, 0), x.dtype))


@lowers("aten.copysign.Tensor", "aten.copysign.Scalar")
def _copysign(g: LoweringContext, x: Value, sign: Value | Number) -> Value:
    size = g.unary("ABS", g.operand(x))
    return g.where(negative(g, g.operand(sign)), g.unary("NEG", size), size)


@lowers("aten.signbit.default")
def _signbit(g: LoweringContext, x: Value) -> Value:
    return negative(g, x)


def negative(g: LoweringContext, x: Value) -> Value:
    """True elements where the sign bit is set, as it is for -0."""
    if x.dtype in ("bool", "uint8"):
        return g.compare("NOT_EQUAL", x, x)
    if x.dtype.startswith("float"):
        x = g.op("BITCAST", [g.cast(x, "float32")], x.shape, "int32")
    return g.compare("LESS", x, 0)


@lowers("aten.reciprocal.default")
def _reciprocal(g: LoweringContext, x: Value) -> Value:
    return g.div(g.constant(1.0, g.dtype), g.operand(x))


def _rounding(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, x: Value) -> Value:
        return g.unary(kind, x) if x.dtype.startswith("float") else x

    return rule


for _name, _kind in {"ceil": "CEIL", "floor": "FLOOR", "round": "ROUND"}.items():
    lowers(f"aten.{_name}.default")(_rounding(_kind))


@lowers("aten.round.decimals")
def _round_decimals(g: LoweringContext, x: Value, *, decimals: int) -> Value:
    if not x.dtype.startswith("float"):
        return x
    wide, power = g.cast(x, "float32"), 10.0 ** abs(decimals)
    scaled = g.unary("ROUND", g.mul(wide, power) if decimals > 0 else g.div(wide, power))
    return g.cast(g.div(scaled, power) if decimals > 0 else g.mul(scaled, power), x.dtype)


@lowers("aten.trunc.default")
def _trunc(g: LoweringContext, x: Value) -> Value:
    return truncated(g, x) if x.dtype.startswith("float") else x


def truncated(g: LoweringContext, x: Value) -> Value:
    """Rounded towards zero."""
    return g.where(g.compare("LESS", x, 0), g.unary("CEIL", x), g.unary("FLOOR", x))
