"""The graph: building, validating, rewriting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgegen.graph import REWRITES, Graph, GraphBuilder, Op, Program, Value, optimize, validate
from edgegen.litert.session import Session
from edgegen.plugins import load, registry
from edgegen.quantization.assign import plan_parameters
from edgegen.tflite.writer import write_model
from edgegen.weights.tensors import LazyTensor


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


def conv(g, x, bias):
    """``x [2, 3, 4]`` as a picture of 3 by 4, to 5 channels."""
    picture, weight = g.reshape(x, (2, 3, 4, 1)), g.parameter("w", (5, 1, 1, 1))
    options = {"padding": "VALID", "fusedActivationFunction": "NONE", "strideH": 1, "strideW": 1}
    return g.op("CONV_2D", [picture, weight, bias], (2, 3, 4, 5), **options)


def number(g, x: float):
    return g.constant(x, "float32")


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
    "elementwise operator after a transpose": (
        lambda g, x: g.transpose(
            g.binary("MUL", g.unary("EXP", g.transpose(x, (0, 2, 1))), g.parameter("p", (4, 1))), (0, 2, 1)
        ),
        ["TRANSPOSE", "EXP", "MUL", "TRANSPOSE"],
        ["EXP", "MUL"],
    ),
    "reduction of a transposed tensor": (
        lambda g, x: g.reduce("SUM", g.transpose(x, (0, 2, 1)), (2,), keep=False),
        ["TRANSPOSE", "SUM"],
        ["SUM"],
    ),
    "concatenation of transposed tensors": (
        lambda g, x: g.transpose(g.concat([g.transpose(x, (0, 2, 1)), g.transpose(x, (0, 2, 1))], 1), (0, 2, 1)),
        ["TRANSPOSE", "TRANSPOSE", "CONCATENATION", "TRANSPOSE"],
        ["CONCATENATION"],
    ),
    "multiplication by one, addition of zero": (
        lambda g, x: g.unary("NEG", g.binary("ADD", g.binary("MUL", x, number(g, 1.0)), number(g, 0.0))),
        ["MUL", "ADD", "NEG"],
        ["NEG"],
    ),
    "arithmetic on constants and parameters": (
        lambda g, x: g.binary("ADD", x, g.unary("RSQRT", g.binary("ADD", g.parameter("p", (4,)), number(g, 0.1)))),
        ["ADD", "RSQRT", "ADD"],
        ["ADD"],
    ),
    "shape of a parameter": (
        lambda g, x: g.binary("MUL", x, g.reshape(g.parameter("p", (3,)), (3, 1))),
        ["RESHAPE", "MUL"],
        ["MUL"],
    ),
    "clamp that has a name": (
        lambda g, x: g.binary("MINIMUM", g.binary("MAXIMUM", x, number(g, -1.0)), number(g, 1.0)),
        ["MAXIMUM", "MINIMUM"],
        ["RELU_N1_TO_1"],
    ),
    "activation after an operator that can do it": (
        lambda g, x: g.unary("RELU", g.binary("ADD", x, x)),
        ["ADD", "RELU"],
        ["ADD"],
    ),
    "product with a matrix of weights": (
        lambda g, x: g.batch_matmul(x, g.transpose(g.parameter("w", (5, 4)), (1, 0))),
        ["TRANSPOSE", "BATCH_MATMUL"],
        ["FULLY_CONNECTED"],
    ),
    "addition to a product": (
        lambda g, x: g.binary("ADD", g.fully_connected(x, g.parameter("w", (5, 4))), g.parameter("b", (5,))),
        ["FULLY_CONNECTED", "ADD"],
        ["FULLY_CONNECTED"],
    ),
    "multiplication of a convolution": (
        lambda g, x: g.binary("MUL", conv(g, x, g.parameter("b", (5,))), g.parameter("s", (1, 1, 5))),
        ["RESHAPE", "CONV_2D", "MUL"],
        ["RESHAPE", "CONV_2D"],
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


@pytest.mark.parametrize("name", BEFORE_AFTER)
def test_a_rewritten_graph_computes_the_same(name, tmp_path):
    graph = built(BEFORE_AFTER[name][0])
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4)).astype(np.float32)
    weights = {v.parameter: rng.uniform(0.5, 2, v.shape).astype("f4") for v in graph.values() if v.parameter}
    before, after = (run(each, x, weights, tmp_path / "graph.tflite") for each in (graph, optimize(graph)))
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


def run(graph: Graph, x: np.ndarray, weights: dict[str, np.ndarray], path: Path) -> np.ndarray:
    """Its output in LiteRT."""
    program, scheme = Program({"test": graph}), load(registry().scheme("fp32").scheme)
    sources = {
        name: LazyTensor(name, array.shape, "F32", array.nbytes, lambda start, stop, array=array: array[start:stop])
        for name, array in weights.items()
    }
    write_model(program, plan_parameters(program, sources, scheme), scheme, path)
    return Session(path).run("test", {"x": x})["y"]


def test_what_others_need_too_is_not_fused():
    def build(g, x):
        added = g.binary("ADD", x, x)
        return g.binary("MUL", g.unary("RELU", added), added)

    assert kinds(optimize(built(build))) == ["ADD", "RELU", "MUL"]


def test_equal_derivations_are_one_parameter():
    def build(g, x):
        scaled = (g.folded("MUL", [g.parameter("p", (4,)), g.constant(np.float32(2))]) for _ in range(2))
        return g.binary("ADD", x, g.binary("ADD", *scaled))

    graph = built(build)
    assert len({value.parameter for value in graph.values() if value.parameter}) == 1


def test_an_order_undone_is_the_parameter_itself():
    g = GraphBuilder(Graph("test"))
    weight = g.parameter("w", (2, 3))
    assert g.permuted(g.permuted(weight, (1, -1, 0)), (2, 0)) is weight


def test_rows_that_undo_each_other_are_found():
    from edgegen.graph import Rewrite

    def swapped(g, op):
        return g.binary("ADD", op.inputs[1], op.inputs[0]) if op.kind == "ADD" else None

    with pytest.raises(AssertionError, match="no end: swap"):
        optimize(built(lambda g, x: g.binary("ADD", x, g.unary("NEG", x))), [Rewrite("swap", swapped)])


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

    broken = Rewrite("broken row", lambda g, op: g.reshape(op.inputs[0], (24,)))
    with pytest.raises(AssertionError, match="broken row"):
        optimize(built(lambda g, x: g.unary("NEG", x)), [broken])
