"""Every lowering rule against eager PyTorch, in LiteRT."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edgegen
from edgegen.compile import lowering_rules
from edgegen.errors import PluginError, UnsupportedError
from edgegen.lowering import RuleTable
from edgegen.lowering.aten import RULES
from edgegen.testing.ops import Case, check_case, rules_without_case
from edgegen.testing.ops.comparing import hurry
from edgegen.testing.ops.core_cases import CASES

hurry()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_operator_agrees_with_eager(case: Case):
    check_case(case)


def test_every_dtype_goes_in_and_comes_out():
    class Doubled(nn.Module):
        def forward(self, *inputs):
            return tuple(x | x if x.dtype == torch.bool else x + x for x in inputs)

    dtypes = [torch.float32, torch.float16, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool]
    inputs = tuple(torch.tensor([[0, 1, 3]]).to(dtype) for dtype in dtypes)
    outputs = edgegen.convert(Doubled(), inputs)(*inputs).values()
    for got, want in zip(outputs, Doubled()(*inputs), strict=True):
        torch.testing.assert_close(got, want, atol=0, rtol=0)


def test_no_rule_is_without_a_case():
    assert rules_without_case(RULES, CASES) == set()


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
