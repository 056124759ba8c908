"""Trial runs of a module: its tensors and the caller's are afterwards as they were, whatever its code writes to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


@contextmanager
def undone(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Undo, at the end of the block, what its operators write to ``tensors``; a copy is kept of those alone.

    Tensors on the ``meta`` device have nothing to undo.
    """
    mode = _CopyOnWrite(tensors)
    try:
        with mode:
            yield
    finally:
        mode.restore()


def tensors_of(module: Any) -> Iterator[torch.Tensor]:
    """Parameters, buffers and other tensors that a module and those in it hold; of anything else, none."""
    for each in module.modules() if isinstance(module, nn.Module) else ():
        leaves = pytree.tree_leaves([each._parameters, each._buffers, vars(each)])
        yield from (leaf for leaf in leaves if isinstance(leaf, torch.Tensor))


class _CopyOnWrite(TorchDispatchMode):
    supports_higher_order_operators = True

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        real = (tensor for tensor in tensors if not tensor.is_meta)
        self._guarded = {tensor.untyped_storage()._cdata: tensor for tensor in real}
        self._saved: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, torch._ops.OpOverload) and func._schema.is_mutable:
            given = {**dict(zip((each.name for each in func._schema.arguments), args, strict=False)), **kwargs}
            written = [each.name for each in func._schema.arguments if each.alias_info and each.alias_info.is_write]
            for leaf in pytree.tree_leaves([given.get(name) for name in written]):
                self._save(leaf)
        return func(*args, **kwargs)

    def _save(self, leaf: Any) -> None:
        if isinstance(leaf, torch.Tensor) and not leaf.is_meta:
            storage = leaf.untyped_storage()
            if storage._cdata in self._guarded and storage._cdata not in self._saved:
                self._saved[storage._cdata] = storage.clone()  # type: ignore[no-untyped-call]

    def restore(self) -> None:
        """Give the tensors their contents again."""
        for key, contents in self._saved.items():
            self._guarded[key].untyped_storage().copy_(contents)
