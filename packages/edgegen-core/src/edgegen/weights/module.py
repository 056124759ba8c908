"""The parameters of a ``torch.nn.Module``: their shapes, and their contents as lazy tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgegen.errors import ErrorCode, UsageError
from edgegen.weights.tensors import LazyTensor

if TYPE_CHECKING:
    import torch
    from torch import nn


def parameter_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Canonical name -> shape of everything that must come from a checkpoint; tied parameters once."""
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    persistent = module.state_dict().keys()
    shapes.update({n: tuple(b.shape) for n, b in module.named_buffers() if n in persistent})
    return shapes


def module_weights(module: nn.Module) -> dict[str, LazyTensor]:
    """A module's own weights as sources, by canonical name; nothing is copied until rows are asked for.

    Raises:
        UsageError: the module has no weights, being on the meta device.
    """
    state = module.state_dict()
    tensors = {name: state[name].detach() for name in parameter_shapes(module)}
    if any(tensor.is_meta for tensor in tensors.values()):
        raise UsageError(
            "the module is on the meta device and has no weights",
            code=ErrorCode.WEIGHTS_NOT_LOADED,
            hint="pass parameters=..., a mapping from parameter names to lazy tensors",
        )
    return {name: _lazy(name, tensor) for name, tensor in tensors.items()}


def _lazy(name: str, tensor: torch.Tensor) -> LazyTensor:
    rows = tensor if tensor.dim() else tensor[None]
    return LazyTensor(
        name,
        tuple(tensor.shape),
        str(tensor.dtype).removeprefix("torch."),
        tensor.nbytes,
        lambda start, stop: rows[start:stop].float().numpy(force=True),
    )
