"""Fields of a JSON object, each checked when it is taken; what is left over at the end was not understood."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from edgegen.suggest import closest
from edgegen_serve.openai.errors import ApiError, invalid, shown

_KINDS = {
    type(None): "null", bool: "a boolean", int: "an integer", float: "a number", str: "a string", list: "an array",
    dict: "an object",
}  # fmt: skip


_LONGEST = 100
"""Longer names are cut when they are repeated or compared."""


def kind_of(value: Any) -> str:
    """What JSON calls it."""
    return _KINDS[type(value)]


def wrong_type(path: str, value: Any, expected: str) -> ApiError:
    """``value`` is no ``expected``."""
    return invalid(path, f"{path} should be {expected}, but is {kind_of(value)}")


def text_of(value: Any, path: str) -> str:
    """``value``, if it is text that can be encoded."""
    if not isinstance(value, str):
        raise wrong_type(path, value, "a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise invalid(path, f"{path} has half of a surrogate pair at character {error.start}") from error
    return value


class Fields:
    """The fields of ``body``. A field that is null counts as absent, as clients send null for what was not set.

    Args:
        body: parsed JSON.
        path: where it is in the request; empty: it is the request.

    Raises:
        ApiError: ``body`` is no object.
    """

    def __init__(self, body: Any, path: str = "") -> None:
        if not isinstance(body, dict):
            raise wrong_type(path, body, "an object") if path else invalid(None, "the body should be a JSON object")
        self._left: dict[str, Any] = {name: value for name, value in body.items() if value is not None}
        self._known: set[str] = set()
        self._prefix = f"{path}." if path else ""

    def path(self, name: str) -> str:
        """How errors name a field."""
        return self._prefix + name

    def take(self, name: str) -> Any:
        """The value as it is, None where absent."""
        self._known.add(name)
        return self._left.pop(name, None)

    def required(self, name: str) -> Any:
        """The value, which has to be there."""
        value = self.take(name)
        if value is None:
            raise ApiError(400, f"{self.path(name)} is missing", param=self.path(name), code="missing_field")
        return value

    def text(self, name: str) -> str:
        """Text that has to be there."""
        return text_of(self.required(name), self.path(name))

    def flag(self, name: str) -> bool:
        """True or false; false where absent."""
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise wrong_type(self.path(name), value, "a boolean")
        return bool(value)

    def number(self, name: str, default: float, low: float, high: float, *, above: bool = False) -> float:
        """A number from ``low`` (or ``above`` it) to ``high``."""
        value = self.take(name)
        if value is None:
            return default
        return number_of(value, self.path(name), low, high, above=above)

    def integer(self, name: str, low: int, high: int = 2**63 - 1) -> int | None:
        """A whole number from ``low`` to ``high``."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(self.path(name), value, "an integer")
        if not low <= value <= high:
            raise invalid(self.path(name), f"{self.path(name)} is out of range: at least {low}, at most {high}")
        return value

    def finish(self, *, ignored: Collection[str] = (), neutral: Mapping[str, tuple[Any, ...]] | None = None) -> None:
        """Refuse what is left, unless it cannot change the answer.

        Args:
            ignored: whatever they say, the answer is the same.
            neutral: values of unsupported fields that ask for nothing.
        """
        for name, value in self._left.items():
            path = self.path(name)
            if name in ignored or _one_of(value, (neutral or {}).get(name, ())):
                continue
            if name in (neutral or {}):
                raise ApiError(400, f"{path} is not supported here", param=path, code="unsupported_parameter")
            meant = closest(name[:_LONGEST], self._known)
            raise ApiError(
                400, f"unknown field {shown(path)}" + (f"; did you mean {self.path(meant)}?" if meant else ""),
                param=path[:_LONGEST], code="unknown_parameter",
            )  # fmt: skip


def _one_of(value: Any, values: Collection[Any]) -> bool:
    """Whether it is among them; true is not 1 here."""
    return any(type(value) is type(same) and value == same for same in values)


def number_of(value: Any, path: str, low: float, high: float, *, above: bool = False) -> float:
    """``value``, if it is a number in the range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong_type(path, value, "a number")
    if not (low < value if above else low <= value) or not value <= high or not math.isfinite(value):
        raise invalid(path, f"{path} should be {'above' if above else 'at least'} {low:g} and at most {high:g}")
    return float(value)
