"""Op cases and the table of operators, as the author of a plugin with lowering rules uses them."""

from __future__ import annotations

import pytest
import torch

from edgegen.lowering import RuleTable
from edgegen.testing.ops import Case, check_case, one, rules_without_case

RULES = RuleTable()


@RULES.lowers("aten.special_erfcx.default")
def erfcx(g, x):
    """Wrong on purpose: right for 0 alone."""
    return g.unary("EXP", x)


@RULES.lowers("aten.special_log_ndtr.default")
def log_ndtr(g, x):
    return x


RIGHT = Case("erfcx of 0", torch.special.erfcx, lambda: (torch.zeros(3),))
WRONG = Case("erfcx", torch.special.erfcx, one(2, 3))
ELSEWHERE = Case("bessel", torch.special.bessel_j0, one(2, 3))


def test_a_case_is_run_with_the_rules_of_a_plugin_that_is_not_installed():
    check_case(RIGHT, RULES)


@pytest.mark.parametrize(
    ("case", "rules", "says"),
    [
        (WRONG, RULES, "erfcx is failed: output 0: Tensor-likes are not close"),
        (RIGHT, None, r"(?s)erfcx of 0 is refused: .*special_erfcx"),
        (ELSEWHERE, RULES, r"(?s)bessel is refused: .*special_bessel_j0"),
    ],
)
def test_a_case_that_does_not_pass_says_why(case: Case, rules: RuleTable | None, says: str):
    with pytest.raises(AssertionError, match=says):
        check_case(case, rules)


def test_rules_without_a_case_are_named():
    assert rules_without_case(RULES, [RIGHT]) == {"aten.special_log_ndtr.default"}
