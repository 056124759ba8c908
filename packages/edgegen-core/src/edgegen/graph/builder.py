"""The graph builder: one method per LiteRT operator, which appends it and infers the shape of its output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.graph.folded_parameters import EVALUATE, composed, folded_name, permuted, permuted_shape
from edgegen.graph.ir import PERMUTE, Array, FoldedParameter, Graph, Op, Value, dtype_of, numpy_dtype

Shape = tuple[int, ...]


class GraphBuilder:
    """Builds one graph. Methods return the new value; options are LiteRT's own, with its defaults.

    Constants are folded where that takes no more than numpy: reshapes, transposes and casts of constants.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.origin = ""
        self._parameters: dict[str, Value] = {}
        self._constants: dict[tuple[str, Shape, bytes], Value] = {}

    # -- leaves -------------------------------------------------------------------------------------------------

    def input(self, name: str, shape: Sequence[int], dtype: str) -> Value:
        value = Value(name, tuple(shape), dtype)
        self.graph.inputs[name] = value
        return value

    def parameter(self, name: str, shape: Sequence[int]) -> Value:
        """The one value of this graph that stands for a parameter, however often it is used."""
        if name not in self._parameters:
            self._parameters[name] = Value(name, tuple(shape), "float32", parameter=name)
        return self._parameters[name]

    def folded(self, kind: str, operands: Sequence[Value]) -> Value:
        """The result of an elementwise operator on constants and parameters: a constant if all are, or a parameter."""
        if all(operand.constant is not None for operand in operands):
            return self.constant(EVALUATE[kind](*(operand.constant for operand in operands)), "float32")
        shape = np.broadcast_shapes(*(operand.shape for operand in operands))
        return self._folded(FoldedParameter(kind, tuple(operands)), shape)

    def _folded(self, folded: FoldedParameter, shape: Shape) -> Value:
        name = folded_name(folded)
        if name not in self._parameters:
            self._parameters[name] = Value(name, shape, "float32", parameter=name, folded=folded)
        return self._parameters[name]

    def constant(self, array: npt.ArrayLike, dtype: str | None = None) -> Value:
        """A constant; equal ones are one value."""
        contents = np.asarray(array, dtype=None if dtype is None else numpy_dtype(dtype))
        key = (dtype_of(contents), contents.shape, contents.tobytes())
        if key not in self._constants:
            name = f"const_{len(self._constants)}"
            self._constants[key] = Value(name, contents.shape, key[0], constant=contents)
        return self._constants[key]

    # -- the general form ---------------------------------------------------------------------------------------

    def op(
        self,
        kind: str,
        inputs: Sequence[Value | None],
        shape: Sequence[int],
        dtype: str | None = None,
        **options: Any,
    ) -> Value:
        """An operator with one output; its dtype is the first input's unless given."""
        if dtype is None:
            first = inputs[0]
            assert first is not None
            dtype = first.dtype
        output = Value(f"{kind.lower()}_{len(self.graph.ops)}", tuple(shape), dtype)
        self.graph.ops.append(Op(kind, tuple(inputs), (output,), options, origin=self.origin))
        return output

    def composite(
        self, name: str, inputs: Sequence[Value], body: Graph, attributes: dict[str, Any]
    ) -> tuple[Value, ...]:
        """A named boundary with ``body`` as its decomposition; gives what the body gives."""
        outputs = tuple(
            Value(f"{name}_{len(self.graph.ops)}", value.shape, value.dtype) for value in body.outputs.values()
        )
        options = {"name": name, "attributes": attributes}
        self.graph.ops.append(Op("STABLEHLO_COMPOSITE", tuple(inputs), outputs, options, body=body, origin=self.origin))
        return outputs

    # -- elementwise --------------------------------------------------------------------------------------------

    def unary(self, kind: str, x: Value, **options: Any) -> Value:
        return self.op(kind, [x], x.shape, **options)

    def binary(self, kind: str, a: Value, b: Value, dtype: str | None = None, **options: Any) -> Value:
        """Broadcasts as numpy does; both operands must have one dtype."""
        if a.dtype != b.dtype:
            raise ValueError(f"{kind} of {a.dtype} and {b.dtype}: cast one of them first")
        return self.op(kind, [a, b], np.broadcast_shapes(a.shape, b.shape), dtype or a.dtype, **options)

    def cast(self, x: Value, dtype: str) -> Value:
        if x.dtype == dtype:
            return x
        if x.constant is not None:
            return self.constant(x.constant.astype(numpy_dtype(dtype)))
        return self.op("CAST", [x], x.shape, dtype, inDataType=x.dtype, outDataType=dtype)

    # -- shape --------------------------------------------------------------------------------------------------

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        shape = tuple(shape)
        if shape == x.shape:
            return x
        if math.prod(shape) != math.prod(x.shape):
            raise ValueError(f"cannot reshape {x} to {shape}")
        if x.constant is not None:
            return self.constant(x.constant.reshape(shape))
        return self.op("RESHAPE", [x, self.constant(shape, "int32")], shape, newShape=list(shape))

    def transpose(self, x: Value, order: Sequence[int]) -> Value:
        order = tuple(order)
        if order == tuple(range(x.rank)):
            return x
        if x.constant is not None:
            return self.constant(np.ascontiguousarray(x.constant.transpose(order)))
        return self.op("TRANSPOSE", [x, self.constant(order, "int32")], [x.shape[i] for i in order])

    def permuted(self, x: Value, order: Sequence[int]) -> Value:
        """``x`` with its axes in ``order``; -1 inserts an axis of length 1, and axes of length 1 may be left out.

        Constants and parameters are folded; other values take a transpose and a reshape.
        """
        order, shape = tuple(order), permuted_shape(x.shape, order)
        if order == tuple(range(x.rank)):
            return x
        if x.constant is not None:
            return self.constant(np.ascontiguousarray(permuted(x.constant, order)))
        if x.parameter is None:
            kept = [axis for axis in order if axis >= 0]
            left = [axis for axis in range(x.rank) if axis not in kept]
            return self.reshape(self.transpose(x, [*kept, *left]), shape)
        base = x.folded
        if base is not None and base.kind == PERMUTE:
            return self.permuted(base.operands[0], composed(base.order, order))
        return self._folded(FoldedParameter(PERMUTE, (x,), order), shape)

    def slice(self, x: Value, begin: Sequence[int], size: Sequence[int]) -> Value:
        if tuple(size) == x.shape:
            return x
        bounds = [self.constant(begin, "int32"), self.constant(size, "int32")]
        return self.op("SLICE", [x, *bounds], size)

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.op("CONCATENATION", parts, shape, axis=axis, fusedActivationFunction="NONE")

    def broadcast(self, x: Value, shape: Sequence[int]) -> Value:
        if tuple(shape) == x.shape:
            return x
        return self.op("BROADCAST_TO", [x, self.constant(tuple(shape), "int32")], shape)

    # -- reductions and products --------------------------------------------------------------------------------

    def reduce(self, kind: str, x: Value, axes: Sequence[int], keep: bool) -> Value:
        """``MEAN``, ``SUM``, ``REDUCE_MAX``, ... over ``axes`` (non-negative)."""
        shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes]
        return self.op(kind, [x, self.constant(tuple(axes), "int32")], shape, keepDims=keep)

    def fully_connected(self, x: Value, weight: Value, bias: Value | None = None) -> Value:
        """``x [..., K] @ weight [N, K].T + bias [N] -> [..., N]``."""
        shape = (*x.shape[:-1], weight.shape[0])
        return self.op("FULLY_CONNECTED", [x, weight, bias], shape, keepNumDims=True)

    def batch_matmul(self, a: Value, b: Value, adj_x: bool = False, adj_y: bool = False) -> Value:
        """``a [..., M, K] @ b [..., K, N]``; ``adj_x``/``adj_y`` take an operand with its last two axes swapped."""
        rows = a.shape[-1] if adj_x else a.shape[-2]
        columns = b.shape[-2] if adj_y else b.shape[-1]
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return self.op("BATCH_MATMUL", [a, b], (*batch, rows, columns), adjX=adj_x, adjY=adj_y)

    def embedding(self, ids: Value, table: Value) -> Value:
        """Rows of ``table [V, D]`` for int32 ``ids [...] -> [..., D]``."""
        flat = self.reshape(self.cast(ids, "int32"), [math.prod(ids.shape)])
        rows = self.op("EMBEDDING_LOOKUP", [flat, table], [flat.shape[0], table.shape[1]], table.dtype)
        return self.reshape(rows, (*ids.shape, table.shape[1]))


def is_splat(value: Value, number: float) -> bool:
    """True for a constant all of whose elements are ``number``."""
    contents: Array | None = value.constant
    return contents is not None and bool(np.all(contents == number))
