"""Operators that LiteRT can do as part of another one."""

from __future__ import annotations

from edgegen.graph.builder import is_splat
from edgegen.graph.ir import Op, Value
from edgegen.graph.rewrites.engine import Rewriter, activation, is_known, operands, table

ROWS, rewrite = table()

_PRODUCTS = ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D")
_CLAMPS = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
_ACTIVATIONS = ("RELU", *_CLAMPS.values())
_TAKE_ACTIVATION = ("ADD", "SUB", "MUL", "DIV", "AVERAGE_POOL_2D", "MAX_POOL_2D", *_PRODUCTS)
_CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""Axis of the weights that output channels are on."""


@rewrite("clamp that has a name")
def _clamp(g: Rewriter, op: Op) -> Value | None:
    """MINIMUM of MAXIMUM."""
    inner = g.made_by(operands(op)[0], "MAXIMUM") if op.kind == "MINIMUM" else None
    if inner is None or op.output.dtype != "float32":
        return None
    (x, low), high = operands(inner), operands(op)[1]
    for bounds, kind in _CLAMPS.items():
        if is_splat(low, bounds[0]) and is_splat(high, bounds[1]) and x.shape == op.output.shape:
            return g.unary(kind, x)
    return None


@rewrite("activation after an operator that can do it")
def _fuse_activation(g: Rewriter, op: Op) -> Value | None:
    before = g.made_by(operands(op)[0], *_TAKE_ACTIVATION) if op.kind in _ACTIVATIONS else None
    if before is None or not g.used_once(before.output) or op.output.dtype != "float32" or not _is_plain(before):
        return None
    options = {**before.options, "fusedActivationFunction": op.kind}
    return g.op(before.kind, before.inputs, op.output.shape, op.output.dtype, **options)


@rewrite("product with a matrix of weights")
def _fully_connected(g: Rewriter, op: Op) -> Value | None:
    """FULLY_CONNECTED keeps its weights packed, and takes them quantized."""
    if op.kind != "BATCH_MATMUL" or op.options["adjX"]:
        return None
    x, weight = operands(op)
    if weight.parameter is None or weight.rank != 2 or x.parameter is not None:
        return None
    rows = weight if op.options["adjY"] else g.permuted(weight, (1, 0))
    return g.fully_connected(x, rows) if x.shape[:-1] == op.output.shape[:-1] else None


@rewrite("addition to a product")
def _fuse_bias(g: Rewriter, op: Op) -> Value | None:
    for value, added in _sides(op) if op.kind == "ADD" else ():
        product = g.made_by(value, *_PRODUCTS)
        vector = None if product is None else _fitting(g, product, value, added, op)
        if product is None or vector is None:
            continue
        bias = product.inputs[2] if len(product.inputs) > 2 else None
        total = vector if bias is None else g.binary("ADD", bias, vector)
        options = {**product.options, "fusedActivationFunction": activation(op)}
        return g.op(product.kind, [*product.inputs[:2], total], op.output.shape, **options)
    return None


@rewrite("multiplication of a convolution")
def _fuse_scale(g: Rewriter, op: Op) -> Value | None:
    """Goes into its weights, which are scaled as they are written."""
    for value, factor in _sides(op) if op.kind == "MUL" else ():
        product = g.made_by(value, *_CHANNELS)
        vector = None if product is None else _fitting(g, product, value, factor, op)
        if product is None or vector is None:
            continue
        _, weight, bias = operands(product)
        if weight.parameter is None or not is_known(bias):
            continue
        channels = _CHANNELS[product.kind]
        scale = g.permuted(vector, [0 if axis == channels else -1 for axis in range(weight.rank)])
        moved = bias if is_splat(bias, 0) else g.folded("MUL", [bias, vector])
        scaled = [g.folded("MUL", [weight, scale]), moved]
        options = {**product.options, "fusedActivationFunction": activation(op)}
        return g.op(product.kind, [product.inputs[0], *scaled], op.output.shape, **options)
    return None


def _sides(op: Op) -> tuple[tuple[Value, Value], ...]:
    a, b = operands(op)
    return ((a, b), (b, a))


def _fitting(g: Rewriter, product: Op, value: Value, other: Value, op: Op) -> Value | None:
    """``other`` as a vector of output channels, if the product may take it up."""
    fits = g.used_once(value) and value.shape == op.output.shape and _is_plain(product) and is_known(other)
    if not fits or other.elements != value.shape[-1] or other.shape[-1:] != value.shape[-1:]:
        return None
    return g.permuted(other, [other.rank - 1])


def _is_plain(op: Op) -> bool:
    return activation(op) == "NONE"
