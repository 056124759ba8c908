"""What a lowering rule is, and the table that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from edgegen.errors import PluginError
from edgegen.graph import Graph, GraphBuilder, Value

Rule = Callable[..., Any]
"""``(g: LoweringContext, *arguments of the operator) -> Value``, or a tuple of them where the operator has several
outputs. Tensors arrive as :class:`~edgegen.graph.Value`, everything else as it stands in the ATen graph."""


class RuleTable(Mapping[str, Rule]):
    """Operator name (``aten.linear.default``) -> rule."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}

    def lowers(self, *operators: str, override: bool = False) -> Callable[[Rule], Rule]:
        """Register the decorated function for ``operators``.

        Raises:
            PluginError: there is a rule already, and ``override`` is not set.
        """

        def register(rule: Rule) -> Rule:
            for operator in operators:
                if operator in self._rules and not override:
                    raise PluginError(
                        f"two lowering rules for {operator}: {_where(self._rules[operator])} and {_where(rule)}",
                        hint="pass override=True to replace a rule on purpose",
                    )
                self._rules[operator] = rule
            return rule

        return register

    def merge(self, other: RuleTable) -> None:
        """Take over the rules of ``other``; raises PluginError for an operator that has one already."""
        for operator, rule in other.items():
            self.lowers(operator)(rule)

    def __getitem__(self, operator: str) -> Rule:
        return self._rules[operator]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)


class LoweringContext(GraphBuilder):
    """A graph builder that knows what PyTorch says the operator at hand gives.

    Attributes:
        shape: shape of its (first) result.
        dtype: dtype name of its (first) result.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self.shape: tuple[int, ...] = ()
        self.dtype = "float32"

    def operand(self, x: Value | float | int | bool, dtype: str | None = None) -> Value:
        """A tensor or a Python number as a value of ``dtype`` (default: the operator's result)."""
        dtype = dtype or self.dtype
        return self.cast(x, dtype) if isinstance(x, Value) else self.constant(x, dtype)


def _where(rule: Rule) -> str:
    return f"{rule.__module__}.{rule.__qualname__}"
