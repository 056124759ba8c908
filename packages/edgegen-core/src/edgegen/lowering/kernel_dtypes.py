"""Dtypes and ranks of LiteRT's kernels, and the dtype to compute in where a value has another.

Found by running each kernel on each dtype (LiteRT 2.3). What is not listed moves elements without looking at them and
takes every dtype. Kernels that calculate on 8-bit integers expect a scale, so here those integers count as not taken.
"""

from __future__ import annotations

_NUMBERS = frozenset({"float32", "int32", "int64"})
_NARROW = frozenset({"float32", "int32"})
_FLOAT = frozenset({"float32"})
_BOOL = frozenset({"bool"})

_GROUPS: dict[frozenset[str], str] = {
    _NUMBERS: "ADD SUB MUL MAXIMUM MINIMUM NEG FLOOR_MOD LESS LESS_EQUAL GREATER GREATER_EQUAL "
    "SUM REDUCE_MAX REDUCE_MIN REDUCE_PROD CUMSUM TOPK_V2",
    _NUMBERS | _BOOL: "EQUAL NOT_EQUAL SCATTER_ND",
    _NARROW: "ABS SIGN POW DIV FLOOR_DIV UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MIN UNSORTED_SEGMENT_MAX",
    _NARROW | _BOOL: "ARG_MAX ARG_MIN",
    _FLOAT: "ATAN2 CEIL COS ELU EXP FLOOR GELU LEAKY_RELU LOG LOGISTIC LOG_SOFTMAX RELU ROUND RSQRT SIN SOFTMAX SQRT "
    "SQUARE TANH MEAN BATCH_MATMUL FULLY_CONNECTED CONV_2D CONV_3D DEPTHWISE_CONV_2D TRANSPOSE_CONV AVERAGE_POOL_2D "
    "MAX_POOL_2D RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR",
    _BOOL: "LOGICAL_AND LOGICAL_OR LOGICAL_NOT REDUCE_ANY REDUCE_ALL",
    frozenset({"int32"}): "BITWISE_XOR RIGHT_SHIFT",
}

KERNELS: dict[str, frozenset[str]] = {kind: taken for taken, kinds in _GROUPS.items() for kind in kinds.split()}
"""Operator kind -> dtypes of its data; a kind that is not here takes all."""

MOST_AXES = 6
"""Axes that XNNPACK can work with."""

RANKED = frozenset(
    ["SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "CONCATENATION", "SOFTMAX", "BATCH_MATMUL", "FULLY_CONNECTED"]
)
"""Operator kinds that XNNPACK takes over on float32 whatever the rank, and then fails on more than those axes."""

DATA = {"SCATTER_ND": 1, "SELECT_V2": 1, "TRANSPOSE_CONV": 2}
"""Operator kind -> index of its data operand, where that is not the first."""

_WIDER = {
    "float16": ("float32",),
    "bool": ("int32", "float32"),
    "uint8": ("int32", "float32"),
    "int8": ("int32", "float32"),
}


def check_rank(kind: str, dtype: str, rank: int) -> None:
    """Raise NotImplementedError where the kernel fails on tensors of ``rank`` axes."""
    if kind in RANKED and dtype == "float32" and rank > MOST_AXES:
        raise NotImplementedError(f"on {rank} axes; LiteRT's {kind} takes {MOST_AXES}")


def compute_dtype(kind: str, dtype: str) -> str:
    """Dtype to compute in: ``dtype`` itself, or a wider one with all its values that the kernel takes.

    PyTorch, too, calculates on float16 in float32 and rounds at the end of each operator.

    Raises:
        NotImplementedError: there is none. int64 is not narrowed: its values may not fit.
    """
    taken = KERNELS.get(kind)
    if taken is None or dtype in taken:
        return dtype
    for wider in _WIDER.get(dtype, ()):
        if wider in taken:
            return wider
    raise NotImplementedError(f"on {dtype}; LiteRT's {kind} takes {', '.join(sorted(taken))}")
