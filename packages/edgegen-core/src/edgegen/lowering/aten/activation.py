"""Activation functions.

RELU, clamp and what is made of them pass NaN on as the kernel at hand does: a check would cost more than the function.
"""

from __future__ import annotations

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext, Number
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


@lowers("aten.relu.default")
def _relu(g: LoweringContext, x: Value) -> Value:
    if x.dtype in ("float32", "float16"):
        return g.unary("RELU", x)
    return g.binary("MAXIMUM", x, g.constant(0, x.dtype))


@lowers("aten.silu.default")
def _silu(g: LoweringContext, x: Value) -> Value:
    return g.binary("MUL", x, g.unary("LOGISTIC", x))


@lowers("aten.gelu.default")
def _gelu(g: LoweringContext, x: Value, *, approximate: str = "none") -> Value:
    return g.unary("GELU", x, approximate=approximate == "tanh")


@lowers("aten.elu.default")
def _elu(g: LoweringContext, x: Value, alpha: Number = 1, scale: Number = 1, input_scale: Number = 1) -> Value:
    if (alpha, scale, input_scale) == (1, 1, 1):
        return g.unary("ELU", x)
    below = g.mul(g.unary("ELU", g.binary("MINIMUM", g.mul(x, input_scale), g.constant(0, x.dtype))), alpha * scale)
    return g.where(g.compare("GREATER", x, 0), g.mul(x, scale), below)


@lowers("aten.leaky_relu.default")
def _leaky_relu(g: LoweringContext, x: Value, slope: Number = 0.01) -> Value:
    return g.unary("LEAKY_RELU", x, alpha=float(slope))


@lowers("aten.hardtanh.default")
def _hardtanh(g: LoweringContext, x: Value, low: Number = -1, high: Number = 1) -> Value:
    return g.binary("MINIMUM", g.binary("MAXIMUM", x, g.constant(low, x.dtype)), g.constant(high, x.dtype))


@lowers("aten.softmax.int", "aten._softmax.default")
def _softmax(g: LoweringContext, x: Value, axis: int, *args: object) -> Value:
    """LiteRT's SOFTMAX takes the last axis."""
    x = g.operand(x)
    if x.rank == 0:
        return g.reshape(g.unary("SOFTMAX", g.flat(x), beta=1.0), ())
    axis %= x.rank
    return g.from_last(g.unary("SOFTMAX", g.last(x, axis), beta=1.0), axis)


@lowers("aten._log_softmax.default")
def _log_softmax(g: LoweringContext, x: Value, axis: int, *args: object) -> Value:
    x = g.cast(g.operand(x), "float32")
    axes = [axis % x.rank] if x.rank else []
    centred = g.sub(x, g.reduce("REDUCE_MAX", x, axes, keep=True))
    total = g.reduce("SUM", g.unary("EXP", centred), axes, keep=True)
    return g.cast(g.sub(centred, g.unary("LOG", total)), g.dtype)
