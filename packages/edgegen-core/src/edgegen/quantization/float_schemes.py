"""Schemes of floating-point numbers: ``fp32``, which needs no quantizer, and the class of the other widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.storage import FLOAT32, MATRIX_ROLES, Encoded, ParameterInfo, Rows, Storage, Tolerance


@dataclass(frozen=True)
class FloatScheme:
    """A scheme that stores matrices as floating-point numbers of one width, and everything else as float32.

    Attributes:
        matrices: storage of matrices: ``float32`` or ``float16``.
        tolerance: for a whole model.
    """

    matrices: Storage
    tolerance: Tolerance

    def storage(self, parameter: ParameterInfo) -> Storage:
        return self.matrices if parameter.role in MATRIX_ROLES else FLOAT32

    def encode(self, rows: Rows, storage: Storage) -> Encoded:
        with np.errstate(over="ignore"):  # an overflow is an error below
            data = np.ascontiguousarray(rows, storage.dtype)
        if storage.dtype == "float16" and (np.isinf(data) & np.isfinite(rows)).any():
            raise CheckpointError(
                "a weight exceeds float16's range (65504)", code=ErrorCode.WEIGHTS_NOT_FINITE, hint="use --scheme fp32"
            )
        return Encoded(finite(data))


def finite(numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """``numbers`` unchanged.

    Raises:
        CheckpointError: there is a NaN or an infinity among them.
    """
    if not np.isfinite(numbers).all():
        raise CheckpointError(
            "weights contain NaN or infinity", code=ErrorCode.WEIGHTS_NOT_FINITE, hint="the checkpoint is damaged"
        )
    return numbers


FP32 = FloatScheme(FLOAT32, Tolerance(logits=1e-3, top1=1.0))
