"""The builder that lowering rules get: operators, and idioms that several rules share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgegen.graph import Graph, GraphBuilder, Op, Value
from edgegen.lowering.kernel_dtypes import DATA, MOST_AXES, check_rank, compute_dtype

Number = float | int | bool


class LoweringContext(GraphBuilder):
    """A graph builder that knows the current operator's result in PyTorch and the dtypes of LiteRT's kernels.

    Attributes:
        shape: shape of its (first) result.
        dtype: dtype name of its (first) result.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.shape: tuple[int, ...] = ()
        self.dtype = "float32"
        self._before_rounding: dict[Value, Value] = {}

    # -- operators ------------------------------------------------------------------------------------------------

    def op(
        self,
        kind: str,
        inputs: Sequence[Value | None],
        shape: Sequence[int],
        dtype: str | None = None,
        **options: Any,
    ) -> Value:
        """As in :class:`GraphBuilder`; computed in a wider dtype where the kernel does not take the data's."""
        data = inputs[DATA.get(kind, 0)]
        assert data is not None
        result = dtype or data.dtype
        wide = compute_dtype(kind, data.dtype)
        check_rank(kind, wide, max(len(shape), *(v.rank for v in inputs if v is not None)))
        if wide == data.dtype:
            return super().op(kind, inputs, shape, result, **options)
        operands = [self.cast(v, wide) if v is not None and v.dtype == data.dtype else v for v in inputs]
        output = super().op(kind, operands, shape, wide if result == data.dtype else result, **options)
        return self.cast(output, result)

    def reduce(self, kind: str, x: Value, axes: Sequence[int], keep: bool) -> Value:
        """As in :class:`GraphBuilder`; of many axes, neighbours that are treated alike are one meanwhile."""
        if x.rank <= MOST_AXES:
            return super().reduce(kind, x, axes, keep)
        runs = [(reduced, list(run)) for reduced, run in itertools.groupby(range(x.rank), lambda axis: axis in axes)]
        merged = self.reshape(x, [math.prod(x.shape[axis] for axis in run) for _, run in runs])
        result = super().reduce(kind, merged, [place for place, (reduced, _) in enumerate(runs) if reduced], keep)
        shape = [1 if axis in axes else n for axis, n in enumerate(x.shape) if keep or axis not in axes]
        return self.reshape(result, shape)

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        """As in :class:`GraphBuilder`; of many axes, those before and those after ``axis`` are one meanwhile."""
        first = parts[0].shape
        if len(first) <= MOST_AXES:
            return super().concat(parts, axis)
        before, after = math.prod(first[:axis]), math.prod(first[axis + 1 :])
        merged = super().concat([self.reshape(part, (before, part.shape[axis], after)) for part in parts], 1)
        return self.reshape(merged, (*first[:axis], merged.shape[1], *first[axis + 1 :]))

    def fully_connected(self, x: Value, weight: Value, bias: Value | None = None) -> Value:
        """As in :class:`GraphBuilder`; of many axes, all but the last are one meanwhile."""
        if x.rank <= MOST_AXES:
            return super().fully_connected(x, weight, bias)
        rows = self.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
        return self.reshape(super().fully_connected(rows, weight, bias), (*x.shape[:-1], weight.shape[0]))

    def cast(self, x: Value, dtype: str) -> Value:
        """``x`` as ``dtype``; a half-precision parameter comes back as the float32 that the file holds."""
        if dtype == "float32" and x in self._before_rounding:
            return self._before_rounding[x]
        return super().cast(x, dtype)

    def half(self, x: Value) -> Value:
        """A float32 parameter whose values are float16's, as float16."""
        result = self.cast(x, "float16")
        self._before_rounding[result] = x
        return result

    def operand(self, x: Value | Number, dtype: str | None = None) -> Value:
        """A tensor or a Python number as a value of ``dtype`` (default: the operator's result)."""
        dtype = dtype or self.dtype
        return self.cast(x, dtype) if isinstance(x, Value) else self.constant(x, dtype)

    def multiple(
        self, kind: str, inputs: Sequence[Value], outputs: Sequence[tuple[Sequence[int], str]], **options: Any
    ) -> tuple[Value, ...]:
        """An operator with several outputs, given as ``(shape, dtype)``."""
        number = len(self.graph.ops)
        values = tuple(
            Value(f"{kind.lower()}_{number}_{i}", tuple(shape), dtype) for i, (shape, dtype) in enumerate(outputs)
        )
        self.graph.ops.append(Op(kind, tuple(inputs), values, options, origin=self.origin))
        return values

    # -- idioms ---------------------------------------------------------------------------------------------------

    def add(self, a: Value, b: Value | Number) -> Value:
        return self.binary("ADD", a, self.operand(b, a.dtype))

    def sub(self, a: Value, b: Value | Number) -> Value:
        return self.binary("SUB", a, self.operand(b, a.dtype))

    def mul(self, a: Value, b: Value | Number) -> Value:
        return self.binary("MUL", a, self.operand(b, a.dtype))

    def div(self, a: Value, b: Value | Number) -> Value:
        return self.binary("DIV", a, self.operand(b, a.dtype))

    def compare(self, kind: str, a: Value, b: Value | Number) -> Value:
        """``EQUAL``, ``LESS``, ...; ``b`` is taken to the dtype of ``a``."""
        return self.binary(kind, a, self.operand(b, a.dtype), "bool")

    def both(self, a: Value, b: Value) -> Value:
        return self.binary("LOGICAL_AND", a, b)

    def either(self, a: Value, b: Value) -> Value:
        return self.binary("LOGICAL_OR", a, b)

    def negate(self, x: Value) -> Value:
        return self.unary("LOGICAL_NOT", x)

    def is_nan(self, x: Value) -> Value:
        return self.compare("NOT_EQUAL", x, x)

    def where(self, condition: Value, a: Value | Number, b: Value | Number) -> Value:
        """``a`` or ``b``, at least one of which is a value and gives the dtype; broadcasts."""
        dtype = a.dtype if isinstance(a, Value) else b.dtype if isinstance(b, Value) else self.dtype
        left, right = self.operand(a, dtype), self.operand(b, dtype)
        shape = np.broadcast_shapes(condition.shape, left.shape, right.shape)
        return self.op("SELECT_V2", [condition, left, right], shape, dtype)

    def gather(self, x: Value, index: Value, axis: int) -> Value:
        """``x`` at int32 positions ``index`` (any rank) of ``axis``; positions are non-negative."""
        shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
        return self.op("GATHER", [x, self.cast(index, "int32")], shape, axis=axis, batchDims=0)

    def pick(self, x: Value, positions: Sequence[int], axis: int) -> Value:
        """``x`` at known positions of ``axis``: as a slice where they follow each other, else gathered."""
        first, count = (positions[0] if len(positions) else 0), len(positions)
        if list(positions) == list(range(first, first + count)):
            return self.narrow(x, axis, first, count)
        return self.gather(x, self.constant(np.asarray(positions), "int32"), axis)

    def narrow(self, x: Value, axis: int, start: int, length: int) -> Value:
        begin, size = [0] * x.rank, list(x.shape)
        begin[axis], size[axis] = start, length
        return self.slice(x, begin, size)

    def strided(self, x: Value, begin: Sequence[int], size: Sequence[int], step: Sequence[int]) -> Value:
        """``size`` elements from ``begin`` on, ``step`` apart, along each axis."""
        if all(s == 1 for s in step):
            return self.slice(x, begin, size)
        end = [b + (n - 1) * s + 1 for b, n, s in zip(begin, size, step, strict=True)]
        bounds = [self.constant(list(numbers), "int32") for numbers in (begin, end, step)]
        masks: dict[str, Any] = {"beginMask": 0, "endMask": 0, "ellipsisMask": 0, "newAxisMask": 0, "shrinkAxisMask": 0}
        return self.op("STRIDED_SLICE", [x, *bounds], size, **masks)

    def pad(self, x: Value, amounts: Sequence[tuple[int, int]], fill: Number = 0) -> Value:
        """``x`` with so many elements of ``fill`` before and after, per axis. XNNPACK takes padding with zeros."""
        if not any(map(any, amounts)):
            return x
        # A kernel takes at most five axes: those that stay as they are become one with their neighbours.
        groups: list[tuple[int, tuple[int, int]]] = []
        for n, amount in zip(x.shape, amounts, strict=True):
            if groups and not any(amount) and not any(groups[-1][1]) and x.rank > 4:
                groups[-1] = (groups[-1][0] * n, (0, 0))
            else:
                groups.append((n, amount))
        merged = self.reshape(x, [n for n, _ in groups])
        table = self.constant([list(amount) for _, amount in groups], "int32")
        shape = [n + sum(amount) for n, amount in groups]
        if fill == 0:
            padded = self.op("PAD", [merged, table], shape)
        else:
            padded = self.op("PADV2", [merged, table, self.constant(fill, x.dtype)], shape)
        return self.reshape(padded, [n + sum(amount) for n, amount in zip(x.shape, amounts, strict=True)])

    def reverse(self, x: Value, axes: Sequence[int]) -> Value:
        # The kernel takes neighbouring axes only.
        for axis in axes:
            if x.shape[axis] > 1:
                x = self.op("REVERSE_V2", [x, self.constant([axis], "int32")], x.shape)
        return x

    def last(self, x: Value, axis: int) -> Value:
        """``x`` with ``axis`` moved to the end."""
        return self.transpose(x, [i for i in range(x.rank) if i != axis] + [axis])

    def from_last(self, x: Value, axis: int) -> Value:
        """The reverse of :meth:`last`."""
        order = list(range(x.rank - 1))
        order.insert(axis, x.rank - 1)
        return self.transpose(x, order)

    def flat(self, x: Value) -> Value:
        return self.reshape(x, [math.prod(x.shape)])

    def expand(self, x: Value, shape: Sequence[int]) -> Value:
        """Broadcast from fewer axes too."""
        return self.broadcast(self.reshape(x, (1,) * (len(shape) - x.rank) + x.shape), shape)

    def matrix(self, x: Value, axis: int, weights: np.ndarray[Any, np.dtype[Any]]) -> Value:
        """``x`` with ``axis`` multiplied by constant ``weights [new, old]``."""
        dtype = x.dtype
        product = self.fully_connected(
            self.last(self.cast(x, "float32"), axis), self.constant(weights, "float32"), None
        )
        return self.cast(self.from_last(product, axis), dtype)
