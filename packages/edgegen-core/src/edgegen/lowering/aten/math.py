"""Functions of one number: those that LiteRT has, and others by means of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


_UNARY = {
    "cos": "COS",
    "sigmoid": "LOGISTIC",
    "sin": "SIN",
    "sqrt": "SQRT",
    "tanh": "TANH",
}
"""Operators that are one kernel."""


def _unary(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, x: Value) -> Value:
        return g.unary(kind, g.operand(x))

    return rule


for _name, _kind in _UNARY.items():
    lowers(f"aten.{_name}.default")(_unary(_kind))


def in_float32(name: str) -> Callable[[Callable[[LoweringContext, Value], Value]], Callable[..., Value]]:
    """Register a function of a float32 for ``aten.<name>.default``; other dtypes are converted."""

    def register(function: Callable[[LoweringContext, Value], Value]) -> Callable[..., Value]:
        @lowers(f"aten.{name}.default")
        def rule(g: LoweringContext, x: Value) -> Value:
            return g.cast(function(g, g.cast(x, "float32")), g.dtype)

        return function

    return register


@in_float32("rsqrt")
def _rsqrt(g: LoweringContext, x: Value) -> Value:
    """XNNPACK's RSQRT is not defined at 0 and infinity."""
    return g.div(g.constant(1.0, "float32"), g.unary("SQRT", x))


# -- exponentials and logarithms ------------------------------------------------------------------------------------


@in_float32("log")
def log(g: LoweringContext, x: Value) -> Value:
    """XNNPACK's LOG makes a number of NaN and of infinity."""
    return g.where(g.compare("LESS", x, float("inf")), g.unary("LOG", x), x)


@in_float32("exp")
def _exp(g: LoweringContext, x: Value) -> Value:
    """XNNPACK's EXP makes 0 of NaN; its TANH lets NaN through, and anything else times 0 adds nothing."""
    return g.add(g.unary("EXP", x), g.mul(g.unary("TANH", x), 0.0))


@in_float32("exp2")
def _exp2(g: LoweringContext, x: Value) -> Value:
    return g.binary("POW", g.constant(2.0, "float32"), x)


@lowers("aten.hypot.default")
def _hypot(g: LoweringContext, a: Value, b: Value) -> Value:
    """The longer side is taken out of the root, so that squares do not overflow."""
    a, b = (g.unary("ABS", g.cast(x, "float32")) for x in (a, b))
    longer, shorter = g.binary("MAXIMUM", a, b), g.binary("MINIMUM", a, b)
    ratio = g.div(shorter, longer)
    value = g.mul(longer, g.unary("SQRT", g.add(g.mul(ratio, ratio), 1.0)))
    plain = g.either(g.compare("EQUAL", longer, 0), g.compare("EQUAL", longer, float("inf")))
    return g.cast(g.where(plain, longer, value), g.dtype)


@in_float32("log2")
def _log2(g: LoweringContext, x: Value) -> Value:
    return g.mul(log(g, x), 1 / math.log(2))


@in_float32("log10")
def _log10(g: LoweringContext, x: Value) -> Value:
    return g.mul(log(g, x), 1 / math.log(10))


@in_float32("expm1")
def expm1(g: LoweringContext, x: Value) -> Value:
    """ELU is ``exp(x) - 1`` below zero, without cancellation; above, ``exp(x) - 1 = -exp(x) * (exp(-x) - 1)``."""
    below = g.unary("ELU", g.unary("NEG", g.unary("ABS", x)))
    return g.where(g.compare("LESS", x, 0), below, g.mul(g.unary("NEG", below), g.unary("EXP", x)))


@in_float32("log1p")
def log1p(g: LoweringContext, x: Value) -> Value:
    """``log(u) * x / (u - 1)`` for ``u = 1 + x``: the rounding of ``u`` cancels out.

    Source: W. Kahan, as told in D. Goldberg, "What every computer scientist should know about floating-point
    arithmetic" (1991), theorem 4.
    """
    u = g.add(x, 1.0)
    logarithm = log(g, u)
    corrected = g.div(g.mul(logarithm, x), g.sub(u, 1.0))
    small = g.where(g.compare("EQUAL", u, 1.0), x, corrected)
    return g.where(g.compare("LESS", g.unary("ABS", x), 1.0), small, logarithm)


# -- trigonometric --------------------------------------------------------------------------------------------------


@lowers("aten.atan2.default")
def _atan2(g: LoweringContext, a: Value, b: Value) -> Value:
    return atan2(g, g.operand(a), g.operand(b))


def atan2(g: LoweringContext, a: Value, b: Value) -> Value:
    """The kernel does not broadcast."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    return g.binary("ATAN2", g.expand(a, shape), g.expand(b, shape))


def _parts(number: float, count: int, bits: int = 11) -> list[float]:
    """Summands of few bits, so that products with small whole numbers are exact in float32."""
    parts = []
    for _ in range(count):
        scale = 2.0 ** (bits - math.frexp(number)[1])
        parts.append(math.floor(number * scale) / scale)
        number -= parts[-1]
    return [*parts[:-1], parts[-1] + number]


_QUARTER_TURN = _parts(math.pi / 2, 3)


@in_float32("angle")
def _angle(g: LoweringContext, x: Value) -> Value:
    """angle of real numbers: pi for negative ones, else 0."""
    return g.where(g.is_nan(x), x, g.where(g.compare("LESS", x, 0), math.pi, 0.0))


@in_float32("tan")
def _tan(g: LoweringContext, x: Value) -> Value:
    """tan after reduction by quarter turns: near a pole the cosine of ``x`` itself would be mostly error."""
    quarters = g.unary("ROUND", g.mul(x, 2 / math.pi))
    for part in _QUARTER_TURN:
        x = g.sub(x, g.mul(quarters, part))
    sine, cosine = g.unary("SIN", x), g.unary("COS", x)
    odd = g.compare("NOT_EQUAL", g.binary("FLOOR_MOD", quarters, g.constant(2.0, "float32")), 0)
    return g.where(odd, g.unary("NEG", g.div(cosine, sine)), g.div(sine, cosine))


@in_float32("atan")
def _atan(g: LoweringContext, x: Value) -> Value:
    return atan2(g, x, g.constant(1.0, "float32"))


def _leg(g: LoweringContext, x: Value) -> Value:
    """``sqrt(1 - x * x)``, NaN outside of [-1, 1]."""
    one = g.constant(1.0, "float32")
    return g.unary("SQRT", g.mul(g.sub(one, x), g.add(x, 1.0)))


@in_float32("asin")
def _asin(g: LoweringContext, x: Value) -> Value:
    return g.binary("ATAN2", x, _leg(g, x))


@in_float32("acos")
def _acos(g: LoweringContext, x: Value) -> Value:
    return g.binary("ATAN2", _leg(g, x), x)


# -- hyperbolic -----------------------------------------------------------------------------------------------------


def _with_sign_of(g: LoweringContext, x: Value, magnitude: Value) -> Value:
    return g.where(g.compare("LESS", x, 0), g.unary("NEG", magnitude), magnitude)


def _half_exponentials(g: LoweringContext, x: Value) -> tuple[Value, Value]:
    """``exp(x) / 2`` and ``exp(-x) / 2``, by way of ``exp(x / 2)``, which does not overflow before they do."""
    root = g.unary("EXP", g.mul(x, 0.5))
    return g.mul(g.mul(root, 0.5), root), g.div(g.div(g.constant(0.5, "float32"), root), root)


@in_float32("cosh")
def _cosh(g: LoweringContext, x: Value) -> Value:
    return g.binary("ADD", *_half_exponentials(g, g.unary("ABS", x)))


@in_float32("sinh")
def _sinh(g: LoweringContext, x: Value) -> Value:
    size = g.unary("ABS", x)
    e = expm1(g, size)
    small = g.mul(g.add(e, g.div(e, g.add(e, 1.0))), 0.5)
    large = g.binary("SUB", *_half_exponentials(g, size))
    return _with_sign_of(g, x, g.where(g.compare("LESS", size, 1.0), small, large))


_LARGE = 1e9
"""From here on ``x * x + 1`` is ``x * x`` in float32; it would overflow later on."""


@in_float32("asinh")
def _asinh(g: LoweringContext, x: Value) -> Value:
    size = g.unary("ABS", x)
    square = g.mul(size, size)
    root = g.unary("SQRT", g.add(square, 1.0))
    small = log1p(g, g.add(size, g.div(square, g.add(root, 1.0))))
    large = g.add(log(g, size), math.log(2))
    return _with_sign_of(g, x, g.where(g.compare("LESS", size, _LARGE), small, large))


@in_float32("acosh")
def _acosh(g: LoweringContext, x: Value) -> Value:
    above = g.sub(x, 1.0)
    root = g.unary("SQRT", g.mul(above, g.add(above, 2.0)))
    large = g.add(log(g, x), math.log(2))
    return g.where(g.compare("LESS", x, _LARGE), log1p(g, g.add(above, root)), large)


@in_float32("atanh")
def _atanh(g: LoweringContext, x: Value) -> Value:
    size = g.unary("ABS", x)
    ratio = g.div(g.mul(size, 2.0), g.sub(g.constant(1.0, "float32"), size))
    return _with_sign_of(g, x, g.mul(log1p(g, ratio), 0.5))


# -- the error function ---------------------------------------------------------------------------------------------


@in_float32("erf")
def erf(g: LoweringContext, x: Value) -> Value:
    """Its power series near zero; elsewhere from LiteRT's GELU, ``z * (1 + erf(z / sqrt(2))) / 2``."""
    terms = [(-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(7)]
    square = g.mul(x, x)
    near = g.mul(g.mul(x, _polynomial(g, square, terms[::-1])), 2 / math.sqrt(math.pi))
    # Beyond 6 float32 knows no difference from 1. Neither bound is NaN, so that NaN has to be let through.
    z = g.binary("MINIMUM", g.binary("MAXIMUM", x, g.constant(-6.0, "float32")), g.constant(6.0, "float32"))
    z = g.mul(z, math.sqrt(2))
    far = g.sub(g.div(g.mul(g.unary("GELU", z, approximate=False), 2.0), z), 1.0)
    value = g.where(g.compare("LESS", g.unary("ABS", x), 0.6), near, far)
    return g.where(g.is_nan(x), x, value)


@in_float32("erfc")
def _erfc(g: LoweringContext, x: Value) -> Value:
    """Exact to float32's precision at 1: what is far smaller than that is lost."""
    return g.sub(g.constant(1.0, "float32"), erf(g, x))


_CENTRAL = """
    2.81022636e-08 3.43273939e-07 -3.5233877e-06 -4.39150654e-06 0.00021858087 -0.00125372503 -0.00417768164 0.246640727
    1.50140941
"""
_TAIL = """
    -0.000200214257 0.000100950558 0.00134934322 -0.00367342844 0.00573950773 -0.0076224613 0.00943887047 1.00167406
    2.83297682
"""


@in_float32("erfinv")
def _erfinv(g: LoweringContext, x: Value) -> Value:
    """Polynomials in ``w = -log(1 - x * x)``. Source: M. Giles, "Approximating the erfinv function" (2010)."""
    one = g.constant(1.0, "float32")
    w = g.unary("NEG", log(g, g.mul(g.sub(one, x), g.add(x, 1.0))))
    tail = g.sub(g.unary("SQRT", g.binary("MAXIMUM", w, g.constant(5.0, "float32"))), 3.0)
    near = g.compare("LESS", w, 5.0)
    central, far = ([float(number) for number in text.split()] for text in (_CENTRAL, _TAIL))
    value = g.mul(g.where(near, _polynomial(g, g.sub(w, 2.5), central), _polynomial(g, tail, far)), x)
    edge = g.compare("EQUAL", g.unary("ABS", x), 1.0)
    return g.where(edge, g.mul(x, float("inf")), value)


def _polynomial(g: LoweringContext, x: Value, coefficients: Sequence[float]) -> Value:
    """Highest power first."""
    result: Value = g.constant(coefficients[0], "float32")
    for coefficient in coefficients[1:]:
        result = g.add(g.mul(x, result), coefficient)
    return result
