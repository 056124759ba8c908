"""Lowering rules, and the table that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from edgegen.errors import ErrorCode, PluginError

Rule = Callable[..., Any]
"""``(g: LoweringContext, *arguments of the operator) -> Value``, or a tuple of them where the operator has several
outputs. Tensors arrive as :class:`~edgegen.graph.Value`, everything else as it stands in the ATen graph."""


AnyRule = TypeVar("AnyRule", bound=Rule)


class RuleTable(Mapping[str, Rule]):
    """Operator name (``aten.linear.default``) -> rule."""

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}

    def lowers(self, *operators: str, override: bool = False) -> Callable[[AnyRule], AnyRule]:
        """Register the decorated function for ``operators``.

        Raises:
            PluginError: there is a rule already, and ``override`` is not set.
        """

        def register(rule: AnyRule) -> AnyRule:
            for operator in operators:
                if operator in self._rules and not override:
                    raise PluginError(
                        f"two lowering rules for {operator}: {_where(self._rules[operator])} and {_where(rule)}",
                        code=ErrorCode.DUPLICATE_NAME,
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


def _where(rule: Rule) -> str:
    return f"{rule.__module__}.{rule.__qualname__}"
