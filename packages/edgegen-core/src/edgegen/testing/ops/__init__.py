"""Op cases: every lowering rule runs in LiteRT and agrees with eager PyTorch. For tests; needs torch.

A plugin with lowering rules declares cases and checks both ways::

    CASES = [Case("acme.swish", torch.ops.acme.swish, one(2, 3, 4), tolerance=1e-4)]

    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_a_rule_agrees_with_eager(case):
        check_case(case, RULES)

    def test_no_rule_is_without_a_case():
        assert not rules_without_case(RULES, CASES)

Core's own cases are in :mod:`edgegen.testing.ops.core_cases`; ``python -m edgegen.testing.ops.suite`` runs them and
PyTorch's database of operators, and writes ``docs/reference/ops.md``.
"""

from edgegen.testing.ops.cases import Case, ints, longs, numbers, one, pos, positive, rand, two
from edgegen.testing.ops.comparing import Outcome, compare
from edgegen.testing.ops.coverage import check_case, rules_without_case

__all__ = [
    "Case",
    "Outcome",
    "check_case",
    "compare",
    "ints",
    "longs",
    "numbers",
    "one",
    "pos",
    "positive",
    "rand",
    "rules_without_case",
    "two",
]
