"""Rewrites: a graph is emitted again operator by operator, and each row may answer with something simpler.

A row looks at one operator (its operands already rewritten) and at what produced them; it returns the value to use
instead of the operator's output, or None. An operator that computes what an earlier one has computed gives way to it.
Operators that nobody needs any more are dropped at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from edgegen.graph.builder import GraphBuilder, is_splat
from edgegen.graph.ir import Graph, Op, Value
from edgegen.graph.validate import validate

Producers = Mapping[Value, Op]
Rule = Callable[[GraphBuilder, Op, Producers], Value | None]


@dataclass(frozen=True)
class Rewrite:
    """A row of the table: a name for messages, and its rule."""

    name: str
    rule: Rule


REWRITES: list[Rewrite] = []
"""The rows that :func:`optimize` applies, first match wins."""


def rewrite(name: str) -> Callable[[Rule], Rule]:
    """Add a rule to :data:`REWRITES` under ``name``."""

    def register(rule: Rule) -> Rule:
        REWRITES.append(Rewrite(name, rule))
        return rule

    return register


def _operands(op: Op) -> tuple[Value, ...]:
    return tuple(value for value in op.inputs if value is not None)


def _produced_by(kind: str, value: Value, producers: Producers) -> Op | None:
    op = producers.get(value)
    return op if op is not None and op.kind == kind else None


def _order(transpose: Op) -> tuple[int, ...]:
    order = _operands(transpose)[1].constant
    assert order is not None
    return tuple(int(i) for i in order)


@rewrite("reshape of reshape")
def _reshape_of_reshape(g: GraphBuilder, op: Op, producers: Producers) -> Value | None:
    if op.kind != "RESHAPE":
        return None
    first = _produced_by("RESHAPE", _operands(op)[0], producers)
    return g.reshape(_operands(first)[0], op.output.shape) if first else None


@rewrite("transpose of transpose")
def _transpose_of_transpose(g: GraphBuilder, op: Op, producers: Producers) -> Value | None:
    if op.kind != "TRANSPOSE":
        return None
    first = _produced_by("TRANSPOSE", _operands(op)[0], producers)
    if first is None:
        return None
    inner = _order(first)
    return g.transpose(_operands(first)[0], [inner[i] for i in _order(op)])


@rewrite("transpose that moves only axes of length 1")
def _transpose_as_reshape(g: GraphBuilder, op: Op, producers: Producers) -> Value | None:
    """A reshape copies straight through and merges with its neighbours; a transpose does neither."""
    if op.kind != "TRANSPOSE":
        return None
    x = _operands(op)[0]
    moved = [axis for axis in _order(op) if x.shape[axis] != 1]
    return g.reshape(x, op.output.shape) if moved == sorted(moved) else None


@rewrite("transposed operand of a matrix product")
def _transpose_into_matmul(g: GraphBuilder, op: Op, producers: Producers) -> Value | None:
    if op.kind != "BATCH_MATMUL":
        return None
    sides, flags = list(_operands(op)), [op.options["adjX"], op.options["adjY"]]
    for side, value in enumerate(sides):
        first = _produced_by("TRANSPOSE", value, producers)
        axes = list(range(value.rank))
        if first is not None and list(_order(first)) == [*axes[:-2], axes[-1], axes[-2]]:
            sides[side], flags[side] = _operands(first)[0], not flags[side]
    if sides == list(_operands(op)):
        return None
    return g.batch_matmul(sides[0], sides[1], adj_x=flags[0], adj_y=flags[1])


@rewrite("multiplication by one, addition of zero")
def _neutral_element(g: GraphBuilder, op: Op, producers: Producers) -> Value | None:
    neutral = {"MUL": 1.0, "ADD": 0.0}.get(op.kind)
    if neutral is None:
        return None
    a, b = _operands(op)
    for kept, other in ((a, b), (b, a)):
        if is_splat(other, neutral) and kept.shape == op.output.shape:
            return kept
    return None


def optimize(graph: Graph, rewrites: Sequence[Rewrite] | None = None) -> Graph:
    """The graph after all rewrites, and after all of its composites' bodies are rewritten too.

    Raises:
        AssertionError: a row broke the graph; names the row.
    """
    rewrites = REWRITES if rewrites is None else rewrites
    result = Graph(graph.name, dict(graph.inputs))
    builder = GraphBuilder(result)
    mapped: dict[Value, Value] = {}
    producers: dict[Value, Op] = {}
    computed: dict[Hashable, Value] = {}
    for op in graph.ops:
        inputs = tuple(None if v is None else mapped.get(v, v) for v in op.inputs)
        body = op.body and optimize(op.body, rewrites)
        current = Op(op.kind, inputs, op.outputs, op.options, body, op.origin)
        builder.origin = op.origin
        emitted = len(result.ops)
        replacement = computed.get(_expression(current)) or _first_match(builder, current, producers, rewrites)
        if replacement is None:
            result.ops.append(current)
            if len(op.outputs) == 1:
                computed[_expression(current)] = op.output
        else:
            mapped[op.output] = replacement
        for new in result.ops[emitted:]:
            producers.update(dict.fromkeys(new.outputs, new))
    result.outputs = {name: mapped.get(v, v) for name, v in graph.outputs.items()}
    _drop_dead(result)
    validate(result, "rewrites")
    return result


def _expression(op: Op) -> Hashable:
    """Operators with equal expressions compute the same; composites are taken to be all different."""
    return op if op.body else (op.kind, op.inputs, repr(op.options))


def _first_match(builder: GraphBuilder, op: Op, producers: Producers, rewrites: Sequence[Rewrite]) -> Value | None:
    for row in rewrites:
        replacement = row.rule(builder, op, producers)
        if replacement is None:
            continue
        assert (replacement.shape, replacement.dtype) == (op.output.shape, op.output.dtype), (
            f"rewrite {row.name!r} turned {op.output} into {replacement}"
        )
        return replacement
    return None


def _drop_dead(graph: Graph) -> None:
    needed = set(graph.outputs.values())
    alive: list[Op] = []
    for op in reversed(graph.ops):
        if needed.intersection(op.outputs):
            alive.append(op)
            needed.update(_operands(op))
    graph.ops = alive[::-1]
