"""Lowering of ATen graphs to LiteRT operators, by a table of small rules. Needs torch."""

from edgegen.lowering.context import LoweringContext
from edgegen.lowering.lower import lower
from edgegen.lowering.rules import RuleTable

__all__ = ["LoweringContext", "RuleTable", "lower"]
