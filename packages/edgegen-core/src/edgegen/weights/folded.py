"""Weights that a graph wants in another form than a checkpoint has: worked out row by row as they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import ErrorCode, UsageError
from edgegen.graph import Value
from edgegen.graph.folded_parameters import EVALUATE, permuted, permuted_shape
from edgegen.weights.row_operations import transposed
from edgegen.weights.tensors import LazyTensor

Numbers = npt.NDArray[Any]


def source_of(value: Value, sources: Mapping[str, LazyTensor]) -> LazyTensor:
    """The lazy tensor that a parameter, or a folded one, is read from.

    Raises:
        UsageError: it is made of a parameter that has no source, or one of another shape.
    """
    assert value.parameter is not None
    folded = value.folded
    if folded is None:
        return _given(value, sources)
    if folded.kind == "PERMUTE":
        (operand,) = folded.operands
        return _permuted(source_of(operand, sources), folded.order)
    return _computed(value, sources)


def _given(value: Value, sources: Mapping[str, LazyTensor]) -> LazyTensor:
    name = value.parameter or ""
    found = sources.get(name)
    if not isinstance(found, LazyTensor) or tuple(found.shape) != value.shape:
        raise UsageError(
            f"there are no numbers for the parameter {name}, {list(value.shape)}"
            if not isinstance(found, LazyTensor)
            else f"the parameter {name} is {list(value.shape)}, but its numbers are {list(found.shape)}",
            code=ErrorCode.WEIGHTS_NOT_LOADED,
            hint="parameters=... has a lazy tensor for each parameter of the module, by its name there",
        )
    return found


def _permuted(tensor: LazyTensor, order: tuple[int, ...]) -> LazyTensor:
    if order == (1, 0):
        return transposed(tensor)

    def read_rows(start: int, stop: int) -> npt.NDArray[np.float32]:
        if order[:1] == (0,):
            return np.ascontiguousarray(permuted(tensor.read_rows(start, stop), order))
        return np.ascontiguousarray(np.atleast_1d(permuted(tensor.read(), order))[start:stop])

    shape = permuted_shape(tensor.shape, order)
    return replace(tensor, shape=shape, read_rows=read_rows, packed=None)


def _computed(value: Value, sources: Mapping[str, LazyTensor]) -> LazyTensor:
    folded = value.folded
    assert folded is not None
    operands = [each.constant if each.parameter is None else source_of(each, sources) for each in folded.operands]

    def read_rows(start: int, stop: int) -> npt.NDArray[np.float32]:
        parts = [_part(operand, value.shape, start, stop) for operand in operands]
        rows = np.asarray(EVALUATE[folded.kind](*parts), np.float32)
        return np.broadcast_to(rows, (stop - start, *value.shape[1:]) if value.shape else (1,))

    name, nbytes = value.parameter or "", value.elements * 4
    return LazyTensor(name, value.shape, "F32", nbytes, read_rows, computed=True)


def _part(operand: Any, shape: tuple[int, ...], start: int, stop: int) -> Numbers:
    """The part of an operand that rows ``start`` to ``stop`` of a result need; all of it where it is broadcast."""
    along = bool(shape) and operand.shape[:1] == shape[:1] and len(operand.shape) == len(shape)
    if isinstance(operand, LazyTensor):
        return operand.read_rows(start, stop) if along else operand.read()
    part: Numbers = operand[start:stop] if along else operand
    return part
