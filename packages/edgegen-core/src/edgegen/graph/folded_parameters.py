"""Arithmetic on parameters that is done as the file is written: constant folding for weights that are streamed.

A graph may name such a value as if it were a parameter of its own (:class:`edgegen.graph.ir.FoldedParameter`). It is
computed row by row where the first axis allows it, so that what depends on no input costs nothing at run time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgegen.graph.ir import PERMUTE, Array, FoldedParameter, Value

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
"""Elementwise operators on float32 that can be folded."""


def permuted_shape(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """Shape of a tensor of ``shape`` with its axes in ``order``; -1 stands for a new axis of length 1."""
    return tuple(1 if axis < 0 else shape[axis] for axis in order)


def permuted(array: Array, order: Sequence[int]) -> Array:
    """``array`` with its axes in ``order``; axes of length 1 may be left out of it."""
    kept = [axis for axis in order if axis >= 0]
    dropped = tuple(axis for axis in range(array.ndim) if axis not in kept)
    return array.transpose([*kept, *dropped]).reshape(permuted_shape(array.shape, order))


def composed(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """The permutation that applies ``first`` and then ``second``."""
    return tuple(axis if axis < 0 else first[axis] for axis in second)


def folded_name(folded: FoldedParameter) -> str:
    """Tensor name in the file: the first parameter's, with the permutation or a hash of the arithmetic appended.

    Equal ones have equal names, in all signatures.
    """
    first = next(operand.parameter for operand in folded.operands if operand.parameter)
    if folded.kind == PERMUTE:
        return f"{first}@{','.join(map(str, folded.order))}"
    digest = hashlib.sha1(repr([folded.kind, *map(_text, folded.operands)]).encode()).hexdigest()
    return f"{first.partition('~')[0]}~{digest[:8]}"


def _text(operand: Value) -> Any:
    contents = operand.constant
    return operand.parameter if contents is None else (contents.shape, contents.tobytes())
