"""What cases are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Tensors = tuple[torch.Tensor, ...]
Inputs = Callable[[], Tensors]


@dataclass(frozen=True)
class Case:
    """``function(*inputs)``, with inputs made from a seed; ``tolerance`` is absolute."""

    name: str
    function: Callable[..., Any]
    inputs: Inputs
    tolerance: float = 1e-5


def rand(*shape: int, low: float = -2.0, high: float = 2.0) -> torch.Tensor:
    return torch.rand(shape) * (high - low) + low


def positive(*shape: int) -> torch.Tensor:
    return rand(*shape, low=0.2, high=3.0)


def ints(*shape: int, high: int = 5) -> torch.Tensor:
    return torch.randint(0, high, shape, dtype=torch.int32)


def longs(*shape: int, low: int = 0, high: int = 5) -> torch.Tensor:
    return torch.randint(low, high, shape)


def one(*shape: int) -> Inputs:
    return lambda: (rand(*shape),)


def two(a: tuple[int, ...], b: tuple[int, ...]) -> Inputs:
    return lambda: (rand(*a), rand(*b))


def pos(*shape: int) -> Inputs:
    return lambda: (positive(*shape),)


def numbers(*values: float) -> Inputs:
    return lambda: (torch.tensor(values),)


A = (2, 3, 4)
"""A shape that is nothing special."""
