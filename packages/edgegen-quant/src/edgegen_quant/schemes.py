"""Schemes that LiteRT's CPU kernels run fast, named by storage and granularity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import CheckpointError
from edgegen.storage import FLOAT32, Encoded, ParameterInfo, Rows, Storage, Tolerance

Numbers = npt.NDArray[Any]

QUANTIZED_ROLES = ("linear", "embedding")
"""Matrices. Norm weights and biases stay float32: they are small, and kernels want them so."""


@dataclass(frozen=True)
class PlainFloat:
    """Weights as floating-point numbers of one width."""

    matrices: Storage
    tolerance: Tolerance

    def storage(self, parameter: ParameterInfo) -> Storage:
        return self.matrices if parameter.role in QUANTIZED_ROLES else FLOAT32

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        with np.errstate(over="ignore"):  # an overflow is an error below
            data = np.ascontiguousarray(rows, storage.dtype)
        if storage.dtype == "float16" and (np.isinf(data) & np.isfinite(rows)).any():
            raise CheckpointError("a weight exceeds float16's range (65504)", hint="use --scheme fp32")
        return Encoded(_finite(data))


@dataclass(frozen=True)
class Int8Channel:
    """Symmetric 8-bit weights with one float32 scale per output channel (row).

    Activations stay float32 in the file; XNNPACK quantizes them row by row as it runs ("dynamic" quantization).
    """

    tolerance: Tolerance

    def storage(self, parameter: ParameterInfo) -> Storage:
        if parameter.role in QUANTIZED_ROLES and len(parameter.shape) == 2:
            return Storage("int8", per_channel=True)
        return FLOAT32

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        if storage.dtype == "int8":
            return _int8_rows(rows)
        return Encoded(_finite(np.ascontiguousarray(rows, np.float32)))


@dataclass(frozen=True)
class Keep:
    """The checkpoint's own quantized numbers where LiteRT has a storage that holds them exactly.

    Quality that was trained into a quantized checkpoint survives only so: any rounding on top of it loses some.
    """

    otherwise: Int8Channel
    tolerance: Tolerance

    def storage(self, parameter: ParameterInfo) -> Storage:
        if parameter.role in QUANTIZED_ROLES and parameter.packed is not None:
            return parameter.packed
        return self.otherwise.storage(parameter)

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        return self.otherwise.encode(rows, storage)  # what is kept does not come this way


def _finite(numbers: Numbers) -> Numbers:
    if not np.isfinite(numbers).all():
        raise CheckpointError("weights contain NaN or infinity", hint="the checkpoint is damaged")
    return numbers


def _int8_rows(rows: Rows) -> Encoded:
    """Round each row to ``scale * [-127, 127]``; -128 is not used, so the range is symmetric."""
    largest = _finite(np.maximum(rows.max(axis=1), -rows.min(axis=1)))
    # A scale must be a normal float above 0, or XNNPACK refuses the whole matrix: matters for rows of zeros.
    scales = np.maximum(largest / np.float32(127), np.finfo(np.float32).tiny)
    quotients = rows * (np.float32(1) / scales)[:, None]
    return Encoded(np.rint(quotients, out=quotients).astype(np.int8, order="C"), scales)


FP32 = PlainFloat(FLOAT32, Tolerance(logits=1e-3, top1=1.0))
FP16 = PlainFloat(Storage("float16"), Tolerance(logits=1e-2, top1=0.95))
INT8_CHANNEL = Int8Channel(Tolerance(logits=0.15, top1=0.75))
# The file holds 4-bit blocks exactly, but XNNPACK's kernels round their scales to bfloat16, by 0.4 % at most.
KEEP = Keep(INT8_CHANNEL, Tolerance(logits=0.2, top1=0.75))
