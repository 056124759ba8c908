"""The compiler's own invariants: outputs that rewrites change, names, buffers, writes, schemes, rules."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgegen
from edgegen.errors import PluginError, UnsupportedError, UsageError
from edgegen.export.offloaded import streamed_weights
from edgegen.export.results import EmbeddingVerification, LogitsVerification
from edgegen.lowering import RuleTable
from edgegen.testing.plugins import installed, make_distribution
from edgegen.tracing import composite
from edgegen.weights.module import module_weights
from edgegen.weights.storage import FLOAT32, Encoded, Storage, Tolerance


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


OUTPUTS = {
    "the input": lambda x: x,
    "x + 0": lambda x: x + 0,
    "x * 1": lambda x: x * 1,
    "x / 1": lambda x: x / 1,
    "x - 0": lambda x: x - 0,
    "x + zeros": lambda x: x + torch.zeros(4),
    "the same view": lambda x: x.view(1, 4),
    "transposed twice": lambda x: x.transpose(0, 1).transpose(0, 1),
    "all of it": lambda x: x[:, :],
    "a constant": lambda x: torch.ones(2) * 3,
    "an input twice": lambda x: (x, x),
    "an input and what becomes it": lambda x: (x, x + 0),
    "equal outputs": lambda x: (x + 1, x + 1),
    "one output twice": lambda x: 3 * (x.exp(),),
    "outputs that become equal": lambda x: (x + 1, (x + 1) * 1, (x + 1).view(1, 4)),
    "nested": lambda x: {"a": [x, {"b": x * 1}], "c": (x.neg(),)},
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_are_eager_s_whatever_rewrites_make_of_them(case):
    module, x = Function(OUTPUTS[case]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    expected = torch.utils._pytree.tree_leaves(module(x))
    got = list(edgegen.convert(module, (x,))(x).values())
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_an_output_that_is_an_input_may_have_dynamic_sizes():
    x = torch.rand(3, 5)
    edge = edgegen.convert(Function(lambda x: (x + 0, x)), (x,), dynamic={"args_0": {0: "n", 1: "m"}})
    y = torch.rand(2, 7)
    for got in edge(y).values():
        torch.testing.assert_close(got, y)


def test_names_of_inputs_and_outputs_that_collide_are_refused():
    class Inputs(nn.Module):
        def forward(self, a, a_b):
            return a["b_c"] + 2 * a_b["c"]

    with pytest.raises(UsageError, match="two of them are 'a_b_c'"):
        edgegen.convert(Inputs(), ({"b_c": torch.ones(1, 4)}, {"c": torch.zeros(1, 4)}))
    outputs = Function(lambda x: {"a": {"b_c": x + 1}, "a_b": {"c": x + 2}})
    with pytest.raises(UsageError, match="two of them are 'a_b_c'"):
        edgegen.convert(outputs, (torch.zeros(1, 4),))


@pytest.mark.parametrize("result", [None, (None,), {"a": None}])
def test_an_output_that_is_none_is_refused(result):
    module = Function(lambda x: (x + 1, result))
    with pytest.raises(UsageError, match="None where a tensor belongs"):
        edgegen.convert(module, (torch.ones(1, 4),))


@pytest.mark.parametrize("name", ["a#b", "#", "ä ö", "a b", "a#scales", "scales", "x:out", "@1,0"])
@pytest.mark.parametrize("scheme", ["fp32", "int8-channel", "int4-block32"])
def test_modules_may_have_any_name(name, scheme):
    torch.manual_seed(0)
    module = nn.Sequential()
    module.add_module(name, nn.Linear(32, 8))
    x = torch.rand(2, 32)
    got = edgegen.convert(module, (x,), scheme=scheme)(x)["output"]
    torch.testing.assert_close(got, module(x), atol=0.15, rtol=0.15)


def test_an_attribute_s_name_alone_is_a_list_of_one():
    @composite("test.shift", attributes="by")
    def shift(x, by=2.0):
        return x + by

    x = torch.ones(3)
    edge = edgegen.convert(Function(shift), (x,), composites="all")
    (op,) = [op for op in edge.program.signatures["serving_default"].ops if op.kind == "STABLEHLO_COMPOSITE"]
    assert op.options["attributes"] == {"by": 2.0}


def test_an_attribute_that_a_function_lacks_is_refused():
    with pytest.raises(UsageError, match="has no argument nope"):
        composite("test.bad", attributes=("nope",))(lambda x: x)


def test_composites_of_one_factory_are_kept_apart():
    def scaled(factor):
        @composite("test.factory")
        def scale(x):
            return x * factor

        return scale

    two, three = scaled(2.0), scaled(3.0)
    x = torch.ones(1, 3)
    got = edgegen.convert(Function(lambda x: (two(x), three(x))), (x,), composites="all")(x)
    assert [value[0, 0].item() for value in got.values()] == [2.0, 3.0]


class Buffered(nn.Module):
    def __init__(self, device=None):
        super().__init__()
        self.linear = nn.Linear(4, 4, device=device)
        self.register_buffer("scalar", torch.full((1,), 3.0, device=device))
        self.inner = nn.Module()
        self.inner.register_buffer("shift", torch.arange(4.0, device=device))

    def forward(self, x):
        return self.linear(x) * self.scalar


def test_persistent_buffers_are_streamed_too():
    torch.manual_seed(0)
    real, x = Buffered(), torch.ones(1, 4)
    empty = Buffered("meta")
    with streamed_weights(empty, module_weights(real)), torch.no_grad():
        torch.testing.assert_close(empty(x), real(x))
    assert empty.scalar.is_meta
    edge = edgegen.signature("run", empty, (x.to("meta"),)).convert(parameters=module_weights(real))
    torch.testing.assert_close(edge(x)["output"], real(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.complex64])
def test_other_types_are_refused_by_name(dtype):
    module, x = nn.Linear(4, 4).to(dtype), torch.ones(1, 4, dtype=dtype)
    with pytest.raises(UnsupportedError, match=str(dtype)):
        edgegen.convert(module, (x,))


def test_a_short_write_is_an_error_that_leaves_nothing_behind(tmp_path: Path):
    edge = edgegen.convert(nn.Linear(256, 1024, bias=False), (torch.ones(1, 256),))
    size = edge.export(tmp_path / "whole.tflite").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1000, limits[1]))
    try:
        with pytest.raises(edgegen.errors.ResourceError, match="cannot write"):
            edge.export(tmp_path / "short.tflite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.tflite"]


class Lying:
    """A scheme of int8 channels that encodes something else."""

    tolerance = Tolerance(0.1, 0.9)

    def __init__(self, change):
        self.change = change

    def storage(self, parameter):
        return Storage("int8", per_channel=True) if parameter.role == "linear" else FLOAT32

    def encode(self, rows, storage):
        if storage == FLOAT32:
            return Encoded(rows)
        scales = (np.abs(rows).max(1) / 127).astype(np.float32)
        return self.change(Encoded(np.rint(rows / scales[:, None]).astype(np.int8), scales))


LIES = {
    "another type": (lambda e: Encoded(e.data.astype(np.int16), e.scales), "int16"),
    "too few rows": (lambda e: Encoded(e.data[:-1], e.scales), "data are"),
    "no scales": (lambda e: Encoded(e.data), "scales are NoneType"),
    "too few scales": (lambda e: Encoded(e.data, e.scales[:-1]), "scales are"),
    "scales of zero": (lambda e: Encoded(e.data, e.scales * 0), "positive"),
    "scales that are no numbers": (lambda e: Encoded(e.data, e.scales * np.float32("nan")), "positive"),
    "a list": (lambda e: Encoded(e.data.tolist(), e.scales), "data are list"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_scheme_that_encodes_other_than_it_declared_is_refused(lie, tmp_path: Path, monkeypatch):
    change, says = LIES[lie]
    monkeypatch.setattr("edgegen.quantization.recipe._loaded", lambda descriptor: Lying(change))
    edge = edgegen.convert(nn.Linear(16, 32), (torch.rand(2, 16),), scheme="fp32")
    with pytest.raises(PluginError, match=f"encodes weight as int8-channel gave something else.*{says}"):
        edge.export(tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


NAN = float("nan")


@pytest.mark.parametrize(
    "figures",
    [
        LogitsVerification(8, NAN, 1.0, 0.0),
        LogitsVerification(8, 0.0, NAN, 0.0),
        LogitsVerification(8, 0.0, 1.0, 0.0).with_errors([0.1, NAN, 0.0]),
        LogitsVerification(8, 0.0, 1.0, 0.0).with_errors([NAN]),
        EmbeddingVerification(2, NAN, 1.0, 0.0),
        EmbeddingVerification(2, 0.0, NAN, 0.0),
        EmbeddingVerification(2, 0.0, 1.0, NAN),
    ],
)
def test_a_figure_that_is_no_number_fails(figures):
    with pytest.raises(edgegen.errors.VerificationError):
        figures.check("int8-channel", Tolerance(logits=0.5, top1=0.5))


HEAD = """
from edgegen import hookimpl
from edgegen.descriptors import LoweringRules
@hookimpl
def edgegen_op_lowerings():
    yield LoweringRules(name="{name}", rules="{module}:RULES")
"""
RULES = """
from edgegen.lowering import RuleTable
RULES = RuleTable()
@RULES.lowers("{operator}"{override})
def rule(g, x): return g.unary("{kind}", x)
"""


def rules(folder: Path, name: str, operator: str, kind: str, *, override: bool = False, broken: bool = False) -> None:
    module = f"{name}_rules"
    source = RULES.format(operator=operator, kind=kind, override=", override=True" if override else "")
    files = {f"{module}.py": "import nowhere_at_all" if broken else source}
    make_distribution(folder, f"edgegen-{name}", HEAD.format(name=name, module=module), files=files)


X = torch.tensor([[-1.0, 2.0]])


def test_a_rule_may_replace_one_of_core_on_purpose(tmp_path: Path):
    rules(tmp_path, "mine", "aten.relu.default", "NEG", override=True)
    with installed(tmp_path):
        torch.testing.assert_close(edgegen.convert(nn.ReLU(), (X,))(X)["output"], -X)
        torch.testing.assert_close(edgegen.convert(nn.Tanh(), (X,))(X)["output"], X.tanh())


def test_a_rule_that_is_at_odds_with_core_s_costs_that_operator_alone(tmp_path: Path):
    rules(tmp_path, "mine", "aten.relu.default", "NEG")
    with installed(tmp_path):
        torch.testing.assert_close(edgegen.convert(nn.Tanh(), (X,))(X)["output"], X.tanh())
        with pytest.raises(UnsupportedError) as caught:
            edgegen.convert(nn.ReLU(), (X,))
    assert "edgegen-core and edgegen-mine both have a rule for it" in " ".join(caught.value.details)


def test_rules_that_cannot_be_imported_cost_their_operators_alone(tmp_path: Path):
    rules(tmp_path, "mine", "aten.erfinv.default", "NEG", broken=True)
    with installed(tmp_path):
        torch.testing.assert_close(edgegen.convert(nn.Tanh(), (X,))(X)["output"], X.tanh())
        with pytest.raises(UnsupportedError) as caught:
            edgegen.convert(Function(torch.poisson), (X.abs(),))
    assert "rules of edgegen-mine cannot be loaded" in " ".join(caught.value.details)


def test_two_overrides_of_one_operator_are_at_odds(tmp_path: Path):
    for name in ("one", "two"):
        rules(tmp_path, name, "aten.relu.default", "NEG", override=True)
    with installed(tmp_path), pytest.raises(UnsupportedError) as caught:
        edgegen.convert(nn.ReLU(), (X,))
    assert "edgegen-one and edgegen-two both" in " ".join(caught.value.details)


def test_a_table_says_what_was_replaced():
    tables = [RuleTable(), RuleTable(), RuleTable()]
    for table, override in zip(tables, (False, True, False), strict=True):
        table.lowers("aten.relu.default", override=override)(lambda g, x: x)
    merged = RuleTable()
    for owner, table in zip("abc", tables, strict=True):
        merged.merge(table, owner)
    assert [(each.owners, each.replaced) for each in merged.conflicts] == [(("b", "a"), True), (("b", "c"), True)]
    assert merged.conflicts[0].operator == "aten.relu.default"


MANY_AXES = {
    "sum": lambda x: x.sum((1, 4)),
    "sum of all": lambda x: x.sum(),
    "mean, kept": lambda x: x.mean((0, 1), keepdim=True),
    "largest": lambda x: x.amax(7),
    "concatenation": lambda x: torch.cat([x, x * 2], 3),
    "linear": lambda x: nn.functional.linear(x, torch.ones(3, 2)),
    "sum, broadcast again": lambda x: x + x.sum(0, keepdim=True),
    "windows": lambda x: x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(0, 3) * 2,
    "selection": lambda x: x[:, 1:, 0],
    "attention": lambda x: x.softmax(-1),
    "product": lambda x: x @ x.mT,
}


@pytest.mark.parametrize("case", MANY_AXES)
def test_tensors_of_eight_axes_are_right_or_refused(case):
    module, x = Function(MANY_AXES[case]), torch.randn([2] * 8, generator=torch.Generator().manual_seed(0))
    if case in ("attention", "product"):
        with pytest.raises(UnsupportedError, match="no lowering") as caught:
            edgegen.convert(module, (x,))
        assert any("flatten axes" in line for line in caught.value.details)
    else:
        torch.testing.assert_close(edgegen.convert(module, (x,))(x)["output"], module(x), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "hint"),
    [(torch.bfloat16, "model.float()"), (torch.float64, "model.float()"), (torch.int16, "int32")],
)
def test_a_dtype_that_litert_lacks_is_refused_with_a_way_on(dtype, hint):
    with pytest.raises(UnsupportedError, match=f"no tensor of {dtype}") as caught:
        edgegen.convert(Function(lambda x: x * 2), (torch.ones(2, dtype=dtype),))
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("nothing", [(), None, [], {}])
def test_a_signature_that_returns_nothing_is_refused(nothing):
    with pytest.raises(UsageError, match="returns"):
        edgegen.convert(Function(lambda x: nothing), (torch.ones(2),))


def test_control_flow_of_higher_order_is_refused():
    def either(x):
        return torch.cond(x.sum() > 0, lambda x: x + 1, lambda x: x - 1, (x,))

    with pytest.raises(UnsupportedError):
        edgegen.convert(Function(either), (torch.ones(2),))
