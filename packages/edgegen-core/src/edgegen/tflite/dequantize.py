"""Weights that become float32 when a model is loaded: a DEQUANTIZE goes before each use, and XNNPACK folds it away."""

from __future__ import annotations

from collections.abc import Mapping

from edgegen.graph import Graph, Op, Value
from edgegen.weights.storage import Storage


def expand_widened(graph: Graph, storages: Mapping[str, Storage]) -> Graph:
    """``graph`` with a DEQUANTIZE before each use of a parameter that is stored as float16, or widened.

    Lookups need none where their rows come out as float32; of float16 rows, only those looked up are dequantized.
    Graphs without such parameters come back as they are.
    """
    if not any(storage.dtype == "float16" or storage.weight_only for storage in storages.values()):
        return graph
    widened: dict[Value, Value] = {}
    ops: list[Op] = []

    def widen(value: Value | None) -> Value | None:
        if value is None or not (_is_float16(value, storages) or _is_widened(value, storages)):
            return value
        if value not in widened:
            widened[value] = Value(f"{value.name}_f32", value.shape, "float32")
            ops.append(Op("DEQUANTIZE", (value,), (widened[value],)))
        return widened[value]

    for op in graph.ops:
        table = op.inputs[1] if op.kind == "EMBEDDING_LOOKUP" else None
        if table is not None and _is_float16(table, storages):
            rows = Value(f"{op.output.name}_f16", op.output.shape, "float16")
            ops.append(Op(op.kind, op.inputs, (rows,), op.options, origin=op.origin))
            ops.append(Op("DEQUANTIZE", (rows,), op.outputs))
        elif table is not None:
            ops.append(op)
        else:
            inputs = tuple(widen(value) for value in op.inputs)
            ops.append(Op(op.kind, inputs, op.outputs, op.options, op.body, op.origin))
    return Graph(graph.name, graph.inputs, graph.outputs, ops, graph.debug_outputs)


def _is_float16(value: Value, storages: Mapping[str, Storage]) -> bool:
    return value.parameter is not None and storages[value.parameter].dtype == "float16"


def _is_widened(value: Value, storages: Mapping[str, Storage]) -> bool:
    return value.parameter is not None and storages[value.parameter].weight_only
