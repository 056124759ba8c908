"""Parameters that are made of others: scaled, added up, or with their axes in another order.

A graph may name such a value as if it were a parameter of its own. It is worked out as the file is written, row by row
where the first axis allows it, so that what depends on no input costs nothing when the model runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edgegen.graph.ir import Array, Value


@dataclass(frozen=True, eq=False)
class Derivation:
    """How a parameter is made.

    Attributes:
        kind: a key of :data:`EVALUATE`, or ``ARRANGE``.
        operands: parameters and constants.
        order: of ``ARRANGE``: which axis comes where; -1 stands for a new axis of length 1.
    """

    kind: str
    operands: tuple[Value, ...]
    order: tuple[int, ...] = ()


EVALUATE: Mapping[str, Callable[..., Array]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": np.true_divide,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "NEG": np.negative,
    "ABS": np.abs,
    "EXP": np.exp,
    "SQRT": np.sqrt,
    "RSQRT": lambda x: 1 / np.sqrt(x),
}
"""Elementwise operators on float32 that can be done when the file is written."""


def arranged_shape(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """The shape of what has the axes ``order`` of something of ``shape``; -1 stands for a new axis of length 1."""
    return tuple(1 if axis < 0 else shape[axis] for axis in order)


def arranged(array: Array, order: Sequence[int]) -> Array:
    """``array`` with its axes in ``order``; axes of length 1 may be missing there."""
    kept = [axis for axis in order if axis >= 0]
    dropped = tuple(axis for axis in range(array.ndim) if axis not in kept)
    return array.transpose([*kept, *dropped]).reshape(arranged_shape(array.shape, order))


def then(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """The one order that does what ``first`` and then ``second`` do."""
    return tuple(axis if axis < 0 else first[axis] for axis in second)


def derived_name(derivation: Derivation) -> str:
    """The name in the file: that of the first parameter in it, and a mark of what becomes of it.

    Equal derivations have equal names, in all signatures.
    """
    first = next(operand.parameter for operand in derivation.operands if operand.parameter)
    if derivation.kind == "ARRANGE":
        return f"{first}@{','.join(map(str, derivation.order))}"
    digest = hashlib.sha1(repr([derivation.kind, *map(_text, derivation.operands)]).encode()).hexdigest()
    return f"{first.partition('~')[0]}~{digest[:8]}"


def _text(operand: Value) -> Any:
    contents = operand.constant
    return operand.parameter if contents is None else (contents.shape, contents.tobytes())
