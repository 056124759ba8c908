"""What a text says of a model's weights: what each matrix is multiplied with, and so how best to round it.

The float model reads the text with its weights streamed; each matrix is rounded and written when the model comes to it,
from the mean of ``x xᵀ`` over its inputs ``x``, and that is dropped. So memory holds one sequence's activations and one
matrix's statistics, however large the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from threadpoolctl import threadpool_limits

from edgegen.errors import ErrorCode, UsageError
from edgegen.tflite.writer import ModelFile, Parameter
from edgegen.weights.storage import BITS, Calibratable, Gram, Scheme
from edgegen.weights.tensors import LazyTensor
from edgegen_quant.ptq.activations import Text, linear_weights, read, text_for

if TYPE_CHECKING:
    from edgegen.export.job import Job

_TOKENS = 512
"""Read at most. On SmolLM2, twice as many change nothing that can be measured."""

_RELATED = 1024
"""Columns whose inputs are taken to be related; a multiple of any block. More take time by their square, and gain
nothing that can be measured."""

_WORK = 1 << 40
"""Multiplications that are spent without being asked: less than a minute on two cores."""

PER_SECOND = 1.2e10
"""Of them on one core, as measured on models of 0.1 and 0.3 billion weights."""


@dataclass(frozen=True)
class Calibration:
    """What an export learnt from.

    Attributes:
        text: ``calibration`` (the user's) or ``built-in``.
        tokens: how many were read.
        matrices: rounded with what was seen.
    """

    text: str
    tokens: int
    matrices: int

    def __str__(self) -> str:
        return f"{self.matrices} matrices rounded, by {self.tokens} tokens ({self.text})"


def planned(job: Job) -> Text | None:
    """The text that ``job`` is to learn from, if it is.

    Raises:
        UsageError: it was asked for, and there is nothing to learn or to read.
    """
    calibrate, own = job.options.calibrate, job.options.calibration is not None
    if not _learning(job):
        if calibrate or (own and not job.equalizing):
            raise UsageError(
                f"{job.scheme_name} has no use for a calibration text",
                code=ErrorCode.CALIBRATION_UNUSED,
                hint="leave --calibration and --calibrate out, or choose a scheme of integers, such as int4-block32",
            )
        return None
    if calibrate is None:
        calibrate = own or ("calibrate" not in job.kind.without and _coarse(job) and work(job) <= _WORK)
    text = text_for(job, _TOKENS) if calibrate else None
    if text is None and job.options.calibrate:
        raise UsageError(
            "calibrating needs the model's tokenizer, and the checkpoint has none that can be run",
            code=ErrorCode.CALIBRATION_NEEDS_TOKENIZER,
            hint="leave --calibrate out, or put tokenizer.json beside the weights",
        )
    return text


def work(job: Job) -> int:
    """Multiplications that calibrating takes: reading, and rounding."""
    return sum(_work(each.source.shape) for each in _learning(job).values())


def calibrate(job: Job, sources: Mapping[str, LazyTensor], text: Text, file: ModelFile) -> Calibration:
    """Read ``text`` with the weights ``sources``, and write each matrix that learns from it."""
    left = _learning(job)
    count = len(left)
    rounding = _Rounding()

    def observe(name: str, x: torch.Tensor) -> None:
        parameter = left.pop(name, None)  # a matrix of two products is rounded for the first
        if parameter is not None:
            file.write(name, rounding.scheme_for(parameter, x))

    # numpy's threads would wait for more work after each of many small products, and keep torch's from theirs.
    with threadpool_limits(1, user_api="blas"):
        read(job, sources, text.tokens, observe)
    return Calibration(text.name, len(text.tokens), count - len(left))


class _Rounding:
    """Schemes for matrices; those that are multiplied with the same share one."""

    def __init__(self) -> None:
        self._x: torch.Tensor | None = None
        self._known: dict[object, Scheme] = {}

    def scheme_for(self, parameter: Parameter, x: torch.Tensor) -> Scheme:
        if x is not self._x:
            self._x, self._grams, self._known = x, _grams(x), {}
        scheme, storage = parameter.scheme, parameter.storage
        assert isinstance(scheme, Calibratable)
        key = (id(scheme), storage)
        if key not in self._known:
            self._known[key] = scheme.calibrated(storage, self._grams)
        return self._known[key]


def _grams(x: torch.Tensor) -> list[Gram]:
    """Means of ``x xᵀ`` over all but the last dimension."""
    parts = torch.split(x.reshape(-1, x.shape[-1]), _RELATED, dim=1)
    return [(part.T @ part / len(part)).numpy() for part in parts]


def _learning(job: Job) -> dict[str, Parameter]:
    """The linear layers' matrices that come out better for knowing what they are multiplied with."""
    linear = linear_weights(job.model)
    return {name: each for name, each in job.parameters.items() if name in linear and _learns(each)}


def _learns(parameter: Parameter) -> bool:
    scheme = parameter.scheme
    return isinstance(scheme, Calibratable) and scheme.learns(parameter.storage)


def _coarse(job: Job) -> bool:
    """Whether rounding loses much: 8 bits lose little, and gain little on texts of another kind."""
    return any(BITS[parameter.storage.dtype] < 8 for parameter in _learning(job).values())


def _work(shape: tuple[int, ...]) -> int:
    rows, columns = shape
    related = min(columns, _RELATED)
    return rows * columns * (_TOKENS + related // 2) + columns * related * (_TOKENS + related)
