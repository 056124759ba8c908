"""Offsets of blocks: LiteRT's 4-bit blocks have a positive scale and no offset, so the graph adds what they lack.

A row of weights ``w = scale * q + offset``, with a scale and an offset for each block of neighbours, times ``x`` is
``(scale * q) @ x + offset @ sums``, where ``sums`` are the sums of ``x`` over the same blocks. The first product is
LiteRT's own; the second is a matrix product with one column for each block. Nothing is rounded on the way.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgegen.graph import Graph, GraphBuilder, Op, Value
from edgegen.weights.storage import Storage

_SEPARATOR, _PARTS = "#", ("scales", "offsets")


def part_name(parameter: str, part: str) -> str:
    """Name of a value for an array that a parameter has beside its data."""
    return f"{parameter}{_SEPARATOR}{part}"


def part_of(name: str) -> tuple[str, str]:
    """The parameter and its part: the reverse of :func:`part_name`; a parameter's own name is its ``data``."""
    parameter, _, part = name.rpartition(_SEPARATOR)
    return (parameter, part) if part in _PARTS and parameter else (name, "data")


def with_offsets(storages: Mapping[str, Storage]) -> dict[str, Storage]:
    """``storages``, and those of the offsets as if they were parameters of their own."""
    offsets = {part_name(name, "offsets"): Storage(s.offsets) for name, s in storages.items() if s.offsets is not None}
    return {**storages, **offsets}


def expand_offsets(graph: Graph, storages: Mapping[str, Storage]) -> Graph:
    """``graph`` with the offsets added after each use of a parameter whose blocks have them.

    Graphs without such parameters come back as they are.
    """
    if not any(_block(value, storages) for op in graph.ops for value in op.inputs):
        return graph
    expanded = Graph(graph.name, graph.inputs, graph.outputs, debug_outputs=graph.debug_outputs)
    builder = GraphBuilder(expanded)
    sums: dict[tuple[Value, int], Value] = {}
    for op in graph.ops:
        block = _block(op.inputs[1], storages) if len(op.inputs) > 1 else None
        if block is None:
            expanded.ops.append(op)
            continue
        builder.origin = op.origin
        data, table = op.inputs[:2]
        assert data is not None
        assert table is not None
        assert table.parameter is not None
        rows, columns = table.shape
        offsets = builder.parameter(part_name(table.parameter, "offsets"), (rows, columns // block))
        options = {**op.options, "fusedActivationFunction": "NONE"} if op.kind == "FULLY_CONNECTED" else op.options
        scaled = builder.op(op.kind, op.inputs, op.output.shape, op.output.dtype, **options)
        if op.kind == "FULLY_CONNECTED":
            if (data, block) not in sums:
                blocks = builder.reshape(data, (*data.shape[:-1], columns // block, block))
                sums[data, block] = builder.reduce("SUM", blocks, [blocks.rank - 1], keep=False)
            added = builder.fully_connected(sums[data, block], offsets)
            last = {"fusedActivationFunction": op.options.get("fusedActivationFunction", "NONE")}
            expanded.ops.append(Op("ADD", (scaled, added), op.outputs, last, origin=op.origin))
        else:
            count = op.output.shape[0]
            added = builder.op(op.kind, [data, offsets], (count, columns // block), "float32")
            blocks = builder.reshape(scaled, (count, columns // block, block))
            total = builder.binary("ADD", blocks, builder.reshape(added, (count, columns // block, 1)))
            shape = builder.constant(op.output.shape, "int32")
            options = {"newShape": list(op.output.shape)}
            expanded.ops.append(Op("RESHAPE", (total, shape), op.outputs, options, origin=op.origin))
    return expanded


def _block(value: Value | None, storages: Mapping[str, Storage]) -> int | None:
    """Length of the blocks of a parameter that has offsets."""
    storage = storages.get(value.parameter) if value is not None and value.parameter is not None else None
    return storage.block if storage is not None and storage.offsets is not None else None
