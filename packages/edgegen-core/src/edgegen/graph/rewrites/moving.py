"""Reshapes and transposes: adjacent ones are merged, others are moved towards those that they cancel."""

from __future__ import annotations

from edgegen.graph.ir import Op, Value
from edgegen.graph.rewrites.engine import Rewriter, operands, table

ROWS, rewrite = table()

_MOVED = """
    ABS CAST CEIL COS ELU EXP FLOOR GELU LEAKY_RELU LOG LOGICAL_NOT LOGISTIC NEG
    RELU RELU6 RELU_N1_TO_1 ROUND RSQRT SIN SQRT SQUARE TANH
"""
_UNARY = frozenset(_MOVED.split())
_BINARY = frozenset(("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM"))
_REDUCTIONS = frozenset(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL"))
_MOVING = _UNARY | _BINARY | _REDUCTIONS | {"TRANSPOSE", "CONCATENATION"}
"""Operators that a transpose can be moved past, or be cancelled at."""


def order_of(transpose: Op) -> tuple[int, ...]:
    """Source axis of each axis of a transpose."""
    order = operands(transpose)[1].constant
    assert order is not None
    return tuple(int(axis) for axis in order)


@rewrite("reshape of reshape")
def _reshape_of_reshape(g: Rewriter, op: Op) -> Value | None:
    first = g.made_by(operands(op)[0], "RESHAPE") if op.kind == "RESHAPE" else None
    return g.reshape(operands(first)[0], op.output.shape) if first else None


@rewrite("transpose of transpose")
def _transpose_of_transpose(g: Rewriter, op: Op) -> Value | None:
    first = g.made_by(operands(op)[0], "TRANSPOSE") if op.kind == "TRANSPOSE" else None
    if first is None:
        return None
    inner = order_of(first)
    return g.transpose(operands(first)[0], [inner[axis] for axis in order_of(op)])


@rewrite("transpose that moves only axes of length 1")
def _transpose_as_reshape(g: Rewriter, op: Op) -> Value | None:
    """A reshape copies straight through and merges with its neighbours; a transpose does neither."""
    if op.kind != "TRANSPOSE":
        return None
    x = operands(op)[0]
    moved = [axis for axis in order_of(op) if x.shape[axis] != 1]
    return g.reshape(x, op.output.shape) if moved == sorted(moved) else None


@rewrite("transposed operand of a matrix product")
def _transpose_into_matmul(g: Rewriter, op: Op) -> Value | None:
    if op.kind != "BATCH_MATMUL":
        return None
    sides, flags = list(operands(op)), [op.options["adjX"], op.options["adjY"]]
    for side, value in enumerate(sides):
        first = g.made_by(value, "TRANSPOSE")
        axes = list(range(value.rank))
        if first is not None and list(order_of(first)) == [*axes[:-2], axes[-1], axes[-2]]:
            sides[side], flags[side] = operands(first)[0], not flags[side]
    if sides == list(operands(op)):
        return None
    return g.batch_matmul(sides[0], sides[1], adj_x=flags[0], adj_y=flags[1])


@rewrite("elementwise operator after a transpose")
def _elementwise_first(g: Rewriter, op: Op) -> Value | None:
    """The transpose goes last, so that it meets the next one."""
    if op.kind not in _UNARY | _BINARY:
        return None
    transposes = [g.made_by(value, "TRANSPOSE") for value in operands(op)]
    orders = {order_of(transpose) for transpose in transposes if transpose}
    goes = any(t and g.used_by(t.output) <= _MOVING for t in transposes)
    if len(orders) != 1 or not goes or op.output.rank != len(*orders):
        return None
    (order,) = orders
    back = sorted(range(len(order)), key=order.__getitem__)
    before = []
    for value, transpose in zip(operands(op), transposes, strict=True):
        if transpose is not None:
            before.append(operands(transpose)[0])
        elif value.rank == 0:
            before.append(value)
        elif value.constant is not None or value.parameter is not None:
            before.append(g.permuted(g.reshape(value, (1,) * (len(order) - value.rank) + value.shape), back))
        else:
            return None
    shape = [op.output.shape[axis] for axis in back]
    return g.transpose(g.op(op.kind, before, shape, op.output.dtype, **op.options), order)


@rewrite("reduction of a transposed tensor")
def _reduce_first(g: Rewriter, op: Op) -> Value | None:
    transpose = g.made_by(operands(op)[0], "TRANSPOSE") if op.kind in _REDUCTIONS else None
    if transpose is None or not g.used_by(transpose.output) <= _MOVING:
        return None
    order, axes = order_of(transpose), operands(op)[1].constant
    assert axes is not None
    reduced = [order[int(axis)] for axis in axes.ravel()]
    result = g.reduce(op.kind, operands(transpose)[0], sorted(reduced), keep=op.options["keepDims"])
    if op.options["keepDims"]:
        return g.transpose(result, order)
    kept = [axis for axis in order if axis not in reduced]
    return g.transpose(result, [sorted(kept).index(axis) for axis in kept])


@rewrite("concatenation of transposed tensors")
def _concatenate_first(g: Rewriter, op: Op) -> Value | None:
    if op.kind != "CONCATENATION":
        return None
    transposes = [g.made_by(value, "TRANSPOSE") for value in operands(op)]
    found = [transpose for transpose in transposes if transpose]
    if len(found) < len(transposes) or len({order_of(each) for each in found}) > 1:
        return None
    if not any(g.used_by(each.output) <= _MOVING for each in found):
        return None
    order = order_of(found[0])
    joined = g.concat([operands(each)[0] for each in found], order[op.options["axis"]])
    return g.transpose(joined, order)
