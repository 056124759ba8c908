"""The rule "no lowering without a case", as functions for a plugin's tests."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from edgegen.lowering import RuleTable, lower
from edgegen.testing.ops.cases import Case
from edgegen.testing.ops.comparing import Recording, Wrapped, compare
from edgegen.tracing import Signature


def check_case(case: Case, rules: RuleTable | None = None) -> None:
    """Run a case in LiteRT and in eager PyTorch.

    Args:
        case: what to run; its inputs are made with the seed 0.
        rules: of the plugin, where it is not installed; they come before those of plugins that are.

    Raises:
        AssertionError: the results differ, or an operator is not lowered; says what and why.
    """
    torch.manual_seed(0)
    recording = None if rules is None else Recording(rules)
    outcome = compare(case.function, case.inputs(), tolerance=(1e-5, case.tolerance), rules=recording)
    assert outcome.status == "passed", f"{case.name} is {outcome.status}: {outcome.reason}"


def rules_without_case(rules: RuleTable, cases: Iterable[Case]) -> set[str]:
    """Operators in ``rules`` that no case lowers. The cases are traced and lowered, not run."""
    recording = Recording(rules)
    used: set[str] = set()
    for case in cases:
        torch.manual_seed(0)
        signature = Signature("case", Wrapped(case.function), case.inputs())
        recording.uses = set()
        lower(signature, recording.tracer.trace(signature), recording)
        used |= {operator for operator, _ in recording.uses}
    return set(rules) - used
