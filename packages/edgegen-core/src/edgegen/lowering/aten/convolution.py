"""Convolutions of 1 to 3 dimensions, transposed, grouped and dilated ones included.

LiteRT's have channels last: a TRANSPOSE by (0, 2, 3, 1) goes before and one by (0, 3, 1, 2) after, which cancel out
between neighbours. Weights that are parameters are rearranged when the file is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgegen.graph import Value
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.rules import RuleTable

RULES = RuleTable()
lowers = RULES.lowers

Pads = list[tuple[int, int]]


@lowers("aten.convolution.default")
def _convolution(
    g: LoweringContext,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    if not x.dtype.startswith("float"):
        raise NotImplementedError(f"on {x.dtype}; LiteRT's convolutions are of floats")
    axes = range(x.rank - 2)
    stride, padding, dilation, output_padding = (
        [each[i] if len(each) > 1 else each[0] for i in axes] for each in (stride, padding, dilation, output_padding)
    )
    x, weight = _wide(g, x), _wide(g, weight)
    bias = bias if bias is None else _wide(g, bias)
    if not transposed:
        result = _forward(g, x, weight, bias, stride, [(p, p) for p in padding], dilation, groups)
    elif groups == 1 and max(dilation) == 1 and x.rank < 5:
        result = _transposed(g, x, weight, bias, stride, padding, output_padding)
    else:
        result = _spread(g, x, weight, bias, stride, padding, dilation, output_padding, groups)
    return g.cast(result, g.dtype)


def _wide(g: LoweringContext, x: Value) -> Value:
    return g.cast(x, "float32")


def _bias(g: LoweringContext, bias: Value | None, channels: int) -> Value:
    return g.constant(np.zeros(channels, np.float32)) if bias is None else bias


def _channels_last(g: LoweringContext, x: Value) -> Value:
    x = g.transpose(x, [0, *range(2, x.rank), 1])
    return g.reshape(x, (x.shape[0], 1, *x.shape[1:])) if x.rank == 3 else x


def _channels_first(g: LoweringContext, x: Value, rank: int) -> Value:
    if rank == 3:
        x = g.reshape(x, (x.shape[0], *x.shape[2:]))
    return g.transpose(x, [0, rank - 1, *range(1, rank - 1)])


# -- forward --------------------------------------------------------------------------------------------------------


def _forward(
    g: LoweringContext,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    pads: Pads,
    dilation: Sequence[int],
    groups: int,
) -> Value:
    """``x [N, I, ...]``, ``weight [O, I / groups, ...]``."""
    rank, sizes, kernel = x.rank, x.shape[2:], weight.shape[2:]
    out = [
        (n + sum(p) - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(sizes, pads, dilation, kernel, stride, strict=True)
    ]
    if rank == 3:  # as two dimensions, the first of them 1
        stride, pads, dilation, kernel = [1, *stride], [(0, 0), *pads], [1, *dilation], (1, *kernel)
        sizes, out = (1, *sizes), [1, *out]
    last = _channels_last(g, x)
    if all(map(_is_same, sizes, out, kernel, stride, dilation, pads)):
        padding = "SAME"
    else:
        padding, last = "VALID", g.pad(last, [(0, 0), *pads, (0, 0)])
    options: dict[str, Any] = {"padding": padding, "fusedActivationFunction": "NONE"}
    for i, axis in enumerate("DHW"[-len(kernel) :]):
        options |= {f"stride{axis}": stride[i], f"dilation{axis}Factor": dilation[i]}
    if rank == 5:
        result = _volume(g, last, weight, bias, groups, out, options)
    else:
        result = _image(g, last, weight, bias, groups, out, options)
    return _channels_first(g, result, rank)


def _is_same(n: int, out: int, kernel: int, stride: int, dilation: int, pad: tuple[int, int]) -> bool:
    """True if this padding is LiteRT's ``SAME``, which puts the odd element after."""
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - n, 0)
    return out == -(-n // stride) and pad[0] == total // 2


def _image(
    g: LoweringContext,
    x: Value,
    weight: Value,
    bias: Value | None,
    groups: int,
    out: Sequence[int],
    options: dict[str, Any],
) -> Value:
    channels, rows = weight.shape[0], [-1] if weight.rank == 3 else []
    spatial = [*rows, *range(2, weight.rank)]
    shape = (x.shape[0], *out, channels)
    if groups > 1 and weight.shape[1] == 1 and groups == x.shape[-1]:
        kernel = g.permuted(weight, [1, *spatial, 0])
        options = {**options, "depthMultiplier": channels // groups}
        return g.op("DEPTHWISE_CONV_2D", [x, kernel, _bias(g, bias, channels)], shape, **options)
    kernel = g.permuted(weight, [0, *spatial, 1])
    return g.op("CONV_2D", [x, kernel, _bias(g, bias, channels)], shape, **options)


def _volume(
    g: LoweringContext,
    x: Value,
    weight: Value,
    bias: Value | None,
    groups: int,
    out: Sequence[int],
    options: dict[str, Any],
) -> Value:
    """LiteRT's CONV_3D knows no groups: one for each, side by side."""
    kernel = g.permuted(weight, [2, 3, 4, 1, 0])
    into, from_ = weight.shape[0] // groups, weight.shape[1]
    parts = []
    for i in range(groups):
        filters = [g.narrow(x, 4, i * from_, from_), g.narrow(kernel, 4, i * into, into)]
        parts.append(g.op("CONV_3D", filters, (x.shape[0], *out, into), **options))
    result = g.concat(parts, 4)
    return result if bias is None else g.add(result, bias)


# -- transposed -----------------------------------------------------------------------------------------------------


def _transposed(
    g: LoweringContext,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
) -> Value:
    """``weight [I, O, ...]``. What padding takes away is cut off."""
    rank, kernel, channels = x.rank, weight.shape[2:], weight.shape[1]
    rows = [-1] if rank == 3 else []
    last = _channels_last(g, x)
    if rank == 3:
        stride, padding, output_padding, kernel = [1, *stride], [0, *padding], [0, *output_padding], (1, *kernel)
    sizes = last.shape[1:3]
    whole = [(n - 1) * s + k for n, s, k in zip(sizes, stride, kernel, strict=True)]
    out = [w - 2 * p + extra for w, p, extra in zip(whole, padding, output_padding, strict=True)]
    same = all(
        o == n * s and w >= o and p == (w - o) // 2
        for o, n, s, w, p in zip(out, sizes, stride, whole, padding, strict=True)
    )
    made = out if same else [max(w, p + o) for w, p, o in zip(whole, padding, out, strict=True)]
    shape = (x.shape[0], *made, channels)
    operands = [
        g.constant(list(shape), "int32"),
        g.permuted(weight, [1, *rows, *range(2, rank), 0]),
        last,
        _bias(g, bias, channels),
    ]
    options: dict[str, Any] = {"strideH": stride[0], "strideW": stride[1], "fusedActivationFunction": "NONE"}
    result = g.op("TRANSPOSE_CONV", operands, shape, "float32", padding="SAME" if same else "VALID", **options)
    if not same:
        result = g.slice(result, [0, *padding, 0], [shape[0], *out, channels])
    return _channels_first(g, result, rank)


def _spread(
    g: LoweringContext,
    x: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    output_padding: Sequence[int],
    groups: int,
) -> Value:
    """As a convolution of the input with zeros between its elements and the weights turned round."""
    pads: Pads = []
    for i, (s, p, d, extra) in enumerate(zip(stride, padding, dilation, output_padding, strict=True)):
        x = _with_gaps(g, x, i + 2, s)
        reach = d * (weight.shape[i + 2] - 1)
        pads.append((max(0, reach - p), max(0, reach - p + extra)))
        cut = max(0, p - reach), max(0, p - reach - extra)
        x = g.narrow(x, i + 2, cut[0], x.shape[i + 2] - sum(cut))
    inputs, outputs, *kernel = weight.shape
    grouped = g.reshape(weight, (groups, inputs // groups, outputs, *kernel))
    swapped = g.transpose(grouped, [0, 2, 1, *range(3, grouped.rank)])
    turned = g.reverse(g.reshape(swapped, (groups * outputs, inputs // groups, *kernel)), range(2, weight.rank))
    return _forward(g, x, turned, bias, [1] * len(kernel), pads, dilation, groups)


def _with_gaps(g: LoweringContext, x: Value, axis: int, stride: int) -> Value:
    """``stride - 1`` zeros between neighbours along ``axis``."""
    if stride == 1:
        return x
    before, n, after = (int(np.prod(part)) for part in (x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]))
    wide = g.pad(g.reshape(x, (before * n, 1, after)), [(0, 0), (0, stride - 1), (0, 0)])
    wide = g.reshape(wide, (*x.shape[:axis], n * stride, *x.shape[axis + 1 :]))
    return g.narrow(wide, axis, 0, (n - 1) * stride + 1)
