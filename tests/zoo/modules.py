"""Modules and functions of PyTorch that people convert, with inputs: ``name -> (module, inputs)``, made anew each time.

Names are unique; what has no lowering is in it too, as it must be refused and not be wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

R = torch.randn
Case = tuple[str, nn.Module, tuple[Any, ...]]

ACTIVATIONS = [
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
    "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "ReLU", "ReLU6", "RReLU", "SELU",
    "Sigmoid", "SiLU", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign",
    "Tanh", "Tanhshrink",
]  # fmt: skip
SIZES = {
    "twice": {"scale_factor": 2.0},
    "half": {"scale_factor": 0.5},
    "odd": {"scale_factor": 1.7},
    "to": {"size": (7, 3)},
}


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def integers(high: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, high, shape)


def cases() -> Iterator[Case]:
    """All cases, in a fixed order."""
    torch.manual_seed(0)
    for make in (_recurrent, _attention, _spatial, _resizing, _others):
        for name, module, *inputs in make():
            yield name, module.eval(), tuple(inputs)
    for name, function, *inputs in _functions():
        yield name, Function(function), tuple(inputs)


def _recurrent() -> Iterator[tuple[Any, ...]]:
    yield "LSTM", nn.LSTM(4, 6, 2, batch_first=True), R(2, 5, 4)
    yield "LSTM, both ways", nn.LSTM(4, 6, 1, bidirectional=True), R(5, 2, 4)
    yield "LSTM, projected", nn.LSTM(4, 6, 1, proj_size=3), R(5, 2, 4)
    yield "GRU", nn.GRU(4, 6, 2), R(2, 5, 4)
    yield "RNN", nn.RNN(4, 6, 1, nonlinearity="relu"), R(5, 2, 4)
    yield "LSTMCell", nn.LSTMCell(4, 6), R(2, 4)
    yield "GRUCell", nn.GRUCell(4, 6), R(2, 4)


def _attention() -> Iterator[tuple[Any, ...]]:
    x = R(2, 5, 8)
    yield "MultiheadAttention", nn.MultiheadAttention(8, 2, batch_first=True), x, x, x
    wide = nn.MultiheadAttention(8, 2, kdim=6, vdim=4, add_bias_kv=True, add_zero_attn=True)
    yield "MultiheadAttention, other widths", wide, R(5, 2, 8), R(3, 2, 6), R(3, 2, 4)
    yield "TransformerEncoderLayer", nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), x
    first = nn.TransformerEncoderLayer(8, 2, 16, norm_first=True, activation="gelu")
    yield "TransformerEncoderLayer, norm first", first, R(5, 2, 8)
    yield "TransformerDecoderLayer", nn.TransformerDecoderLayer(8, 2, 16), R(5, 2, 8), R(4, 2, 8)
    yield "Transformer", nn.Transformer(8, 2, 1, 1, 16, batch_first=True), x, R(2, 4, 8)


def _spatial() -> Iterator[tuple[Any, ...]]:
    """Convolutions, norms, pools and paddings of one, two and three axes."""
    for d in (1, 2, 3):
        of = lambda name, d=d: getattr(nn, f"{name}{d}d")  # noqa: E731
        x = R(2, 4, *(7, 6, 5)[:d])
        for groups in (1, 2):
            yield f"Conv{d}d {groups}", of("Conv")(4, 6, 3, stride=2, padding=1, groups=groups), x
            yield f"Conv{d}d dilated {groups}", of("Conv")(4, 6, 2, dilation=2, groups=groups, padding="same"), x
            across = of("ConvTranspose")(4, 6, 3, stride=2, padding=1, output_padding=1, groups=groups)
            yield f"ConvTranspose{d}d {groups}", across, x
        yield f"Conv{d}d circular", of("Conv")(4, 6, 3, padding=1, padding_mode="circular"), x
        for affine in (True, False):
            norm = of("BatchNorm")(4, affine=affine)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            yield f"BatchNorm{d}d affine {affine}", norm, x
        yield f"InstanceNorm{d}d", of("InstanceNorm")(4, affine=True), x
        yield f"InstanceNorm{d}d with statistics", of("InstanceNorm")(4, track_running_stats=True), x
        yield f"MaxPool{d}d", of("MaxPool")(3, 2, 1, ceil_mode=True), x
        yield f"MaxPool{d}d dilated", of("MaxPool")(2, 1, 0, dilation=2), x
        yield f"MaxPool{d}d with places", of("MaxPool")(2, return_indices=True), x
        yield f"AvgPool{d}d", of("AvgPool")(3, 2, 1), x
        yield f"AvgPool{d}d without padding", of("AvgPool")(3, 2, 1, ceil_mode=True, count_include_pad=False), x
        for size in (2, 3):
            yield f"AdaptiveAvgPool{d}d {size}", of("AdaptiveAvgPool")(size), x
        yield f"AdaptiveMaxPool{d}d", of("AdaptiveMaxPool")(2), x
        for kind in ("Reflection", "Replication", "Zero", "Circular"):
            yield f"{kind}Pad{d}d", of(f"{kind}Pad")(1), x
        yield f"ConstantPad{d}d", of("ConstantPad")(1, 2.5), x
    yield "AvgPool2d beyond the input", nn.AvgPool2d(2560, ceil_mode=True), R(1, 900, 1, 1)


def _resizing() -> Iterator[tuple[Any, ...]]:
    for mode in ("nearest", "nearest-exact", "area", "bilinear", "bicubic"):
        for corners in (None, True, False) if mode in ("bilinear", "bicubic") else (None,):
            for name, size in SIZES.items():
                up = nn.Upsample(mode=mode, align_corners=corners, **size)
                yield f"Upsample {mode} {corners} {name}", up, R(1, 2, 5, 6)
    yield "Upsample linear", nn.Upsample(scale_factor=3.0, mode="linear"), R(1, 2, 5)
    yield "Upsample trilinear", nn.Upsample(scale_factor=2.0, mode="trilinear"), R(1, 2, 3, 4, 5)
    yield "PixelShuffle", nn.PixelShuffle(2), R(2, 8, 3, 3)
    yield "PixelUnshuffle", nn.PixelUnshuffle(2), R(2, 2, 4, 4)
    yield "ChannelShuffle", nn.ChannelShuffle(2), R(2, 4, 3, 3)
    yield "Fold", nn.Fold((4, 4), 2, stride=2), R(2, 8, 4)
    yield "Unfold", nn.Unfold(2, padding=1, stride=2), R(2, 3, 5, 5)


def _others() -> Iterator[tuple[Any, ...]]:
    yield "LPPool2d", nn.LPPool2d(2, 2), R(2, 4, 6, 6)
    yield "GroupNorm", nn.GroupNorm(2, 4), R(2, 4, 5, 5)
    yield "LocalResponseNorm", nn.LocalResponseNorm(2), R(2, 4, 5, 5).abs()
    yield "LayerNorm", nn.LayerNorm([4, 5]), R(2, 4, 5)
    yield "RMSNorm", nn.RMSNorm(5), R(2, 4, 5)
    yield "Embedding", nn.Embedding(10, 4, padding_idx=0), integers(10, 2, 3)
    yield "Embedding, renormalized", nn.Embedding(10, 4, max_norm=1.0), integers(10, 2, 3)
    yield "EmbeddingBag", nn.EmbeddingBag(10, 4, mode="mean"), integers(10, 2, 3)
    yield "Bilinear", nn.Bilinear(3, 4, 5), R(2, 3), R(2, 4)
    yield "CosineSimilarity", nn.CosineSimilarity(), R(2, 3), R(2, 3)
    yield "PairwiseDistance", nn.PairwiseDistance(), R(2, 3), R(2, 3)
    for name in ACTIVATIONS:
        yield name, getattr(nn, name)(), R(2, 3, 4, 4) * 3
    yield "GELU tanh", nn.GELU("tanh"), R(2, 4) * 3
    yield "GLU", nn.GLU(), R(2, 4)
    yield "Threshold", nn.Threshold(0.1, 20.0), R(2, 4)
    yield "Dropout", nn.Dropout(), R(2, 4)
    yield "Flatten", nn.Flatten(), R(2, 3, 4)
    yield "Unflatten", nn.Unflatten(1, (2, 2)), R(2, 4, 3)


def _functions() -> Iterator[tuple[Any, ...]]:
    x, y, i = R(3, 5), R(5), integers(5, 3, 2)
    yield "einsum batch", lambda a, b: torch.einsum("bij,bkj->bik", a, b), R(2, 3, 4), R(2, 5, 4)
    yield "einsum ellipsis", lambda a, b: torch.einsum("...ij,jk->...ik", a, b), R(2, 2, 3, 4), R(4, 5)
    yield "einsum diagonal", lambda a: torch.einsum("ii->i", a), R(4, 4)
    yield "topk", lambda a: torch.topk(a, 3), x
    yield "sort", lambda a: torch.sort(a, descending=True), x
    yield "kthvalue, median", lambda a: (a.kthvalue(2), a.median(-1)), x
    yield "cumulative", lambda a: (a.cummax(1), a.cumprod(1), a.logcumsumexp(1), a.diff()), x
    yield "mode", lambda a: a.mode(-1), x
    yield "gather", lambda a, i: a.gather(1, i), x, i
    yield "scatter", lambda a, i, s: a.scatter(1, i, s), x, torch.tensor([[0, 2], [1, 3], [4, 0]]), R(3, 2)
    yield "scatter_add", lambda a, i, s: a.scatter_add(1, i, s), x, i, R(3, 2)
    yield "scatter_reduce", lambda a, i, s: a.scatter_reduce(1, i, s, "amax"), x, i, R(3, 2)
    rows, columns = torch.tensor([1, 4, 2]), torch.tensor([0, 1, 2])
    yield "index_put", lambda a, s: a.index_put((rows, columns), s), R(5, 3), R(3)
    yield "index_put, adding", lambda a, i, s: a.index_put((i,), s, accumulate=True), R(5, 3), columns, R(3, 3)
    yield "indices", lambda a, i: (a[:, i, :], a[i[0]], a[:, i - 3]), R(3, 5, 3), integers(3, 2, 4)
    yield "masks", lambda a, b: (a * (a > 0), torch.where(a > 0, b, 0.5), a.masked_scatter(a > 0, a * 2)), x, y
    yield "masked selection", lambda a: a[a > 0], x
    yield "clamp by tensors", lambda a, b: torch.clamp(a, min=b), x, y
    divided = (integers(20, 4) + 1, integers(5, 4) + 1)
    yield "integer division", lambda a, b: (a // b, a % b, torch.fmod(a, b), torch.remainder(-a, b)), *divided
    yield "remainders", lambda a: (torch.fmod(a, 1.5), torch.remainder(a, -1.5), torch.floor_divide(a, 2)), x * 5
    halves = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.25, -0.35])
    yield "rounding", lambda a: (a.round(), torch.round(a, decimals=1), a.frac(), a.trunc()), halves
    yield "powers", lambda a: (a**3, a**2, a.abs() ** 0.5, 2**a, a**-1, a.abs() ** a), y
    yield "bits", lambda a: (a & 3, a | 4, a ^ 5, ~a, a << 1, a >> 1), integers(9, 4).int()
    yield "casts", lambda a: (a.int(), a.long(), a.bool(), a.to(torch.int8), a.half().float()), R(6) * 3
    yield "bfloat16", lambda a: (a.bfloat16() * 3).float(), y
    odd = torch.tensor([1.0, float("nan"), float("inf"), -float("inf")])
    yield "no numbers", lambda a: (a.isnan(), a.isinf(), torch.nan_to_num(a)), odd
    yield "moments", lambda a: (a.std(1), a.var(1, unbiased=False), torch.var_mean(a, 1)), x
    yield "norms", lambda a: (a.norm(), a.norm(1, 1), a.norm(float("inf"), 0), F.normalize(a)), x
    yield "distances", torch.cdist, R(3, 4), R(5, 4)
    yield "products", lambda a: (torch.outer(a, a), torch.kron(a, a), torch.dot(a, a)), y
    yield "triangles", lambda a: (a.tril(), a.triu(1), torch.diag(a[0]), torch.trace(a), a.rot90()), R(4, 5)
    yield "repetition", lambda a: (a.repeat(2, 3), a.repeat_interleave(2, 1), a.tile(2)), x
    yield "repetition by a tensor", lambda a: a.repeat_interleave(torch.tensor([1, 2, 1]), 0), x
    yield "axes", lambda a: (a.movedim(0, -1), a.swapaxes(0, 1), a.ravel(), *a.unbind(1)), R(2, 3, 4)
    yield "parts", lambda a: (*a.split([1, 2, 4], 1), *a.tensor_split(3, 1), a.unfold(1, 3, 2)), R(2, 7)
    yield "as_strided", lambda a: a.as_strided((2, 2), (1, 2)), R(4, 4)
    yield "one_hot", lambda a: F.one_hot(a, 5), integers(5, 4)
    bounds = torch.tensor([-1.0, 0.0, 1.0])
    yield "bucketize", lambda a: (torch.bucketize(a, bounds), torch.searchsorted(bounds, a, right=True)), y
    yield "histc", lambda a: torch.histc(a, 4, -2, 2), y
    yield "unique", torch.unique, integers(4, 6)
    yield "grids", lambda a, b: (*torch.meshgrid(a, b, indexing="ij"), torch.cartesian_prod(a, b)), R(3), R(4)
    picture, places = R(1, 2, 4, 4), R(1, 3, 3, 2)
    yield "grid_sample", lambda a, g: F.grid_sample(a, g, align_corners=False), picture, places.clamp(-1, 1)
    nearest = {"mode": "nearest", "padding_mode": "border", "align_corners": True}
    yield "grid_sample nearest", lambda a, g: F.grid_sample(a, g, **nearest), picture, places
    yield "affine_grid", lambda t: F.affine_grid(t, (1, 1, 3, 3), align_corners=False), R(1, 2, 3)
    q, k = R(1, 4, 6, 8), R(1, 2, 6, 8)
    attend = F.scaled_dot_product_attention
    yield "attention, causal", lambda q: attend(q, q, q, is_causal=True), q
    yield "attention, masked", lambda q, m: attend(q, q, q, attn_mask=m), q, torch.ones(6, 6).tril() > 0
    yield "attention, grouped", lambda q, k: attend(q, k, k, enable_gqa=True, scale=0.3), q, k
    yield "Fourier", lambda a: torch.fft.rfft(a).abs(), R(8)
    yield "mse, huber", lambda a, b: (F.mse_loss(a, b), F.l1_loss(a, b), F.huber_loss(a, b)), x, R(3, 5)
    yield "cross entropy", F.cross_entropy, x, integers(5, 3)
    yield "error functions", lambda a: (a.erf(), a.erfc(), a.expm1(), a.abs().log1p(), a.exp2()), y
    yield "hyperbolic", lambda a: (a.sinh(), a.cosh(), a.asinh(), (a.abs() + 1).acosh()), y
    yield "trigonometric", lambda a: (a.tan(), a.atan(), a.clamp(-0.9, 0.9).asin(), torch.sinc(a)), y
    yield "gamma", lambda a: (a.abs() + 0.5).lgamma(), y
    yield "signs", lambda a: (torch.copysign(a, -a), torch.sgn(a), torch.signbit(a), torch.hypot(a, a)), y
    yield "logarithms", lambda a: (torch.logaddexp(a, a * 2), torch.xlogy(a.abs(), a.abs() + 0.1)), y
    yield "truth", lambda a: (a.all(), a.any(1), torch.count_nonzero(a), a.sum(), a.int().prod()), x > -1
    yield "extremes", lambda a: (a.argmin(1), a.argmax(0), a.min(1), torch.aminmax(a, dim=1)), integers(3, 4, 5).float()
    yield "addmm", lambda a, b, c: (torch.addmm(a, b, c, beta=0.5, alpha=2), a.lerp(a * 2, 0.3)), x, R(3, 4), R(4, 5)
    yield "products of many ranks", lambda a, b, c: (a @ b, c @ b, b.mT @ c), R(2, 1, 3, 4), R(5, 4, 2), R(4)
    yield "products of integers", lambda a, b: a @ b, integers(5, 3, 4), integers(5, 4, 2)
    yield "mixed types", lambda a, b: (a + b, a * b, b / 2, a > b, torch.where(b > 2, a, b)), R(4), integers(5, 4)
    yield "uint8", lambda a: (a + 1, a.float() / 255), integers(255, 4).to(torch.uint8)
    yield "int8", lambda a: (a + a, -a, a.float()), integers(100, 4).to(torch.int8)
    yield "float64", lambda a: a * 2, R(4).double()
    yield "large integers", lambda a: a * 2, torch.tensor([2**40, -(2**40)])
