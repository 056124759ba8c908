"""Cases: a function of tensors, and how its inputs are made.

Makers of tensors (:func:`rand`, :func:`ints`, ...) draw from torch's generator, which is seeded before each case;
makers of inputs (:func:`one`, :func:`two`, ...) put them off until then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Tensors = tuple[torch.Tensor, ...]
Inputs = Callable[[], Tensors]


@dataclass(frozen=True)
class Case:
    """``function(*inputs())``, to be run in LiteRT and in eager PyTorch.

    Attributes:
        name: of the case; by convention the operator's, and what is special about it.
        function: of tensors; its results may be nested, those that are tensors are compared.
        inputs: makes the tensors.
        tolerance: absolute error of floating-point results; integers and booleans have to be equal.
    """

    name: str
    function: Callable[..., Any]
    inputs: Inputs
    tolerance: float = 1e-5

    def __str__(self) -> str:
        return self.name


def rand(*shape: int, low: float = -2.0, high: float = 2.0) -> torch.Tensor:
    """float32, evenly distributed from ``low`` to ``high``."""
    return torch.rand(shape) * (high - low) + low


def positive(*shape: int) -> torch.Tensor:
    """float32 from 0.2 to 3, for logarithms and roots."""
    return rand(*shape, low=0.2, high=3.0)


def ints(*shape: int, high: int = 5) -> torch.Tensor:
    """int32 from 0 to below ``high``."""
    return torch.randint(0, high, shape, dtype=torch.int32)


def longs(*shape: int, low: int = 0, high: int = 5) -> torch.Tensor:
    """int64 from ``low`` to below ``high``."""
    return torch.randint(low, high, shape)


def one(*shape: int) -> Inputs:
    """One tensor of :func:`rand`."""
    return lambda: (rand(*shape),)


def two(a: tuple[int, ...], b: tuple[int, ...]) -> Inputs:
    """Two tensors of :func:`rand`."""
    return lambda: (rand(*a), rand(*b))


def pos(*shape: int) -> Inputs:
    """One tensor of :func:`positive`."""
    return lambda: (positive(*shape),)


def numbers(*values: float) -> Inputs:
    """One vector with these values."""
    return lambda: (torch.tensor(values),)


A = (2, 3, 4)
"""A shape that is nothing special."""
