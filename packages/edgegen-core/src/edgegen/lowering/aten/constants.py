"""Casts, copies, and tensors that do not depend on their operands' contents."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext, Number
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


@lowers("aten._to_copy.default", "aten.to.dtype", "aten.to.dtype_layout", "aten.to.device")
def _to(g: LoweringContext, x: Value, *args: Any, **kwargs: Any) -> Value:
    return g.cast(x, g.dtype)


@lowers(
    "aten.clone.default",
    "aten.alias.default",
    "aten.detach.default",
    "aten.contiguous.default",
)
def _identity(g: LoweringContext, x: Value, *args: Any, **kwargs: Any) -> Value:
    return x


@lowers("aten.dropout.default")
def _dropout(g: LoweringContext, x: Value, p: float, train: bool) -> Value:
    if train and p > 0:
        raise NotImplementedError("in training")
    return x


@lowers("aten.copy.default")
def _copy(g: LoweringContext, x: Value, source: Value, *args: Any) -> Value:
    return g.expand(g.operand(source), g.shape)


@lowers("aten.fill.Scalar", "aten.full_like.default")
def _full(g: LoweringContext, x: Value, fill: Number, **kwargs: Any) -> Value:
    return g.constant(np.full(g.shape, fill), g.dtype)


@lowers("aten.empty_like.default")
def _empty_like(g: LoweringContext, x: Value, **kwargs: Any) -> Value:
    return _full(g, x, 0)
