"""Custom operators that PyTorch lacks: ``edgegen::dynamic_update_slice``."""

from __future__ import annotations

from typing import Any

import torch

LIBRARY: Any = torch.library.Library("edgegen", "DEF")  # type: ignore[no-untyped-call]
"""Owns the ``edgegen::`` operators; they live as long as it does."""

LIBRARY.define("dynamic_update_slice(Tensor operand, Tensor update, Tensor start, int dim) -> Tensor")


def _update_eagerly(operand: torch.Tensor, update: torch.Tensor, start: torch.Tensor, dim: int) -> torch.Tensor:
    length = update.shape[dim]
    begin = min(max(int(start), 0), operand.shape[dim] - length)
    result = operand.clone()
    result.narrow(dim, begin, length).copy_(update)
    return result


LIBRARY.impl("dynamic_update_slice", _update_eagerly, "CPU")
LIBRARY.impl("dynamic_update_slice", lambda operand, update, start, dim: torch.empty_like(operand), "Meta")


def dynamic_update_slice(operand: torch.Tensor, update: torch.Tensor, start: torch.Tensor, dim: int) -> torch.Tensor:
    """``operand`` with ``update`` written over it along ``dim``, from the position that ``start`` holds.

    Args:
        operand: any shape.
        update: as ``operand``, but shorter along ``dim``.
        start: one integer, as a tensor ``[1]`` or ``[]``. Where the update would not fit it begins earlier, as in
            XLA's DynamicUpdateSlice and LiteRT's kernel.
        dim: the axis.

    Returns:
        A new tensor; on LiteRT the update is in place where operand and result share a buffer.
    """
    result: torch.Tensor = torch.ops.edgegen.dynamic_update_slice(operand, update, start, dim)
    return result
