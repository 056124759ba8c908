"""Padding. PyTorch lists amounts from the last axis on; negative ones cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext, Number
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


Positions = npt.NDArray[np.int64]
Inside = Callable[[Positions, int], Positions]


def _pairs(x: Value, amounts: Sequence[int]) -> list[tuple[int, int]]:
    given = [(amounts[i], amounts[i + 1]) for i in range(0, len(amounts), 2)][::-1]
    return [(0, 0)] * (x.rank - len(given)) + given


@lowers("aten.constant_pad_nd.default")
def _constant(g: LoweringContext, x: Value, amounts: Sequence[int], fill: Number = 0) -> Value:
    pairs = _pairs(x, amounts)
    begin = [max(0, -before) for before, _ in pairs]
    size = [n - b - max(0, -after) for n, b, (_, after) in zip(x.shape, begin, pairs, strict=True)]
    kept = g.slice(x, begin, size)
    return g.pad(kept, [(max(0, before), max(0, after)) for before, after in pairs], fill)


@lowers(*(f"aten.reflection_pad{n}d.default" for n in (1, 2, 3)))
def _reflection(g: LoweringContext, x: Value, amounts: Sequence[int]) -> Value:
    return _looked_up(g, x, amounts, _reflected)


@lowers(*(f"aten.replication_pad{n}d.default" for n in (1, 2, 3)))
def _replication(g: LoweringContext, x: Value, amounts: Sequence[int]) -> Value:
    return _looked_up(g, x, amounts, lambda places, n: np.clip(places, 0, n - 1))


def _reflected(places: Positions, n: int) -> Positions:
    places = np.abs(places)
    return np.where(places >= n, 2 * (n - 1) - places, places)


def _looked_up(g: LoweringContext, x: Value, amounts: Sequence[int], inside: Inside) -> Value:
    for axis, (before, after) in enumerate(_pairs(x, amounts)):
        if before or after:
            places = np.arange(-before, x.shape[axis] + after)
            x = g.gather(x, g.constant(inside(places, x.shape[axis]), "int32"), axis)
    return x
