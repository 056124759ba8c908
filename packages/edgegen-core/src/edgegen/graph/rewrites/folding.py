"""Constant folding: operators on constants and parameters, and operators without effect."""

from __future__ import annotations

from edgegen.graph.builder import is_splat
from edgegen.graph.folded_parameters import EVALUATE
from edgegen.graph.ir import Op, Value
from edgegen.graph.rewrites.engine import Rewriter, activation, is_known, operands, table

ROWS, rewrite = table()

_LARGEST = 1 << 16
"""Largest parameter, in elements, that arithmetic is folded into; larger ones keep their storage."""


@rewrite("multiplication by one, addition of zero")
def _neutral_element(g: Rewriter, op: Op) -> Value | None:
    neutral = {"MUL": 1.0, "DIV": 1.0, "ADD": 0.0, "SUB": 0.0}.get(op.kind)
    if neutral is None or activation(op) != "NONE":
        return None
    a, b = operands(op)
    sides = ((a, b), (b, a)) if op.kind in ("ADD", "MUL") else ((a, b),)
    for kept, other in sides:
        if is_splat(other, neutral) and kept.shape == op.output.shape:
            return kept
    return None


@rewrite("arithmetic on constants and parameters")
def _arithmetic(g: Rewriter, op: Op) -> Value | None:
    known = operands(op)
    if op.kind not in EVALUATE or activation(op) != "NONE" or not all(map(is_known, known)):
        return None
    large = op.output.elements > max(_LARGEST, *(value.elements for value in known if value.constant is not None), 0)
    return None if large or op.output.dtype != "float32" else g.folded(op.kind, known)


@rewrite("shape of a parameter")
def _shape(g: Rewriter, op: Op) -> Value | None:
    """TRANSPOSE and RESHAPE of a parameter, as far as the latter puts in axes of length 1 or leaves them out."""
    if op.kind not in ("TRANSPOSE", "RESHAPE") or operands(op)[0].parameter is None:
        return None
    x = operands(op)[0]
    if op.kind == "TRANSPOSE":
        order = operands(op)[1].constant
        assert order is not None
        return g.permuted(x, [int(axis) for axis in order])
    longer = [axis for axis, n in enumerate(x.shape) if n != 1]
    if [x.shape[axis] for axis in longer] != [n for n in op.output.shape if n != 1]:
        return None
    kept = iter(longer)
    return g.permuted(x, [-1 if n == 1 else next(kept) for n in op.output.shape])
