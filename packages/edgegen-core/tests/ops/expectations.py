"""What is not expected to agree, each with its reason. A case that agrees all the same is a failure."""

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

ROWS: list[tuple[str, str, str]] = []


def expected(name: str, dtype: str) -> str | None:
    """Why this is expected not to agree; None where it is to."""
    for reason, dtypes, names in ROWS:
        if dtypes in ("*", dtype) and any(fnmatchcase(name, pattern) for pattern in names.split()):
            return reason
    return None


def _looked_up(position: int) -> Callable[..., Any]:
    """Of equal elements PyTorch may name any: compare what is found at the indices instead of the indices."""

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


UNORDERED = {"topk": _looked_up(1), "sort": _looked_up(0), "kthvalue": _looked_up(1)}
"""OpInfo -> what to compare instead; the number says which argument the axis is."""
