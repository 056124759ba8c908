"""Offloaded execution: a model runs while each module reads its weights as it is called, and drops them after."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from edgegen.weights.tensors import LazyTensor

Observer = Callable[[str, torch.Tensor], None]

SLICE_BYTES = 16 << 20
"""How much of a matrix is in memory at a time, as float32."""


@contextmanager
def streamed_weights(
    model: nn.Module, sources: Mapping[str, LazyTensor], observe: Observer | None = None
) -> Iterator[None]:
    """Let a model on the ``meta`` device run on CPU tensors.

    Matrices pass through in slices and lookups read single rows, so memory holds activations and little else, however
    large the model or its vocabulary.

    Args:
        model: on ``meta``; tied parameters are one object.
        sources: canonical parameter name -> contents.
        observe: told the name of each linear layer's matrix and what it is about to be multiplied with.
    """
    names = {id(tensor): name for name, tensor in [*model.named_parameters(), *model.named_buffers()]}

    def source(tensor: torch.Tensor | None) -> LazyTensor | None:
        return None if tensor is None else sources[names[id(tensor)]]

    undo: list[Callable[[], Any]] = []
    try:
        for module in model.modules():
            if type(module) is nn.Linear:
                product = _linear(source(module.weight), source(module.bias))
                if observe is not None:
                    product = _observed(product, names[id(module.weight)], observe)
                _replace_forward(module, product, undo)
            elif type(module) is nn.Embedding:
                _replace_forward(module, _lookup(source(module.weight)), undo)
            elif module._parameters or _persistent(module):
                undo += _fill_while_running(module, source)
        yield
    finally:
        for step in undo:
            step()


def _replace_forward(module: nn.Module, forward: Callable[..., Any], undo: list[Callable[[], Any]]) -> None:
    module.forward = forward
    undo.append(lambda: delattr(module, "forward"))


def _observed(
    forward: Callable[[torch.Tensor], torch.Tensor], name: str, observe: Observer
) -> Callable[[torch.Tensor], torch.Tensor]:
    def observed(x: torch.Tensor) -> torch.Tensor:
        observe(name, x)
        return forward(x)

    return observed


def _linear(weight: LazyTensor | None, bias: LazyTensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
    assert weight is not None
    step = max(1, SLICE_BYTES // (4 * math.prod(weight.shape[1:])))

    def forward(x: torch.Tensor) -> torch.Tensor:
        parts = [
            x @ _tensor(weight.read_rows(start, min(start + step, weight.rows))).T
            for start in range(0, weight.rows, step)
        ]
        product = torch.cat(parts, dim=-1)
        return product if bias is None else product + _tensor(bias.read())

    return forward


def _lookup(table: LazyTensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
    assert table is not None

    def forward(ids: torch.Tensor) -> torch.Tensor:
        rows = [_tensor(table.read_rows(row, row + 1)) for row in ids.flatten().tolist()]
        return torch.cat(rows).reshape(*ids.shape, *table.shape[1:])

    return forward


def _fill_while_running(
    module: nn.Module, source: Callable[[torch.Tensor | None], LazyTensor | None]
) -> list[Callable[[], Any]]:
    blank, buffers = dict(module._parameters), _persistent(module)

    def fill(module: nn.Module, args: Any) -> None:
        for name, parameter in blank.items():
            contents = source(parameter)
            if contents is not None:
                module._parameters[name] = nn.Parameter(_tensor(contents.read()), requires_grad=False)
        for name, buffer in buffers.items():
            contents = source(buffer)
            if contents is not None:
                module._buffers[name] = _tensor(contents.read()).to(buffer.dtype)

    def empty(module: nn.Module, args: Any, output: Any) -> None:
        module._parameters.update(blank)
        module._buffers.update(buffers)

    before = module.register_forward_pre_hook(fill)
    after = module.register_forward_hook(empty, always_call=True)
    return [before.remove, after.remove]


def _persistent(module: nn.Module) -> dict[str, torch.Tensor]:
    """Buffers on the ``meta`` device that a checkpoint has."""
    skipped = module._non_persistent_buffers_set
    named = ((name, buffer) for name, buffer in module._buffers.items() if name not in skipped)
    return {name: buffer for name, buffer in named if buffer is not None and buffer.is_meta}


def _tensor(contents: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(contents))
