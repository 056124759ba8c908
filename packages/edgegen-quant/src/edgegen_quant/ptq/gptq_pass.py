"""The GPTQ pass: each matrix is rounded so that errors cancel over the inputs that calibration data give it.

The float model reads the calibration data with its weights streamed; each matrix is rounded and written when the model
comes to it, from the Hessian (the mean of ``x xᵀ`` over its inputs ``x``), which is then dropped. So memory holds one
sequence's activations and one matrix's statistics, however large the model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from threadpoolctl import threadpool_limits
from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.modeling import CausalLM, supports
from edgegen.quantization.passes import Encode, PassContext, PassCost, PassReport, PlannedPass, Weights
from edgegen.weights.storage import BITS, Hessian, Scheme, SupportsCalibration
from edgegen_quant.ptq.calibration_data import (
    MEMORY,
    CalibrationData,
    calibration_data,
    collect_activations,
    linear_weights,
)

if TYPE_CHECKING:
    from edgegen.tflite.writer import Parameter

NAME = "gptq"

_TOKENS = 512
"""Read at most. On SmolLM2, twice as many change nothing that can be measured."""

_GROUP = 1024
"""Columns whose inputs are taken to be related; a multiple of any block. More take time by their square, and gain
nothing that can be measured."""

_WORK = 1 << 40
"""Multiplications that are spent without being asked: less than a minute on two cores."""

_PER_SECOND = 1.2e10
"""Multiplications per second on one core, as measured on models of 0.1 and 0.3 billion weights."""


@dataclass(frozen=True)
class Calibration:
    """The outcome of GPTQ.

    Attributes:
        text: ``calibration`` (the user's) or ``built-in``.
        tokens: number that were read.
        matrices: number that were rounded so.
    """

    text: str
    tokens: int
    matrices: int

    def __str__(self) -> str:
        return f"{self.matrices} matrices rounded, by {self.tokens} tokens ({self.text})"


class GptqPass:
    """Post-training quantization by GPTQ (Frantar et al., 2022, https://arxiv.org/abs/2210.17323).

    By itself it runs below 8 bits where that takes little time, and wherever the user gives a calibration text.
    """

    def prepare(self, module: nn.Module, weights: Weights, scheme: Scheme, enabled: bool | None) -> Weights:
        return {}

    def plan(self, context: PassContext) -> PlannedPass | None:
        matrices = _calibrated_matrices(context)
        if not matrices or supports(context.module, CausalLM) is None:
            if context.enabled:
                raise _no_use(context)
            return None
        enabled = context.enabled
        if enabled is None:
            coarse = any(BITS[parameter.storage.dtype] < 8 for parameter in matrices.values())
            enabled = context.calibration is not None or (coarse and _work(matrices) <= _WORK)
        data = calibration_data(context, _TOKENS) if enabled else None
        if data is None:
            if context.enabled:
                raise UsageError(
                    "calibrating needs the model's tokenizer, and the checkpoint has none that can be run",
                    code=ErrorCode.CALIBRATION_NEEDS_TOKENIZER,
                    hint=f"leave --weight-pass {NAME} out, or put tokenizer.json beside the weights",
                )
            return None
        return PlannedPass(
            name=NAME,
            cost=PassCost(seconds=_work(matrices) / _PER_SECOND, memory=MEMORY),
            uses_calibration=True,
            encode=lambda weights, encode: _encode(context, weights, data, encode),
        )


def _no_use(context: PassContext) -> UsageError:
    return UsageError(
        f"{context.scheme_name} has no use for {NAME}: no matrix of {context.subject} is rounded to integers with it",
        code=ErrorCode.CALIBRATION_UNUSED,
        hint=f"leave --weight-pass {NAME} out, or choose a scheme of integers, such as int4-block32",
    )


def _encode(context: PassContext, weights: Weights, data: CalibrationData, encode: Encode) -> PassReport:
    outcome = calibrate(context, weights, data, encode)
    return PassReport(summary=str(outcome), details=asdict(outcome))


def calibrate(context: PassContext, weights: Weights, data: CalibrationData, encode: Encode) -> Calibration:
    """Let the model read ``data``, and encode each matrix that needs calibration when its inputs are known."""
    matrices = _calibrated_matrices(context)
    left = dict(matrices)
    rounding = _Rounding()

    def observe(name: str, x: torch.Tensor) -> None:
        parameter = left.pop(name, None)  # a matrix of two products is rounded for the first
        if parameter is not None:
            encode(name, rounding.scheme_for(parameter, x))

    # numpy's threads would wait for more work after each of many small products, and keep torch's from theirs.
    with threadpool_limits(1, user_api="blas"):
        collect_activations(context.module, weights, data.tokens, observe)
    return Calibration(data.name, len(data.tokens), len(matrices) - len(left))


class _Rounding:
    """Calibrated schemes of matrices; those with the same inputs share one."""

    def __init__(self) -> None:
        self._x: torch.Tensor | None = None
        self._schemes: dict[object, Scheme] = {}

    def scheme_for(self, parameter: Parameter, x: torch.Tensor) -> Scheme:
        if x is not self._x:
            self._x, self._hessians, self._schemes = x, _hessians(x), {}
        scheme, storage = parameter.scheme, parameter.storage
        assert isinstance(scheme, SupportsCalibration)
        key = (id(scheme), storage)
        if key not in self._schemes:
            self._schemes[key] = scheme.calibrated(storage, self._hessians)
        return self._schemes[key]


def _hessians(x: torch.Tensor) -> list[Hessian]:
    """Means of ``x xᵀ`` over all but the last dimension."""
    parts = torch.split(x.reshape(-1, x.shape[-1]), _GROUP, dim=1)
    return [(part.T @ part / len(part)).numpy() for part in parts]


def _calibrated_matrices(context: PassContext) -> dict[str, Parameter]:
    """The matrices of linear layers whose scheme needs calibration for them."""
    linear = linear_weights(context.module)
    return {
        name: parameter
        for name, parameter in context.parameters.items()
        if name in linear
        and isinstance(parameter.scheme, SupportsCalibration)
        and parameter.scheme.needs_calibration(parameter.storage)
    }


def _work(matrices: dict[str, Parameter]) -> int:
    """Multiplications that the pass takes: reading, and rounding."""
    return sum(_work_of(parameter.source.shape) for parameter in matrices.values())


def _work_of(shape: tuple[int, ...]) -> int:
    rows, columns = shape
    group = min(columns, _GROUP)
    return rows * columns * (_TOKENS + group // 2) + columns * group * (_TOKENS + group)
