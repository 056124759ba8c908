"""Weight-only quantization: a DEQUANTIZE before each use, which XNNPACK folds into float32 weights at load time."""

from __future__ import annotations

from collections.abc import Mapping

from edgegen.graph import Graph, Op, Value
from edgegen.weights.storage import Storage


def insert_dequantize(graph: Graph, storages: Mapping[str, Storage]) -> Graph:
    """``graph`` with a DEQUANTIZE before each use of a parameter stored as float16 or for weight-only quantization.

    Lookups need none where their rows come out as float32; of float16 rows, only those looked up are dequantized.
    Graphs without such parameters come back as they are.
    """
    if not any(storage.dtype == "float16" or storage.weight_only for storage in storages.values()):
        return graph
    dequantized: dict[Value, Value] = {}
    ops: list[Op] = []

    def dequantize(value: Value | None) -> Value | None:
        if value is None or not (_is_float16(value, storages) or _is_weight_only(value, storages)):
            return value
        if value not in dequantized:
            dequantized[value] = Value(f"{value.name}_f32", value.shape, "float32")
            ops.append(Op("DEQUANTIZE", (value,), (dequantized[value],)))
        return dequantized[value]

    for op in graph.ops:
        table = op.inputs[1] if op.kind == "EMBEDDING_LOOKUP" else None
        if table is not None and _is_float16(table, storages):
            rows = Value(f"{op.output.name}_f16", op.output.shape, "float16")
            ops.append(Op(op.kind, op.inputs, (rows,), op.options, origin=op.origin))
            ops.append(Op("DEQUANTIZE", (rows,), op.outputs))
        elif table is not None:
            ops.append(op)
        else:
            inputs = tuple(dequantize(value) for value in op.inputs)
            ops.append(Op(op.kind, inputs, op.outputs, op.options, op.body, op.origin))
    return Graph(graph.name, graph.inputs, graph.outputs, ops, graph.debug_outputs)


def _is_float16(value: Value, storages: Mapping[str, Storage]) -> bool:
    return value.parameter is not None and storages[value.parameter].dtype == "float16"


def _is_weight_only(value: Value, storages: Mapping[str, Storage]) -> bool:
    return value.parameter is not None and storages[value.parameter].weight_only
