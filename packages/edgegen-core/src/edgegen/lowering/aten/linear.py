"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgegen.graph import Value
from edgegen.lowering.aten.reduction import norm
from edgegen.lowering.context import LoweringContext, Number
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers


@lowers("aten.linear.default")
def _linear(g: LoweringContext, x: Value, weight: Value, bias: Value | None = None) -> Value:
    if x.dtype == "float32" and x.rank > 0 and weight.rank == 2:
        return g.fully_connected(x, weight, bias)
    matrix = weight if weight.rank == 2 else g.reshape(weight, (1, *weight.shape))
    result = g.reshape(product(g, x, g.transpose(matrix, [1, 0])), g.shape)
    return result if bias is None else g.add(result, bias)


@lowers("aten.matmul.default", "aten.bmm.default", "aten.mm.default")
def _matmul(g: LoweringContext, a: Value, b: Value) -> Value:
    return g.reshape(product(g, g.operand(a), g.operand(b)), g.shape)


def product(g: LoweringContext, a: Value, b: Value) -> Value:
    """Vectors become matrices with one row or column, as ``torch.matmul`` says."""
    left = g.reshape(a, (1, *a.shape)) if a.rank == 1 else a
    right = g.reshape(b, (*b.shape, 1)) if b.rank == 1 else b
    if left.dtype in ("float32", "float16"):
        return g.batch_matmul(left, right)
    # No kernel multiplies matrices of whole numbers.
    rows, columns = g.reshape(left, (*left.shape, 1)), g.reshape(right, (*right.shape[:-2], 1, *right.shape[-2:]))
    terms = g.binary("MUL", rows, columns)
    return g.reduce("SUM", terms, [terms.rank - 2], keep=False)


@lowers("aten.addmm.default", "aten.baddbmm.default")
def _addmm(g: LoweringContext, bias: Value, a: Value, b: Value, *, beta: Number = 1, alpha: Number = 1) -> Value:
    result = product(g, a, b)
    if alpha != 1:
        result = g.mul(result, alpha)
    if beta == 0:
        return result
    return g.add(result, bias if beta == 1 else g.mul(bias, beta))


@lowers("aten.addbmm.default")
def _addbmm(g: LoweringContext, bias: Value, a: Value, b: Value, *, beta: Number = 1, alpha: Number = 1) -> Value:
    batch, rows, inner = a.shape
    side = g.reshape(g.transpose(a, [1, 0, 2]), (rows, batch * inner))
    return _addmm(g, bias, side, g.reshape(b, (batch * inner, b.shape[2])), beta=beta, alpha=alpha)


@lowers("aten._trilinear.default")
def _trilinear(
    g: LoweringContext,
    a: Value,
    b: Value,
    c: Value,
    expand_a: Sequence[int],
    expand_b: Sequence[int],
    expand_c: Sequence[int],
    summed: Sequence[int],
    unroll: int = 1,
) -> Value:
    """The product of three tensors with axes of 1 put in, summed over some; what ``nn.Bilinear`` comes down to."""
    terms = []
    for x, expanded in ((a, expand_a), (b, expand_b), (c, expand_c)):
        shape = list(x.shape)
        for axis in sorted(expanded):
            shape.insert(axis, 1)
        terms.append(g.reshape(x, shape))
    product_of_all = g.mul(g.mul(terms[0], terms[1]), terms[2])
    return g.reduce("SUM", product_of_all, sorted(summed), keep=False)


# -- distances ------------------------------------------------------------------------------------------------------


@lowers("aten._cdist_forward.default")
def _cdist(g: LoweringContext, a: Value, b: Value, p: float, mode: int | None) -> Value:
    """``[..., P, D]`` and ``[..., R, D]`` to ``[..., P, R]``."""
    rows = g.reshape(a, (*a.shape[:-1], 1, a.shape[-1]))
    columns = g.reshape(b, (*b.shape[:-2], 1, *b.shape[-2:]))
    return norm(g, g.sub(rows, columns), p, -1)


@lowers("aten._pdist_forward.default")
def _pdist(g: LoweringContext, x: Value, p: float = 2) -> Value:
    upper = np.triu_indices(x.shape[0], 1)
    left, right = (g.gather(x, g.constant(rows, "int32"), 0) for rows in upper)
    return norm(g, g.sub(left, right), p, -1)
