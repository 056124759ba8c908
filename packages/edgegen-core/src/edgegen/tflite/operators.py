"""LiteRT's operators as edgegen emits them: which options table each takes, and the version that is asked for.

Versions follow LiteRT's own register (``tflite/core/kernels/register.cc``): the lowest that has the types in use.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OperatorSpec:
    """How an operator is written.

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
)
_REDUCERS = ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_ANY", "REDUCE_ALL")


def _camel(kind: str) -> str:
    return "".join(part.capitalize() for part in kind.split("_")) + "Options"


OPERATORS: dict[str, OperatorSpec] = {
    **{kind: OperatorSpec() for kind in _UNARY_PLAIN},
    **{kind: OperatorSpec(_camel(kind)) for kind in _BINARY_PLAIN},
    **{kind: OperatorSpec("ReducerOptions") for kind in _REDUCERS},
    **{kind: OperatorSpec(_camel(kind)) for kind in ("ADD", "SUB", "MUL", "DIV", "POW", "NEG", "SQUARE", "ABS")},
    **{kind: OperatorSpec(_camel(kind)) for kind in ("LOGICAL_AND", "LOGICAL_OR", "LOGICAL_NOT", "GELU")},
    **{kind: OperatorSpec("MaximumMinimumOptions") for kind in ("MAXIMUM", "MINIMUM")},
    "BATCH_MATMUL": OperatorSpec("BatchMatMulOptions", 4),
    "BROADCAST_TO": OperatorSpec(None, 2),
    "CAST": OperatorSpec("CastOptions"),
    "CONCATENATION": OperatorSpec("ConcatenationOptions"),
    "DEQUANTIZE": OperatorSpec("DequantizeOptions", 3),
    "DYNAMIC_UPDATE_SLICE": OperatorSpec(),
    "EMBEDDING_LOOKUP": OperatorSpec(None, 3),
    "FULLY_CONNECTED": OperatorSpec("FullyConnectedOptions", 9),
    "GATHER": OperatorSpec("GatherOptions", 2),
    "RESHAPE": OperatorSpec("ReshapeOptions"),
    "SELECT_V2": OperatorSpec("SelectV2Options"),
    "SLICE": OperatorSpec("SliceOptions"),
    "SOFTMAX": OperatorSpec("SoftmaxOptions"),
    "STABLEHLO_COMPOSITE": OperatorSpec("StableHLOCompositeOptions"),
    "TILE": OperatorSpec("TileOptions"),
    "TRANSPOSE": OperatorSpec("TransposeOptions", 2),
}
"""Operator kind -> how it is written."""

ENUM_OPTIONS = {"fusedActivationFunction": "ActivationFunctionType"}
"""Options whose value is a name in one of the schema's enumerations."""

DTYPE_OPTIONS = frozenset({"inDataType", "outDataType"})
"""Options whose value is a dtype name."""
