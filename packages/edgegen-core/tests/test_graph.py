"""The graph: building, validating, rewriting."""

from __future__ import annotations

import numpy as np
import pytest

from edgegen.graph import REWRITES, Graph, GraphBuilder, Op, Value, optimize, validate


def built(build) -> Graph:
    """A graph with input ``x [2, 3, 4]`` whose output is what ``build(builder, x)`` gives."""
    graph = Graph("test")
    builder = GraphBuilder(graph)
    graph.outputs["y"] = build(builder, builder.input("x", (2, 3, 4), "float32"))
    return graph


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph.ops]


def test_shapes_follow_from_operands():
    graph = built(lambda g, x: g.fully_connected(g.reshape(x, (6, 4)), g.parameter("w", (5, 4))))
    assert graph.outputs["y"].shape == (6, 5)


def test_equal_constants_are_one_value():
    g = GraphBuilder(Graph("test"))
    assert g.constant([1, 2], "int32") is g.constant(np.array([1, 2], np.int32))
    assert g.constant([1, 2], "int32") is not g.constant([1, 2], "int64")
    assert g.constant([1], "int32") is not g.constant(1, "int32")


def test_shape_changes_of_constants_are_folded():
    graph = built(
        lambda g, x: g.binary("ADD", x, g.transpose(g.reshape(g.constant(np.ones(12, "f4")), (4, 3)), (1, 0)))
    )
    assert kinds(graph) == ["ADD"]


def test_operands_of_different_types_are_refused():
    g = GraphBuilder(Graph("test"))
    with pytest.raises(ValueError, match="cast one of them"):
        g.binary("ADD", g.constant([1.0], "float32"), g.constant([1], "int32"))


# -- validation ---------------------------------------------------------------------------------------------------


def test_using_a_value_before_it_is_defined_is_found():
    stray = Value("stray", (2,), "float32")
    graph = Graph("g", ops=[Op("NEG", (stray,), (Value("y", (2,), "float32"),))])
    with pytest.raises(AssertionError, match=r"'g' is invalid after lowering.*stray"):
        validate(graph, "lowering")


def test_defining_a_value_twice_is_found():
    x, y = Value("x", (2,), "float32"), Value("y", (2,), "float32")
    graph = Graph("g", {"x": x}, {"y": y}, [Op("NEG", (x,), (y,)), Op("ABS", (x,), (y,))])
    with pytest.raises(AssertionError, match="defined twice"):
        validate(graph, "lowering")


def test_an_undefined_output_is_found():
    graph = Graph("g", outputs={"y": Value("y", (2,), "float32")})
    with pytest.raises(AssertionError, match="output y is not defined"):
        validate(graph, "lowering")


def test_a_constant_that_lies_about_its_shape_is_found():
    value = Value("c", (3,), "float32", constant=np.zeros(2, np.float32))
    with pytest.raises(AssertionError, match="constant c"):
        validate(Graph("g", outputs={"y": value}), "lowering")


def test_an_unknown_dtype_is_found():
    with pytest.raises(AssertionError, match="unknown dtype"):
        validate(Graph("g", {"x": Value("x", (1,), "complex64")}), "lowering")


# -- rewrites: before and after -----------------------------------------------------------------------------------

BEFORE_AFTER = {
    "reshape of reshape": (
        lambda g, x: g.reshape(g.reshape(x, (6, 4)), (24,)),
        ["RESHAPE", "RESHAPE"],
        ["RESHAPE"],
    ),
    "transpose of transpose": (
        lambda g, x: g.transpose(g.transpose(x, (1, 0, 2)), (0, 2, 1)),
        ["TRANSPOSE", "TRANSPOSE"],
        ["TRANSPOSE"],
    ),
    "transpose that moves only axes of length 1": (
        lambda g, x: g.transpose(g.reduce("SUM", x, (1,), keep=True), (1, 0, 2)),
        ["SUM", "TRANSPOSE"],
        ["SUM", "RESHAPE"],
    ),
    "transposed operand of a matrix product": (
        lambda g, x: g.batch_matmul(x, g.transpose(x, (0, 2, 1))),
        ["TRANSPOSE", "BATCH_MATMUL"],
        ["BATCH_MATMUL"],
    ),
    "multiplication by one, addition of zero": (
        lambda g, x: g.unary(
            "NEG", g.binary("ADD", g.binary("MUL", x, g.constant(1.0, "float32")), g.constant(0.0, "float32"))
        ),
        ["MUL", "ADD", "NEG"],
        ["NEG"],
    ),
}


def test_every_rewrite_has_a_case():
    assert {row.name for row in REWRITES} == set(BEFORE_AFTER)


@pytest.mark.parametrize("name", BEFORE_AFTER)
def test_rewrite(name):
    build, before, after = BEFORE_AFTER[name]
    graph = built(build)
    assert kinds(graph) == before
    result = optimize(graph)
    assert kinds(result) == after
    assert result.outputs["y"].shape == graph.outputs["y"].shape


def test_a_transposed_product_keeps_its_meaning():
    graph = optimize(built(lambda g, x: g.batch_matmul(g.transpose(x, (0, 2, 1)), x)))
    assert graph.ops[0].options == {"adjX": True, "adjY": False}


def test_neutral_elements_that_broadcast_stay():
    graph = optimize(built(lambda g, x: g.binary("ADD", x, g.constant(np.zeros((5, 1, 1, 1), "f4")))))
    assert kinds(graph) == ["ADD"]


def test_operators_that_nobody_needs_are_dropped():
    def build(g, x):
        g.unary("EXP", x)
        return g.unary("NEG", x)

    assert kinds(optimize(built(build))) == ["NEG"]


def test_what_is_computed_twice_is_computed_once():
    graph = optimize(built(lambda g, x: g.binary("ADD", g.unary("NEG", x), g.unary("NEG", x))))
    assert kinds(graph) == ["NEG", "ADD"]
    graph = optimize(built(lambda g, x: g.binary("ADD", g.unary("NEG", x), g.unary("ABS", x))))
    assert kinds(graph) == ["NEG", "ABS", "ADD"]


def test_a_rewrite_that_changes_a_shape_is_named():
    from edgegen.graph import Rewrite

    broken = Rewrite("broken row", lambda g, op, producers: g.reshape(op.inputs[0], (24,)))
    with pytest.raises(AssertionError, match="broken row"):
        optimize(built(lambda g, x: g.unary("NEG", x)), [broken])
