"""Cases from PyTorch's own database of operators (``OpInfo``): each operator with sample arguments, per dtype."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree as pytree

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "int32": torch.int32,
    "int64": torch.int64,
    "bool": torch.bool,
}

OPERATORS = {info.full_name: info for info in op_db}
"""``nn.functional.conv2d``, ``div.floor_rounding``, ... -> OpInfo."""


def dtypes_of(info: Any) -> list[str]:
    """Dtypes of LiteRT for which PyTorch defines the operator."""
    supported = info.supported_dtypes("cpu")
    return [name for name, dtype in DTYPES.items() if dtype in supported]


def samples(info: Any, dtype: str, limit: int) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """``(args, kwargs)``: at most ``limit`` of the samples with distinct shapes and options, spread over all of them.

    Left out: samples with an empty tensor, which LiteRT's files cannot take in or give out.
    """
    torch.manual_seed(0)
    distinct: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    for sample in info.sample_inputs("cpu", DTYPES[dtype], requires_grad=False):
        args, kwargs = (sample.input, *sample.args), dict(sample.kwargs)
        leaves = pytree.tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        if not tensors or any(tensor.numel() == 0 for tensor in tensors):
            continue
        key = [tuple(leaf.shape) if isinstance(leaf, torch.Tensor) else str(leaf) for leaf in leaves]
        distinct.setdefault(str((key, list(kwargs))), (args, kwargs))
    chosen = list(distinct.values())
    step = max(1, len(chosen) / limit)
    for i in range(min(limit, len(chosen))):
        yield chosen[int(i * step)]
