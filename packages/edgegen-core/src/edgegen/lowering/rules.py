"""Lowering rules, and the table that holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from edgegen.errors import ErrorCode, PluginError

Rule = Callable[..., Any]
"""``(g: LoweringContext, *arguments of the operator) -> Value``, or a tuple of them where the operator has several
outputs. Tensors arrive as :class:`~edgegen.graph.Value`, everything else as it stands in the ATen graph."""


AnyRule = TypeVar("AnyRule", bound=Rule)


@dataclass(frozen=True)
class Conflict:
    """A rule that replaces another on purpose, or that is at odds with another.

    Attributes:
        operator: ``aten.relu.default``.
        owners: packages of the rules, the one in charge first.
        replaced: True for a rule that replaces another on purpose; else the operator has no rule.
    """

    operator: str
    owners: tuple[str, ...]
    replaced: bool


class RuleTable(Mapping[str, Rule]):
    """Operator name (``aten.linear.default``) -> rule.

    Attributes:
        overrides: operators whose rules replace others on purpose.
        conflicts: what became of operators for which several tables had a rule, see :meth:`merge`.
    """

    def __init__(self) -> None:
        self._rules: dict[str, Rule] = {}
        self._owners: dict[str, str] = {}
        self.overrides: set[str] = set()
        self.conflicts: list[Conflict] = []

    def lowers(self, *operators: str, override: bool = False) -> Callable[[AnyRule], AnyRule]:
        """Register the decorated function for ``operators``.

        Args:
            operators: names.
            override: True to replace the rule of another table, core's own too, or an earlier one of this table.

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
                if override:
                    self.overrides.add(operator)
            return rule

        return register

    def merge(self, other: RuleTable, owner: str = "") -> None:
        """Take over the rules of ``other``.

        One that is at odds with a rule of an earlier table costs that operator alone: a stand-in takes its place, which
        says why the operator cannot be lowered.

        Args:
            other: of another package.
            owner: the package, for messages.
        """
        for operator, rule in other.items():
            earlier = self._owners.get(operator, "")
            if operator not in self._rules:
                self._rules[operator] = rule
            elif (operator in other.overrides) == (operator in self.overrides):
                self._rules[operator] = _refusing(f"{earlier} and {owner} both have a rule for it")
                self.conflicts.append(Conflict(operator, (earlier, owner), replaced=False))
            elif operator in other.overrides:
                self._rules[operator] = rule
                self.conflicts.append(Conflict(operator, (owner, earlier), replaced=True))
            else:
                self.conflicts.append(Conflict(operator, (earlier, owner), replaced=True))
                continue
            self._owners[operator] = owner
            self.overrides |= {operator} & other.overrides

    def __getitem__(self, operator: str) -> Rule:
        return self._rules[operator]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)


def _refusing(reason: str) -> Rule:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{reason}; disable one of the two (edgegen doctor lists them)")

    return refuse


def _where(rule: Rule) -> str:
    return f"{rule.__module__}.{rule.__qualname__}"
