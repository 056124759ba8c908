"""Lowering rules for ATen operators, grouped by what they do.

Source of the operators' semantics: PyTorch's ``native_functions.yaml``; of LiteRT's: the kernels in ``tflite/kernels``.
XNNPACK takes none of EXPAND_DIMS, SQUEEZE, PACK and UNPACK, so rules say RESHAPE and CONCATENATION instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from edgegen.graph import Value
from edgegen.lowering.rules import LoweringContext, RuleTable

RULES = RuleTable()
lowers = RULES.lowers

Number = float | int | bool


# -- elementwise --------------------------------------------------------------------------------------------------


def _binary(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, a: Value | Number, b: Value | Number, *, alpha: Number = 1) -> Value:
        right = g.operand(b)
        if alpha != 1:
            right = g.binary("MUL", right, g.constant(alpha, right.dtype))
        return g.binary(kind, g.operand(a), right)

    return rule


for _name, _kind in {"add": "ADD", "sub": "SUB", "mul": "MUL", "div": "DIV"}.items():
    lowers(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar")(_binary(_kind))
lowers("aten.maximum.default")(_binary("MAXIMUM"))
lowers("aten.minimum.default")(_binary("MINIMUM"))


@lowers("aten.rsub.Scalar", "aten.rsub.Tensor")
def _rsub(g: LoweringContext, a: Value, b: Value | Number, alpha: Number = 1) -> Value:
    scaled = g.binary("MUL", g.operand(a), g.constant(alpha, g.dtype)) if alpha != 1 else g.operand(a)
    return g.binary("SUB", g.operand(b), scaled)


def _comparison(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, a: Value, b: Value | Number) -> Value:
        if isinstance(b, Value):
            dtype = _promoted(a.dtype, b.dtype)
        else:
            dtype = "float32" if isinstance(b, float) else a.dtype
        return g.binary(kind, g.operand(a, dtype), g.operand(b, dtype), "bool")

    return rule


_COMPARISONS = {
    "eq": "EQUAL",
    "ne": "NOT_EQUAL",
    "lt": "LESS",
    "le": "LESS_EQUAL",
    "gt": "GREATER",
    "ge": "GREATER_EQUAL",
}
for _name, _kind in _COMPARISONS.items():
    lowers(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar")(_comparison(_kind))


def _promoted(a: str, b: str) -> str:
    order = ("bool", "uint8", "int8", "int32", "int64", "float16", "float32")
    return max(a, b, key=order.index)


@lowers("aten.logical_and.default", "aten.bitwise_and.Tensor")
def _logical_and(g: LoweringContext, a: Value, b: Value) -> Value:
    return g.binary("LOGICAL_AND", _boolean(a), _boolean(b))


@lowers("aten.logical_or.default", "aten.bitwise_or.Tensor")
def _logical_or(g: LoweringContext, a: Value, b: Value) -> Value:
    return g.binary("LOGICAL_OR", _boolean(a), _boolean(b))


@lowers("aten.logical_not.default", "aten.bitwise_not.default")
def _logical_not(g: LoweringContext, x: Value) -> Value:
    return g.unary("LOGICAL_NOT", _boolean(x))


def _boolean(x: Value) -> Value:
    if x.dtype != "bool":
        raise NotImplementedError(f"on {x.dtype}, only on bool")
    return x


def _unary(kind: str) -> Callable[..., Value]:
    def rule(g: LoweringContext, x: Value) -> Value:
        return g.unary(kind, g.operand(x))

    return rule


_UNARY = {
    "abs": "ABS",
    "ceil": "CEIL",
    "cos": "COS",
    "exp": "EXP",
    "floor": "FLOOR",
    "log": "LOG",
    "neg": "NEG",
    "relu": "RELU",
    "round": "ROUND",
    "rsqrt": "RSQRT",
    "sigmoid": "LOGISTIC",
    "sin": "SIN",
    "sqrt": "SQRT",
    "tanh": "TANH",
}
for _name, _kind in _UNARY.items():
    lowers(f"aten.{_name}.default")(_unary(_kind))


@lowers("aten.silu.default")
def _silu(g: LoweringContext, x: Value) -> Value:
    return g.binary("MUL", x, g.unary("LOGISTIC", x))


@lowers("aten.gelu.default")
def _gelu(g: LoweringContext, x: Value, *, approximate: str = "none") -> Value:
    return g.unary("GELU", x, approximate=approximate == "tanh")


@lowers("aten.pow.Tensor_Scalar")
def _pow(g: LoweringContext, x: Value, exponent: Number) -> Value:
    x = g.operand(x)
    if exponent == 2:
        return g.binary("MUL", x, x)
    if exponent == 0.5:
        return g.unary("SQRT", x)
    if exponent == -0.5:
        return g.unary("RSQRT", x)
    return g.binary("POW", x, g.constant(exponent, g.dtype))


@lowers("aten.clamp.default")
def _clamp(g: LoweringContext, x: Value, low: Number | None = None, high: Number | None = None) -> Value:
    x = g.operand(x)
    if low is not None:
        x = g.binary("MAXIMUM", x, g.constant(low, g.dtype))
    return x if high is None else g.binary("MINIMUM", x, g.constant(high, g.dtype))


@lowers("aten.where.self", "aten.where.Scalar", "aten.where.ScalarOther", "aten.where.ScalarSelf")
def _where(g: LoweringContext, condition: Value, a: Value | Number, b: Value | Number) -> Value:
    return g.op("SELECT_V2", [condition, g.operand(a), g.operand(b)], g.shape, g.dtype)


@lowers("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def _masked_fill(g: LoweringContext, x: Value, mask: Value, fill: Value | Number) -> Value:
    return g.op("SELECT_V2", [mask, g.operand(fill), x], g.shape, g.dtype)


@lowers("aten._to_copy.default", "aten.to.dtype", "aten.to.dtype_layout", "aten.to.device")
def _to(g: LoweringContext, x: Value, *args: Any, **kwargs: Any) -> Value:
    return g.cast(x, g.dtype)


@lowers(
    "aten.clone.default",
    "aten.alias.default",
    "aten.detach.default",
    "aten.contiguous.default",
    "aten.dropout.default",
)
def _identity(g: LoweringContext, x: Value, *args: Any, **kwargs: Any) -> Value:
    return x


# -- shape --------------------------------------------------------------------------------------------------------


@lowers(
    "aten.view.default",
    "aten.reshape.default",
    "aten._unsafe_view.default",
    "aten.unsqueeze.default",
    "aten.squeeze.dim",
    "aten.squeeze.dims",
    "aten.squeeze.default",
    "aten.flatten.using_ints",
    "aten.unflatten.int",
)
def _reshape(g: LoweringContext, x: Value, *args: Any, **kwargs: Any) -> Value:
    return g.reshape(x, g.shape)


@lowers("aten.permute.default")
def _permute(g: LoweringContext, x: Value, order: Sequence[int]) -> Value:
    return g.transpose(x, [axis % x.rank for axis in order])


@lowers("aten.transpose.int")
def _transpose(g: LoweringContext, x: Value, a: int, b: int) -> Value:
    order = list(range(x.rank))
    order[a], order[b] = order[b], order[a]
    return g.transpose(x, order)


@lowers("aten.t.default")
def _t(g: LoweringContext, x: Value) -> Value:
    return g.transpose(x, range(x.rank)[::-1])


@lowers("aten.expand.default")
def _expand(g: LoweringContext, x: Value, *args: Any, **kwargs: Any) -> Value:
    aligned = g.reshape(x, (1,) * (len(g.shape) - x.rank) + x.shape)
    return g.broadcast(aligned, g.shape)


@lowers("aten.repeat.default")
def _repeat(g: LoweringContext, x: Value, repeats: Sequence[int]) -> Value:
    aligned = g.reshape(x, (1,) * (len(repeats) - x.rank) + x.shape)
    return g.op("TILE", [aligned, g.constant(list(repeats), "int32")], g.shape)


@lowers("aten.cat.default")
def _cat(g: LoweringContext, parts: Sequence[Value], axis: int = 0) -> Value:
    filled = [g.operand(part) for part in parts if part.shape != (0,)]
    return g.concat(filled, axis % len(g.shape))


@lowers("aten.stack.default")
def _stack(g: LoweringContext, parts: Sequence[Value], axis: int = 0) -> Value:
    axis %= len(g.shape)
    one = (*g.shape[:axis], 1, *g.shape[axis + 1 :])
    return g.concat([g.reshape(g.operand(part), one) for part in parts], axis)


@lowers("aten.slice.Tensor")
def _slice(
    g: LoweringContext,
    x: Value,
    axis: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Value:
    if step != 1:
        raise NotImplementedError(f"with step {step}")
    begin, _, _ = slice(start, end).indices(x.shape[axis])
    return _narrowed(g, x, axis % x.rank, begin, g.shape[axis])


@lowers("aten.narrow.default")
def _narrow(g: LoweringContext, x: Value, axis: int, start: int, length: int) -> Value:
    return _narrowed(g, x, axis % x.rank, start % x.shape[axis], length)


@lowers("aten.select.int")
def _select(g: LoweringContext, x: Value, axis: int, index: int) -> Value:
    return g.reshape(_narrowed(g, x, axis % x.rank, index % x.shape[axis], 1), g.shape)


@lowers("aten.split_with_sizes.default")
def _split_with_sizes(g: LoweringContext, x: Value, sizes: Sequence[int], axis: int = 0) -> tuple[Value, ...]:
    return _parts(g, x, sizes, axis % x.rank)


@lowers("aten.split.Tensor")
def _split(g: LoweringContext, x: Value, size: int, axis: int = 0) -> tuple[Value, ...]:
    return _parts(g, x, _even(x.shape[axis], size), axis % x.rank)


@lowers("aten.chunk.default")
def _chunk(g: LoweringContext, x: Value, chunks: int, axis: int = 0) -> tuple[Value, ...]:
    return _parts(g, x, _even(x.shape[axis], math.ceil(x.shape[axis] / chunks)), axis % x.rank)


def _even(whole: int, size: int) -> list[int]:
    return [min(size, whole - start) for start in range(0, whole, size)]


def _parts(g: LoweringContext, x: Value, sizes: Sequence[int], axis: int) -> tuple[Value, ...]:
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return tuple(_narrowed(g, x, axis, start, size) for start, size in zip(starts, sizes, strict=True))


def _narrowed(g: LoweringContext, x: Value, axis: int, start: int, length: int) -> Value:
    begin, size = [0] * x.rank, list(x.shape)
    begin[axis], size[axis] = start, length
    return g.slice(x, begin, size)


@lowers("edgegen.dynamic_update_slice.default")
def _dynamic_update_slice(g: LoweringContext, operand: Value, update: Value, start: Value, axis: int) -> Value:
    zero = g.constant([0], "int32")
    starts: list[Value] = [zero] * operand.rank
    starts[axis] = g.reshape(g.cast(start, "int32"), [1])
    return g.op("DYNAMIC_UPDATE_SLICE", [operand, update, g.concat(starts, 0)], operand.shape)


# -- products -----------------------------------------------------------------------------------------------------


@lowers("aten.linear.default")
def _linear(g: LoweringContext, x: Value, weight: Value, bias: Value | None = None) -> Value:
    return g.fully_connected(x, weight, bias)


@lowers("aten.matmul.default", "aten.bmm.default", "aten.mm.default")
def _matmul(g: LoweringContext, a: Value, b: Value) -> Value:
    """Vectors become matrices with one row or column, as ``torch.matmul`` says."""
    left = g.reshape(a, (1, *a.shape)) if a.rank == 1 else a
    right = g.reshape(b, (*b.shape, 1)) if b.rank == 1 else b
    return g.reshape(g.batch_matmul(left, right), g.shape)


@lowers("aten.addmm.default")
def _addmm(g: LoweringContext, bias: Value, a: Value, b: Value, *, beta: Number = 1, alpha: Number = 1) -> Value:
    if (beta, alpha) != (1, 1):
        raise NotImplementedError("with beta or alpha other than 1")
    return g.binary("ADD", g.batch_matmul(a, b), bias)


@lowers("aten.embedding.default")
def _embedding(g: LoweringContext, table: Value, ids: Value, *args: Any, **kwargs: Any) -> Value:
    return g.embedding(ids, table)


@lowers("aten.index_select.default")
def _index_select(g: LoweringContext, x: Value, axis: int, index: Value) -> Value:
    return g.op("GATHER", [x, g.cast(index, "int32")], g.shape, axis=axis % x.rank, batchDims=0)


# -- reductions and normalizations --------------------------------------------------------------------------------


def _reduction(kind: str) -> Callable[..., Value]:
    def rule(
        g: LoweringContext,
        x: Value,
        axes: Sequence[int] | int | None = None,
        keep: bool = False,
        *,
        dtype: torch.dtype | None = None,
    ) -> Value:
        if isinstance(axes, int):
            axes = [axes]
        return g.reduce(kind, g.operand(x), sorted(axis % x.rank for axis in axes or range(x.rank)), keep)

    return rule


lowers("aten.mean.dim", "aten.mean.default")(_reduction("MEAN"))
lowers("aten.sum.dim_IntList", "aten.sum.default")(_reduction("SUM"))
lowers("aten.amax.default")(_reduction("REDUCE_MAX"))
lowers("aten.amin.default")(_reduction("REDUCE_MIN"))


@lowers("aten.softmax.int", "aten._softmax.default")
def _softmax(g: LoweringContext, x: Value, axis: int, *args: Any) -> Value:
    """LiteRT's SOFTMAX takes the last axis."""
    axis %= x.rank
    order = [i for i in range(x.rank) if i != axis] + [axis]
    back = [order.index(i) for i in range(x.rank)]
    return g.transpose(g.unary("SOFTMAX", g.transpose(g.operand(x), order), beta=1.0), back)


@lowers("aten.rms_norm.default")
def _rms_norm(
    g: LoweringContext, x: Value, shape: Sequence[int], weight: Value | None = None, eps: float | None = None
) -> Value:
    axes = range(x.rank - len(shape), x.rank)
    eps = torch.finfo(torch.float32).eps if eps is None else eps
    mean_square = g.reduce("MEAN", g.binary("MUL", x, x), axes, keep=True)
    inverse = g.unary("RSQRT", g.binary("ADD", mean_square, g.constant(eps, "float32")))
    normalized = g.binary("MUL", x, inverse)
    return normalized if weight is None else g.binary("MUL", normalized, weight)


@lowers("aten.layer_norm.default")
def _layer_norm(
    g: LoweringContext,
    x: Value,
    shape: Sequence[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
    *args: Any,
) -> Value:
    axes = range(x.rank - len(shape), x.rank)
    centred = g.binary("SUB", x, g.reduce("MEAN", x, axes, keep=True))
    variance = g.reduce("MEAN", g.binary("MUL", centred, centred), axes, keep=True)
    result = g.binary("MUL", centred, g.unary("RSQRT", g.binary("ADD", variance, g.constant(eps, "float32"))))
    if weight is not None:
        result = g.binary("MUL", result, weight)
    return result if bias is None else g.binary("ADD", result, bias)
