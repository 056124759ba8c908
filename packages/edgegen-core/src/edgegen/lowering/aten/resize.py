"""Interpolation. Where LiteRT's resizing does not mean the same, rows of weights say what each output is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers

Floats = npt.NDArray[Any]


def _scales(x: Value, out: Sequence[int], factors: Sequence[float] | None) -> list[float]:
    """Input pixels for each output pixel, per axis."""
    sizes = x.shape[-len(out) :]
    if factors is None:
        return [n / o for n, o in zip(sizes, out, strict=True)]
    return [1 / factor for factor in factors]


# -- nearest --------------------------------------------------------------------------------------------------------


def _nearest(offset: float) -> Callable[..., Value]:
    def rule(
        g: LoweringContext, x: Value, size: Sequence[int] | None = None, factors: Sequence[float] | None = None
    ) -> Value:
        n = x.rank - 2
        out = g.shape[2:]
        maps = [
            np.minimum(np.floor((np.arange(o, dtype=np.float32) + offset) * np.float32(s)), length - 1).astype(int)
            for o, s, length in zip(out, _scales(x, out, factors), x.shape[2:], strict=True)
        ]
        if n == 2 and all(_plain(m, length) for m, length in zip(maps, x.shape[2:], strict=True)):
            last = g.transpose(x, [0, 2, 3, 1])
            operands = [last, g.constant(list(out), "int32")]
            shape = (x.shape[0], *out, x.shape[1])
            last = g.op("RESIZE_NEAREST_NEIGHBOR", operands, shape, alignCorners=False, halfPixelCenters=False)
            return g.transpose(last, [0, 3, 1, 2])
        for axis, places in enumerate(maps, start=2):
            x = g.pick(x, places.tolist(), axis)
        return x

    return rule


def _plain(places: npt.NDArray[np.int64], length: int) -> bool:
    """True if each pixel is repeated equally often, so that rounding does not matter."""
    return len(places) % length == 0 and bool(np.all(places == np.arange(len(places)) // (len(places) // length)))


for _n in (1, 2, 3):
    lowers(f"aten.upsample_nearest{_n}d.vec")(_nearest(0.0))
    lowers(f"aten._upsample_nearest_exact{_n}d.vec")(_nearest(0.5))


# -- weighted -------------------------------------------------------------------------------------------------------


def _sources(n: int, out: int, scale: float, align_corners: bool) -> Floats:
    """Input position of each output pixel."""
    if align_corners:
        return np.arange(out) * ((n - 1) / (out - 1) if out > 1 else 0.0)
    return (np.arange(out) + 0.5) * scale - 0.5


def _linear_weights(n: int, out: int, scale: float, align_corners: bool) -> Floats:
    source = np.maximum(_sources(n, out, scale, align_corners), 0)
    low = np.minimum(np.floor(source).astype(int), n - 1)
    share = np.clip(source - low, 0, 1)
    weights = np.zeros((out, n))
    np.add.at(weights, (np.arange(out), low), 1 - share)
    np.add.at(weights, (np.arange(out), np.minimum(low + 1, n - 1)), share)
    return weights


_CUBIC = -0.75


def _cubic_weights(n: int, out: int, scale: float, align_corners: bool) -> Floats:
    """Source: R. Keys, "Cubic convolution interpolation for digital image processing" (1981), with a = -0.75."""
    source = _sources(n, out, scale, align_corners)
    low = np.floor(source).astype(int)
    weights = np.zeros((out, n))
    for tap in range(-1, 3):
        distance = np.abs(source - (low + tap))
        near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance**2 + 1
        far = _CUBIC * (((distance - 5) * distance + 8) * distance - 4)
        np.add.at(weights, (np.arange(out), np.clip(low + tap, 0, n - 1)), np.where(distance <= 1, near, far))
    return weights


def _weighted(weights: Callable[[int, int, float, bool], Floats]) -> Callable[..., Value]:
    def rule(
        g: LoweringContext,
        x: Value,
        size: Sequence[int] | None,
        align_corners: bool,
        factors: Sequence[float] | None = None,
    ) -> Value:
        out = g.shape[2:]
        scales = _scales(x, out, factors)
        exact = align_corners or all(math.isclose(s * o, n) for s, o, n in zip(scales, out, x.shape[2:], strict=True))
        if weights is _linear_weights and len(out) == 2 and exact and x.dtype == "float32":
            last = g.transpose(x, [0, 2, 3, 1])
            operands = [last, g.constant(list(out), "int32")]
            shape = (x.shape[0], *out, x.shape[1])
            options: dict[str, Any] = {"alignCorners": align_corners, "halfPixelCenters": not align_corners}
            return g.transpose(g.op("RESIZE_BILINEAR", operands, shape, **options), [0, 3, 1, 2])
        for axis, (o, scale) in enumerate(zip(out, scales, strict=True), start=2):
            x = g.matrix(x, axis, weights(x.shape[axis], o, scale, align_corners))
        return x

    return rule


for _name in ("linear1d", "bilinear2d", "trilinear3d"):
    lowers(f"aten.upsample_{_name}.vec")(_weighted(_linear_weights))
lowers("aten.upsample_bicubic2d.vec")(_weighted(_cubic_weights))
