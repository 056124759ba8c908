"""Checks a graph's own rules; runs after lowering and after every rewrite, so that a broken pass is named at once."""

from __future__ import annotations

from edgegen.graph.ir import DTYPES, Graph


def validate(graph: Graph, after: str, *, final: bool = False) -> None:
    """Raise AssertionError, naming the pass ``after`` which the graph is broken.

    The rules: every operand is an input, a constant, a parameter or defined by an earlier operator; nothing is
    defined twice; shapes are positive and dtypes known; constants have the shape they claim; outputs are defined. Of a
    ``final`` graph besides: each output is computed by an operator, and none is two.
    """
    defined = set(graph.inputs.values())

    def fail(reason: str) -> None:
        raise AssertionError(f"graph {graph.name!r} is invalid after {after}: {reason}")

    for value in graph.values():
        if value.dtype not in DTYPES:
            fail(f"{value} has an unknown dtype")
        if any(not isinstance(n, int) or n < 0 for n in value.shape):
            fail(f"{value} has a bad shape")
        if value.constant is not None and (value.constant.shape, value.constant.dtype) != (
            value.shape,
            DTYPES[value.dtype],
        ):
            fail(f"constant {value} holds {value.constant.dtype}{list(value.constant.shape)}")
        if value.constant is not None or value.parameter is not None:
            defined.add(value)
    for op in graph.ops:
        for operand in op.inputs:
            if operand is not None and operand not in defined:
                fail(f"{op} uses {operand.name}, which nothing before it defines")
        for output in op.outputs:
            if output in defined:
                fail(f"{output} is defined twice")
            defined.add(output)
        if op.body is not None:
            validate(op.body, after, final=final)
    for name, output in graph.outputs.items():
        if output not in defined:
            fail(f"output {name} is not defined")
    if final:
        computed = {value for op in graph.ops for value in op.outputs}
        for name, output in graph.outputs.items():
            if output not in computed:
                fail(f"output {name} is computed by no operator, or is another output too")
            computed.remove(output)
