"""From ATen graphs to LiteRT operators, by a table of small rules. Needs torch."""

from edgegen.lowering.lower import lower
from edgegen.lowering.rules import LoweringContext, RuleTable

__all__ = ["LoweringContext", "RuleTable", "lower"]
