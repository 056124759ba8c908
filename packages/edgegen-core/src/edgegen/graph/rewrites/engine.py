"""Applies rewrites: a graph is emitted again operator by operator, until no row has anything to say any more.

A row looks at one operator (its operands already rewritten) and at what made them; it returns the value to use instead
of the operator's output, or None. An operator that computes what an earlier one has computed gives way to it. Operators
that nobody needs any more are dropped at the end of each pass, and the graph is checked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from edgegen.graph.builder import GraphBuilder
from edgegen.graph.ir import Graph, Op, Value
from edgegen.graph.validate import validate

_MOST_PASSES = 32
"""More than any graph has needed; rows that undo each other would go on for ever."""


class Rewriter(GraphBuilder):
    """Builds the rewritten graph; tells rows what they need to know of it."""

    def __init__(self, before: Graph) -> None:
        super().__init__(Graph(before.name, dict(before.inputs)))
        self._parameters = {value.parameter: value for value in before.values() if value.parameter}
        self._makers: dict[Value, Op] = {}
        self._users: dict[Value, list[str]] = defaultdict(list)
        for op in before.ops:
            for value in operands(op):
                self._users[value].append(op.kind)
        for value in before.outputs.values():
            self._users[value].append("")

    def made_by(self, value: Value, *kinds: str) -> Op | None:
        """The operator that ``value`` comes from, if it is one of ``kinds``."""
        op = self._makers.get(value)
        return op if op is not None and op.kind in kinds else None

    def used_once(self, value: Value) -> bool:
        """True if only the current operator uses ``value``, so that its producer may change."""
        return len(self._users[value]) == 1

    def used_by(self, value: Value) -> frozenset[str]:
        """The kinds of operators that need ``value``; an empty name for the graph's output."""
        return frozenset(self._users[value])

    def emitted(self, ops: Sequence[Op]) -> None:
        """Take note of operators that are there now."""
        for op in ops:
            self._makers.update(dict.fromkeys(op.outputs, op))

    def stands_for(self, value: Value, replaced: Value) -> None:
        """Take note that the uses of ``replaced`` are those of ``value`` now."""
        self._users[value].extend(self._users[replaced])


Rule = Callable[[Rewriter, Op], Value | None]


@dataclass(frozen=True)
class Rewrite:
    """A row of the table: a name for messages, and its rule."""

    name: str
    rule: Rule


def table() -> tuple[list[Rewrite], Callable[[str], Callable[[Rule], Rule]]]:
    """An empty table, and the decorator that adds a rule to it under a name."""
    rows: list[Rewrite] = []

    def rewrite(name: str) -> Callable[[Rule], Rule]:
        def register(rule: Rule) -> Rule:
            rows.append(Rewrite(name, rule))
            return rule

        return register

    return rows, rewrite


def operands(op: Op) -> tuple[Value, ...]:
    """The inputs that are there."""
    return tuple(value for value in op.inputs if value is not None)


def is_known(value: Value) -> bool:
    """True for a float32 constant or parameter."""
    return (value.constant is not None or value.parameter is not None) and value.dtype == "float32"


def activation(op: Op) -> str:
    """Fused activation function of an operator; ``NONE`` for none."""
    return str(op.options.get("fusedActivationFunction", "NONE"))


def apply(graph: Graph, rewrites: Sequence[Rewrite]) -> Graph:
    """The graph after all rewrites, and after all of its composites' bodies are rewritten too.

    Raises:
        AssertionError: a row broke the graph, names the row; or rows undo each other, names some of them.
    """
    for _ in range(_MOST_PASSES):
        graph, applied = _pass(graph, rewrites)
        validate(graph, f"rewrites ({', '.join(sorted(applied)) or 'none'})")
        if not applied:
            break
    else:
        raise AssertionError(f"rewrites of graph {graph.name!r} come to no end: {', '.join(sorted(applied))}")
    _own_outputs(graph)
    for op in graph.ops:
        if op.body is not None:
            op.body = apply(op.body, rewrites)
    validate(graph, "giving outputs operators of their own", final=True)
    return graph


def _own_outputs(graph: Graph) -> None:
    """Copy what is an output and an input, a constant or another output as well.

    LiteRT wants each output computed by an operator, and each only once. Last of all, as rewrites take copies for
    needless.
    """
    computed = {value for op in graph.ops for value in op.outputs}
    taken: set[Value] = set()
    builder = GraphBuilder(graph)
    for name, output in graph.outputs.items():
        if output in computed and output not in taken:
            taken.add(output)
            continue
        shape = builder.constant(output.shape, "int32")
        copy = builder.op("RESHAPE", [output, shape], output.shape, newShape=list(output.shape))
        graph.outputs[name] = copy


def _pass(graph: Graph, rewrites: Sequence[Rewrite]) -> tuple[Graph, set[str]]:
    """The graph after one pass, and the names of the rows that applied."""
    g = Rewriter(graph)
    result = g.graph
    mapped: dict[Value, Value] = {}
    computed: dict[Hashable, Value] = {}
    applied: set[str] = set()
    for op in graph.ops:
        inputs = tuple(None if v is None else mapped.get(v, v) for v in op.inputs)
        current = Op(op.kind, inputs, op.outputs, op.options, op.body, op.origin)
        g.origin = op.origin
        count = len(result.ops)
        replacement = computed.get(_expression(current))
        if replacement is None:
            replacement, row = _first_match(g, current, rewrites)
            applied.update(row)
        if replacement is None:
            result.ops.append(current)
            if len(op.outputs) == 1:
                computed[_expression(current)] = op.output
        else:
            mapped[op.output] = replacement
            g.stands_for(replacement, op.output)
        g.emitted(result.ops[count:])
    result.outputs = {name: mapped.get(v, v) for name, v in graph.outputs.items()}
    _drop_dead(result)
    defined = {value for op in result.ops for value in op.outputs}
    named = {path: mapped.get(v, v) for path, v in graph.debug_outputs.items()}
    result.debug_outputs = {path: value for path, value in named.items() if value in defined}
    return result, applied


def _expression(op: Op) -> Hashable:
    """Operators with equal expressions compute the same; composites are taken to be all different."""
    return op if op.body else (op.kind, op.inputs, repr(op.options))


def _first_match(g: Rewriter, op: Op, rewrites: Sequence[Rewrite]) -> tuple[Value | None, list[str]]:
    for row in rewrites:
        replacement = row.rule(g, op)
        if replacement is None:
            continue
        assert (replacement.shape, replacement.dtype) == (op.output.shape, op.output.dtype), (
            f"rewrite {row.name!r} turned {op.output} into {replacement}"
        )
        return replacement, [row.name]
    return None, []


def _drop_dead(graph: Graph) -> None:
    needed = set(graph.outputs.values())
    alive: list[Op] = []
    for op in reversed(graph.ops):
        if needed.intersection(op.outputs):
            alive.append(op)
            needed.update(operands(op))
    graph.ops = alive[::-1]
