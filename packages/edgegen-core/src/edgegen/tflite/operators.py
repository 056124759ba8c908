"""LiteRT's operators as edgegen emits them: which options table each takes, and the version that is asked for.

Versions follow LiteRT's own register (``tflite/core/kernels/register.cc``): the lowest that has the types in use.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OperatorSpec:
    """An operator in the flatbuffer: options table and version.

    Attributes:
        options: name of the schema's options table without the ``T`` of its object form; None for none.
        version: operator version.
    """

    options: str | None = None
    version: int = 1


_BINARY_PLAIN = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
_UNARY_PLAIN = (
    "LOGISTIC",
    "RSQRT",
    "SQRT",
    "SIN",
    "COS",
    "EXP",
    "LOG",
    "TANH",
    "RELU",
    "FLOOR",
    "CEIL",
    "ROUND",
    "ELU",
    "RELU6",
    "RELU_N1_TO_1",
)
_REDUCERS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL", "REDUCE_PROD")


_SEGMENTS = ("Sum", "Prod", "Min", "Max")


def _camel(kind: str) -> str:
    return "".join(part.capitalize() for part in kind.split("_")) + "Options"


OPERATORS: dict[str, OperatorSpec] = {
    **{kind: OperatorSpec() for kind in _UNARY_PLAIN},
    **{kind: OperatorSpec(_camel(kind)) for kind in _BINARY_PLAIN},
    **{kind: OperatorSpec("ReducerOptions") for kind in _REDUCERS},
    **{kind: OperatorSpec(_camel(kind)) for kind in ("ADD", "SUB", "MUL", "DIV", "POW", "NEG", "SQUARE", "ABS")},
    **{kind: OperatorSpec(_camel(kind)) for kind in ("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "GELU")},
    **{kind: OperatorSpec("MaximumMinimumOptions") for kind in ("MAXIMUM", "MINIMUM")},
    **{kind: OperatorSpec("Pool2DOptions") for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D")},
    **{kind: OperatorSpec(_camel(kind)) for kind in ("ARG_MAX", "ARG_MIN", "SIGN", "FLOOR_DIV", "FLOOR_MOD")},
    "ATAN2": OperatorSpec("ATan2Options"),
    "BATCH_MATMUL": OperatorSpec("BatchMatMulOptions", 4),
    "BITCAST": OperatorSpec("BitcastOptions"),
    "BITWISE_XOR": OperatorSpec("BitwiseXorOptions"),
    "BROADCAST_TO": OperatorSpec(None, 2),
    "CAST": OperatorSpec("CastOptions"),
    "CONCATENATION": OperatorSpec("ConcatenationOptions"),
    "CONV_2D": OperatorSpec("Conv2DOptions"),
    "CONV_3D": OperatorSpec("Conv3DOptions"),
    "CUMSUM": OperatorSpec("CumsumOptions"),
    "DEPTHWISE_CONV_2D": OperatorSpec("DepthwiseConv2DOptions"),
    "DEQUANTIZE": OperatorSpec("DequantizeOptions", 3),
    "DYNAMIC_UPDATE_SLICE": OperatorSpec(),
    "EMBEDDING_LOOKUP": OperatorSpec(None, 3),
    "EXPAND_DIMS": OperatorSpec("ExpandDimsOptions"),
    "FULLY_CONNECTED": OperatorSpec("FullyConnectedOptions", 9),
    "GATHER": OperatorSpec("GatherOptions", 2),
    "GATHER_ND": OperatorSpec("GatherNdOptions"),
    "LEAKY_RELU": OperatorSpec("LeakyReluOptions"),
    "LOG_SOFTMAX": OperatorSpec("LogSoftmaxOptions"),
    "MIRROR_PAD": OperatorSpec("MirrorPadOptions"),
    "PAD": OperatorSpec("PadOptions"),
    "PADV2": OperatorSpec("PadV2Options"),
    "RESHAPE": OperatorSpec("ReshapeOptions"),
    "RESIZE_BILINEAR": OperatorSpec("ResizeBilinearOptions", 3),
    "RESIZE_NEAREST_NEIGHBOR": OperatorSpec("ResizeNearestNeighborOptions", 3),
    "REVERSE_V2": OperatorSpec("ReverseV2Options"),
    "RIGHT_SHIFT": OperatorSpec("RightShiftOptions"),
    "SCATTER_ND": OperatorSpec("ScatterNdOptions"),
    "SELECT_V2": OperatorSpec("SelectV2Options"),
    "SLICE": OperatorSpec("SliceOptions"),
    "SOFTMAX": OperatorSpec("SoftmaxOptions"),
    "SQUEEZE": OperatorSpec("SqueezeOptions"),
    "STABLEHLO_COMPOSITE": OperatorSpec("StableHLOCompositeOptions"),
    "STRIDED_SLICE": OperatorSpec("StridedSliceOptions"),
    "TILE": OperatorSpec("TileOptions"),
    "TOPK_V2": OperatorSpec("TopKV2Options"),
    "TRANSPOSE": OperatorSpec("TransposeOptions", 2),
    "TRANSPOSE_CONV": OperatorSpec("TransposeConvOptions", 3),
    **{f"UNSORTED_SEGMENT_{kind.upper()}": OperatorSpec(f"UnsortedSegment{kind}Options") for kind in _SEGMENTS},
}
"""Operator kind -> how it is written."""

ENUM_OPTIONS = {
    "fusedActivationFunction": "ActivationFunctionType",
    "mode": "MirrorPadMode",
    "padding": "Padding",
}
"""Options whose value is a name in one of the schema's enumerations."""

DTYPE_OPTIONS = frozenset({"inDataType", "outDataType", "outputType"})
"""Options whose value is a dtype name."""
