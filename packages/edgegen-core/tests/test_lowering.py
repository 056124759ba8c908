"""Every lowering rule against eager PyTorch, in LiteRT."""

from __future__ import annotations

import pytest
import torch
from operator_cases import CASES, Case
from torch import nn
from torch.utils import _pytree as pytree

import edgegen
from edgegen.conversion import lowering_rules
from edgegen.errors import PluginError, UnsupportedError
from edgegen.lowering import RuleTable
from edgegen.lowering.aten import RULES
from edgegen.tracing import Signature, Tracer


class Wrapped(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_operator_agrees_with_eager(case: Case):
    torch.manual_seed(0)
    inputs = case.inputs()
    module = Wrapped(case.function)
    expected = pytree.tree_leaves(module(*inputs))
    outputs = edgegen.convert(module, inputs)(*inputs).values()
    for got, want in zip(outputs, expected, strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        torch.testing.assert_close(got, want, atol=case.tolerance, rtol=1e-5)


def test_no_rule_is_without_a_case():
    used: set[str] = set()

    class Watched(RuleTable):
        def __getitem__(self, operator):
            used.add(operator)
            return RULES[operator]

        def __iter__(self):
            return iter(RULES)

        def __contains__(self, operator):
            return operator in RULES

    rules = Watched()
    for case in CASES:
        signature = Signature("case", Wrapped(case.function), case.inputs())
        edgegen.lowering.lower(signature, Tracer(rules).trace(signature), rules)
    assert set(RULES) - used == set()


def test_unsupported_operators_are_reported_all_at_once_with_their_places():
    class Inner(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return self.inner(x) + torch.special.bessel_j1(x)

    with pytest.raises(UnsupportedError) as caught:
        edgegen.convert(Outer(), (torch.ones(2),))
    details = "\n".join(caught.value.details)
    assert "bessel_j0" in details
    assert "bessel_j1" in details
    assert "inner (test_lowering.py:" in details


def test_a_second_rule_for_an_operator_is_refused_naming_both():
    table = RuleTable()

    @table.lowers("aten.cosh.default")
    def first(g, x):
        return x

    with pytest.raises(PluginError, match=r"first.*second"):

        @table.lowers("aten.cosh.default")
        def second(g, x):
            return x


def test_rules_of_all_plugins_are_merged():
    assert set(lowering_rules()) >= set(RULES)
