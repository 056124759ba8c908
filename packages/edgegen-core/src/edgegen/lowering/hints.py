"""Hints for operators that cannot be lowered: the nearest form that can."""

from __future__ import annotations

_STATIC = "LiteRT's shapes are fixed: keep the shape and mark what counts, as torch.where(mask, x, 0) does"
_RANDOM = "draw the numbers outside and pass them as an input"
_COMPLEX = "keep real and imaginary parts in two tensors; a short transform is a product with a constant matrix"
_TRAINING = "call model.eval() before converting"

HINTS: dict[str, str] = {
    "aten.nonzero": _STATIC,
    "aten.masked_select": _STATIC,
    "aten.index": _STATIC,
    "aten.index_put": "torch.where(mask, values, x), with values of the shape of x",
    "aten._unique2": _STATIC,
    "aten.repeat_interleave": _STATIC,
    "aten.unique_dim": _STATIC,
    "aten.unique_consecutive": _STATIC,
    "aten.bincount": "torch.zeros(n).scatter_add(0, index, torch.ones_like(index))",
    "aten._local_scalar_dense": "keep the number in a tensor: .item() fixes it when the model is traced",
    "aten.rand": _RANDOM,
    "aten.randn": _RANDOM,
    "aten.randint": _RANDOM,
    "aten.randperm": _RANDOM,
    "aten.bernoulli": _RANDOM,
    "aten.multinomial": _RANDOM,
    "aten.normal": _RANDOM,
    "aten.dropout": _TRAINING,
    "aten.native_dropout": _TRAINING,
    "aten._native_batch_norm_legit": _TRAINING,
    "aten._native_batch_norm_legit_functional": _TRAINING,
    "aten._fft_r2c": _COMPLEX,
    "aten._fft_c2r": _COMPLEX,
    "aten._fft_c2c": _COMPLEX,
    "aten.complex": _COMPLEX,
    "aten.view_as_complex": _COMPLEX,
    "aten.view_as_real": _COMPLEX,
    "aten.convolution": "convert the operands to float32 first",
}
"""Operator without its overload -> the nearest form that can be lowered."""


_AXES = "flatten axes that are treated alike before it, and unflatten them after it"

OPEN_SHAPE = "with a shape that depends on contents"
"""Reason for which an operator that has a rule cannot be lowered."""


def hint_for(refused: str) -> str | None:
    """The nearest form of ``aten.name.overload``, or of that with ``: reason``, that can be lowered; or None."""
    operator, _, reason = refused.partition(": ")
    if reason == OPEN_SHAPE or " axes; " in reason:
        return HINTS.get(operator.rpartition(".")[0], _STATIC if reason == OPEN_SHAPE else _AXES)
    return HINTS.get(operator.rpartition(".")[0])
