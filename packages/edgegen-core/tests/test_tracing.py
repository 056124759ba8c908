"""Tracing: names, regions, composites, shared weights."""

from __future__ import annotations

import inspect
from typing import NamedTuple

import pytest
import torch
from torch import nn

import edgegen
from edgegen.compile import build_program
from edgegen.errors import UnsupportedError, UsageError
from edgegen.lowering.aten import RULES
from edgegen.tracing import Composites, RepeatedBlock, Signature, Tracer, composite


@composite("test.scale", attributes=("factor",))
def scale(x, *, factor):
    return x * factor


@composite("test.outer")
def scale_twice(x):
    return scale(scale(x, factor=2.0), factor=3.0)


class Block(RepeatedBlock):
    runs = 0

    def __init__(self, dim):
        super().__init__()
        self.trace_key = dim
        self.linear = nn.Linear(dim, dim)

    def forward(self, x, pair):
        type(self).runs += 1
        return scale(self.linear(x), factor=2.0) + pair[0], pair[1]


class Stack(nn.Module):
    def __init__(self, layers, dim=4):
        super().__init__()
        self.blocks = nn.ModuleList(Block(dim) for _ in range(layers))

    def forward(self, x):
        other = x
        for block in self.blocks:
            x, other = block(x, (x, other))
        return x + other


def operators(module, *inputs, composites="all"):
    program = build_program([Signature("test", module, inputs)], Composites.parse(composites), RULES)
    return [op.kind for op in program.signatures["test"].ops]


class Cache(NamedTuple):
    k: list
    v: list


def test_inputs_are_named_by_parameter_and_path():
    class Model(nn.Module):
        def forward(self, tokens, kv_cache, *, logits):
            return {"kv_cache": kv_cache, "logits": tokens + kv_cache.k[0] + kv_cache.v[1]}

    one = torch.ones(2)
    signature = Signature("s", Model(), (one, Cache([one], [one, one])), {"logits": True})
    expected = ("tokens", "kv_cache_k_0", "kv_cache_v_0", "kv_cache_v_1")
    assert signature.input_names == expected
    program = build_program([signature], rules=RULES)
    assert tuple(program.signatures["s"].inputs) == expected
    assert tuple(program.signatures["s"].outputs) == (*expected[1:], "logits")


def test_arguments_that_do_not_fit_are_a_usage_error():
    with pytest.raises(UsageError, match="example arguments of signature 's'"):
        Tracer(RULES).trace(Signature("s", Stack(1), ()))


def test_data_dependent_control_flow_is_refused_with_the_signature_named():
    class Model(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError, match="signature 's'"):
        Tracer(RULES).trace(Signature("s", Model(), (torch.ones(2),)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.masked_select(x > 0) * 2,
        lambda x: x.repeat_interleave(torch.tensor([1, 2]), 0),
    ],
    ids=["mask", "nonzero", "masked_select", "repeat_interleave"],
)
def test_shapes_that_depend_on_contents_are_refused_with_a_form_that_has_none(function):
    class Model(nn.Module):
        def forward(self, x):
            return function(x)

    with pytest.raises(UnsupportedError, match="no lowering") as caught:
        edgegen.convert(Model(), (torch.ones(2, 3),))
    assert any("mark what counts" in line for line in caught.value.details)


def test_repeated_modules_are_traced_once_however_many_there_are():
    def runs(layers):
        Block.runs = 0
        operators(Stack(layers), torch.ones(1, 4))
        return Block.runs

    assert runs(2) == runs(7)


def test_repeated_modules_keep_their_own_weights():
    torch.manual_seed(0)
    model, x = Stack(3), torch.rand(1, 4)
    result = edgegen.convert(model, (x,), composites="all")(x)["output"]
    torch.testing.assert_close(result, model(x))


def test_repeated_blocks_with_other_trace_keys_are_traced_apart():
    class Mixed(Stack):
        def __init__(self):
            super().__init__(1)
            self.blocks.append(Wide(4))

    class Wide(Block):
        def forward(self, x, pair):
            return self.linear(x) * 2, pair[1]

    torch.manual_seed(0)
    model, x = Mixed(), torch.rand(1, 4)
    torch.testing.assert_close(edgegen.convert(model, (x,), composites="all")(x)["output"], model(x))


def test_a_repeated_block_without_a_trace_key_is_an_error():
    class Nameless(RepeatedBlock):
        def forward(self, x):
            return x

    with pytest.raises(NotImplementedError, match="Nameless must have a trace_key"):
        Nameless()(torch.ones(1))


def test_composites_are_one_operator_and_run_their_body():
    x = torch.rand(3)

    class Model(nn.Module):
        def forward(self, x):
            return scale(x, factor=2.5)

    assert operators(Model(), x) == ["STABLEHLO_COMPOSITE"]
    torch.testing.assert_close(edgegen.convert(Model(), (x,), composites="all")(x)["output"], x * 2.5)


def test_switched_off_composites_leave_no_trace():
    class Model(nn.Module):
        def forward(self, x):
            return scale(x, factor=2.5)

    assert operators(Model(), torch.ones(3), composites="none") == ["MUL"]
    assert operators(Model(), torch.ones(3), composites="test.scale") == ["STABLEHLO_COMPOSITE"]


def test_composites_nest():
    class Model(nn.Module):
        def forward(self, x):
            return scale_twice(x)

    x = torch.rand(3)
    program = build_program([Signature("s", Model(), (x,))], rules=RULES)
    bodies = [[op.kind for op in graph.ops] for graph in program.graphs()]
    assert bodies == [["STABLEHLO_COMPOSITE"], ["STABLEHLO_COMPOSITE"] * 2, ["MUL"], ["MUL"]]
    torch.testing.assert_close(edgegen.convert(Model(), (x,), composites="all")(x)["output"], x * 6)


@composite("test.block", attributes=("width",))
class NamedBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return scale(self.linear(x), factor=2.0)


class TwoBlocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = NamedBlock(4), NamedBlock(4)

    def forward(self, x):
        return self.second(self.first(x))


@pytest.mark.parametrize("scheme", ["fp32", "fp16", "int8-channel"])
def test_modules_are_composites_that_hold_their_weights(scheme):
    torch.manual_seed(0)
    model, x = TwoBlocks(), torch.rand(2, 4)
    program = build_program([Signature("s", model, (x,))], rules=RULES)
    assert [op.options["attributes"] for op in program.signatures["s"].ops] == [{"width": 4}] * 2
    inside = [[op.kind for op in graph.ops] for graph in program.graphs()][1:]
    assert inside == [["FULLY_CONNECTED", "STABLEHLO_COMPOSITE"]] * 2 + [["MUL"]] * 2
    result = edgegen.convert(model, (x,), scheme=scheme, composites="all")(x)["output"]
    torch.testing.assert_close(result, model(x), atol=0.05, rtol=0.05)
    off = edgegen.signature("s", model, (x,)).convert(scheme=scheme, composites="none")
    torch.testing.assert_close(result, off(x)["output"])


def test_a_module_that_is_a_composite_as_a_whole():
    model, x = NamedBlock(4), torch.rand(2, 4)
    assert operators(model, x) == ["STABLEHLO_COMPOSITE"]
    torch.testing.assert_close(edgegen.convert(model, (x,), composites="all")(x)["output"], model(x))


def test_composites_state_their_attributes():
    class Model(nn.Module):
        def forward(self, x):
            return scale(x, factor=2.5)

    program = build_program([Signature("s", Model(), (torch.ones(1),))], rules=RULES)
    (op,) = program.signatures["s"].ops
    assert op.options == {"name": "test.scale", "attributes": {"factor": 2.5}}


def test_a_composite_is_an_ordinary_function_outside_a_trace():
    x = torch.rand(3, requires_grad=True)
    scale(x, factor=2.0).sum().backward()
    assert torch.equal(x.grad, torch.full((3,), 2.0))
    assert list(inspect.signature(scale).parameters) == ["x", "factor"]


def test_tied_parameters_are_one():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, ids):
            return self.head(self.embedding(ids))

    ids = torch.zeros(2, dtype=torch.int32)
    graph = build_program([Signature("s", Tied(), (ids,))], rules=RULES).signatures["s"]
    assert {v.parameter for v in graph.values() if v.parameter} == {"embedding.weight"}


def test_values_computed_from_nothing_are_folded_on_the_meta_device():
    class Model(nn.Module):
        def forward(self, x):
            return x + torch.arange(3, device=x.device) ** 2

    graph = build_program([Signature("s", Model(), (torch.ones(3, device="meta"),))], rules=RULES).signatures["s"]
    (add,) = graph.ops
    assert add.inputs[1].constant.tolist() == [0, 1, 4]


def test_a_meta_buffer_without_contents_is_explained():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.ones(3), persistent=False)

        def forward(self, x):
            return x + self.table

    with torch.device("meta"):
        model = Model()
    with pytest.raises(UnsupportedError, match="buffer 'table' has no contents"):
        build_program([Signature("s", model, (torch.ones(3, device="meta"),))], rules=RULES)


def test_two_signatures_of_one_name_are_refused():
    signature = Signature("s", Stack(1), (torch.ones(1, 4),))
    with pytest.raises(UsageError, match="names must differ"):
        build_program([signature, signature], rules=RULES)
