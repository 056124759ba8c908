"""Samples that are not expected to agree, each with its reason. One that agrees all the same is a failure."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import torch

_OUT_OF_SCOPE = """
    fft.* sparse.* stft istft view_as_complex view_as_real complex polar jiterator*
    cholesky* geqrf lu lu_* ormqr pca_lowrank qr svd* symeig triangular_solve logdet matrix_exp
    linalg.c[!r]* linalg.de* linalg.ei* linalg.h* linalg.i* linalg.ld* linalg.ls* linalg.lu* linalg.ps*
    linalg.q* linalg.s* linalg.matrix_r* linalg.matrix_n* linalg.pi* linalg.tensor*
    normal* randn* rand rand_like randint* bernoulli multinomial cauchy exponential geometric log_normal
    uniform nn.functional.dropout* nn.functional.*alpha_dropout nn.functional.rrelu
    nn.functional.fractional_max_pool* special.bessel* special.modified* special.scaled_mod*
    special.airy* special.*polynomial* special.spherical* special.zeta polygamma* special.polygamma*
    mvlgamma* lgamma digamma igamma* i0 special.i* special.ndtri nextafter frexp
    nonzero* masked_select argwhere unique* combinations bincount histc histogram* item allclose equal
    empty* new_empty* corrcoef cov to_sparse resize_* resize_as_ _segment_reduce* segment_reduce*
"""
OUT_OF_SCOPE = _OUT_OF_SCOPE.split()
"""Complex numbers, decompositions of matrices, random numbers, special functions, shapes that depend on contents."""

ROWS: list[tuple[str, str, str]] = [
    (
        "float64, for which LiteRT has no kernels",
        "*",
        "double float_power linspace.tensor_overload logspace.tensor_overload log_softmax.with_dtype "
        "nn.functional.softmin.with_dtype softmax.with_dtype to",
    ),
    ("the result is float64 in PyTorch", "int32", "*_like new_full new_ones new_zeros"),
    ("complex numbers, for which LiteRT has no kernels", "*", "cdouble cfloat chalf"),
    ("bfloat16, int16 or uint64, for which LiteRT has no kernels", "*", "bfloat16 short hash_tensor"),
    (
        "training: model.eval() comes first",
        "*",
        "_native_batch_norm_legit native_batch_norm nn.functional.batch_norm nn.functional.instance_norm",
    ),
    ("training: model.eval() comes first", "float32", "nn.functional.feature_alpha_dropout.with_train"),
    ("a shape that depends on contents, in one of the samples", "*", "tensor_split nn.functional.gaussian_nll_loss"),
    ("a shape that depends on contents, in one of the samples", "float32", "index_put narrow repeat_interleave"),
    ("a number of classes that depends on contents, in one of the samples", "int64", "nn.functional.one_hot"),
    (
        "PyTorch adds up in float16, LiteRT in float32, which is closer",
        "float16",
        "addbmm nn.functional.conv_transpose3d _unsafe_masked_index_put_accumulate grid_sampler_2d",
    ),
    (
        "LiteRT's kernel takes float32 only",
        "int64",
        "nn.functional.conv* nn.functional.avg_pool* nn.functional.local_response_norm",
    ),
    (
        "LiteRT's kernel takes int32 only",
        "int64",
        "bitwise_right_shift index_reduce.a* index_reduce.prod scatter_reduce.a* scatter_reduce.prod",
    ),
    ("LiteRT's kernel refuses negative exponents of whole numbers, which PyTorch makes 0", "int32", "__rpow__"),
    ("a view of memory that another tensor owns", "float32", "as_strided.partial_views"),
    ("max_norm, with which a lookup writes to its table, in one of the samples", "float32", "nn.functional.embedding"),
    ("decompositions of matrices", "float32", "linalg.matrix_power norm.nuc pinverse"),
    (
        "not written: no model at hand uses it",
        "*",
        "special.erfcx special.log_ndtr mode nanmedian masked.median gcd lcm",
    ),
    (
        "not written: no model at hand uses it",
        "*",
        "special.erfcx special.log_ndtr mode nanmedian masked.median gcd lcm grid_sampler_3d "
        "nn.functional.embedding_bag nn.functional.linear_cross_entropy.chunked*",
    ),
    (
        "not written: no model at hand uses it",
        "float32",
        "nn.functional.grid_sample _upsample_bilinear2d_aa nn.functional.ctc_loss scatter",
    ),
    ("not written: no model at hand uses it", "float16", "renorm"),
]
"""Reason, dtype (or ``*``), names of OpInfos (patterns)."""


def expected(name: str, dtype: str) -> str | None:
    """Why this is expected not to agree; None where it is to."""
    for reason, dtypes, names in ROWS:
        if dtypes in ("*", dtype) and any(fnmatchcase(name, pattern) for pattern in names.split()):
            return reason
    return None


def _looked_up(position: int) -> Callable[..., Any]:
    """Compare elements at the indices instead of indices: of equal elements PyTorch may name any."""

    def wrap(operator: Callable[..., Any]) -> Callable[..., Any]:
        def function(x: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
            values, index = operator(x, *args, **kwargs)
            if x.dim() == 0:
                return values, index
            axis = kwargs.get("dim", args[position] if len(args) > position else -1)
            whole = index if values.dim() == x.dim() else index.unsqueeze(axis)
            return values, torch.gather(x, axis, whole)

        return function

    return wrap


def _looked_up_alone(operator: Callable[..., Any]) -> Callable[..., Any]:
    def function(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        index = operator(x, *args, **kwargs)
        axis = kwargs.get("dim", args[0] if args and not isinstance(args[0], bool) else -1)
        return torch.gather(x, axis, index) if x.dim() else index

    return function


UNORDERED = {
    "topk": _looked_up(1),
    "sort": _looked_up(0),
    "kthvalue": _looked_up(1),
    "argsort": _looked_up_alone,
}
"""OpInfo -> what to compare instead; the number says which argument the axis is."""
