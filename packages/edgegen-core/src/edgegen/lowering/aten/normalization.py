"""Normalizations, in the mode that inference has: nothing is learnt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


@lowers("aten.rms_norm.default")
def _rms_norm(
    g: LoweringContext, x: Value, shape: Sequence[int], weight: Value | None = None, eps: float | None = None
) -> Value:
    axes = range(x.rank - len(shape), x.rank)
    eps = float(torch.finfo(getattr(torch, x.dtype)).eps) if eps is None else eps
    x, weight = g.cast(x, "float32"), _wide(g, weight)
    mean_square = g.reduce("MEAN", g.binary("MUL", x, x), axes, keep=True)
    inverse = g.unary("RSQRT", g.binary("ADD", mean_square, g.constant(eps, "float32")))
    normalized = g.binary("MUL", x, inverse)
    return g.cast(normalized if weight is None else g.binary("MUL", normalized, weight), g.dtype)


@lowers("aten.layer_norm.default")
def _layer_norm(
    g: LoweringContext,
    x: Value,
    shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    *args: object,
) -> Value:
    return _native_layer_norm(g, x, shape, weight, bias, eps)[0]


@lowers("aten.native_layer_norm.default")
def _native_layer_norm(
    g: LoweringContext, x: Value, shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value, Value, Value]:
    """The result, the means, and one over the standard deviations."""
    axes = range(x.rank - len(shape), x.rank)
    result, mean, inverse = _standardized(g, x, axes, eps)
    return _scaled(g, result, weight, bias), _as(g, mean), _as(g, inverse)


def _wide(g: LoweringContext, x: Value | None) -> Value | None:
    return x if x is None else g.cast(x, "float32")


def _as(g: LoweringContext, x: Value) -> Value:
    return g.cast(x, g.dtype)


Standardized = tuple[Value, Value, Value]


def _standardized(g: LoweringContext, x: Value, axes: Sequence[int], eps: float) -> Standardized:
    """``(x - mean) / sqrt(variance + eps)``, the mean, and the inverse of that root; over ``axes``, kept as 1."""
    x = g.cast(x, "float32")
    mean = g.reduce("MEAN", x, axes, keep=True)
    centred = g.binary("SUB", x, mean)
    variance = g.reduce("MEAN", g.binary("MUL", centred, centred), axes, keep=True)
    inverse = g.unary("RSQRT", g.binary("ADD", variance, g.constant(eps, x.dtype)))
    return g.binary("MUL", centred, inverse), mean, inverse


def _scaled(g: LoweringContext, x: Value, weight: Value | None, bias: Value | None) -> Value:
    """The result in float32, rounded to the result's dtype once."""
    weight, bias = _wide(g, weight), _wide(g, bias)
    if weight is not None:
        x = g.binary("MUL", x, weight)
    return g.cast(x if bias is None else g.binary("ADD", x, bias), g.dtype)


def _per_channel(g: LoweringContext, x: Value, rank: int) -> Value:
    """``[C]`` as it broadcasts against ``[N, C, ...]``."""
    return g.reshape(x, (1, x.shape[0], *(1,) * (rank - 2)))


@lowers("aten.native_group_norm.default")
def _group_norm(
    g: LoweringContext,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    n: int,
    channels: int,
    pixels: int,
    groups: int,
    eps: float,
) -> Standardized:
    grouped = g.reshape(x, (n, groups, channels // groups * pixels))
    result, mean, inverse = _standardized(g, grouped, [2], eps)
    weight, bias = (v if v is None else _per_channel(g, v, x.rank) for v in (weight, bias))
    scaled = _scaled(g, g.reshape(result, x.shape), weight, bias)
    return scaled, _as(g, g.reshape(mean, (n, groups))), _as(g, g.reshape(inverse, (n, groups)))


@lowers("aten._native_batch_norm_legit_no_training.default")
def _batch_norm(
    g: LoweringContext,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    mean: Value,
    variance: Value,
    momentum: float,
    eps: float,
) -> tuple[Value, Value | None, Value | None]:
    """One factor and one summand for each channel."""
    x, mean, variance = (g.cast(v, "float32") for v in (x, mean, variance))
    factor = g.unary("RSQRT", g.add(variance, eps))
    factor = factor if weight is None else g.mul(factor, g.cast(weight, "float32"))
    shift = g.mul(mean, factor)
    shift = g.unary("NEG", shift) if bias is None else g.sub(g.cast(bias, "float32"), shift)
    result = g.add(g.mul(x, _per_channel(g, factor, x.rank)), _per_channel(g, shift, x.rank))
    return _as(g, result), *_nothing(g)


def _nothing(g: LoweringContext) -> tuple[Value, Value]:
    """Saved mean and variance, which only training uses: empty."""
    empty = g.constant(np.zeros(0, np.float32))
    return empty, empty


@lowers("aten._native_batch_norm_legit.no_stats")
def _instance_norm(
    g: LoweringContext,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Standardized:
    """By the statistics of what is given, which is what instance normalization comes down to."""
    axes = [axis for axis in range(x.rank) if axis != 1]
    result, mean, inverse = _standardized(g, x, axes, eps)
    weight, bias = (v if v is None else _per_channel(g, v, x.rank) for v in (weight, bias))
    return _scaled(g, result, weight, bias), _as(g, g.flat(mean)), _as(g, g.flat(inverse))
