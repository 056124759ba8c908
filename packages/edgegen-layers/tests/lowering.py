"""A module in LiteRT against itself in PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

import edgegen
from edgegen.tracing import Composites


def check_lowered(module: nn.Module, *args: Any, tolerance: float = 1e-4) -> None:
    """What the module gives, and what its file gives with its composites and without them.

    Raises:
        AssertionError: they differ.
    """
    module = module.eval().requires_grad_(False)
    expected = pytree.tree_leaves(module(*args))
    for composites in ("all", "none"):
        edge = edgegen.signature("run", module, args).convert(composites=Composites.parse(composites))
        for ours, theirs in zip(edge(*args).values(), expected, strict=True):
            torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


def randomize(module: nn.Module) -> None:
    """Every weight random, so that each one matters."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
