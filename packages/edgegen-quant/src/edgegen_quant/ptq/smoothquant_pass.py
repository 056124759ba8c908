"""Channels scaled so that quantization costs less.

XNNPACK quantizes what a matrix is multiplied with to 8 bits: each token's numbers with one step, a 255th of their
range. A few channels are far larger than all others, and set that step for all. To divide channel j by ``s[j]`` and
multiply column j of the matrix by it changes nothing in floats (Xiao et al., 2022, https://arxiv.org/abs/2211.10438),
but the error of the products, which is about ``range(x / s) * |W * s|``. It is least near ``s = sqrt(m / w)``, for
channels of magnitude ``m`` and columns of length ``w``; a smaller power of ``m / w`` is better, as weights are rounded
too. Those of few bits gain by it themselves: a column that is multiplied with much is rounded in finer steps, at the
cost of those that it shares its scales with (AWQ; Lin et al., 2023, https://arxiv.org/abs/2306.00978).

Magnitudes are known from a short text, which the float model reads with its weights streamed; what is written is scaled
as rows are read. The weights that verification computes with stay the checkpoint's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.export.verify import some_tokens
from edgegen.quantization.channel_scaling import Equalization, Rows, ScalingGroup
from edgegen.weights.mismatch import pattern_of
from edgegen.weights.storage import BITS, ParameterInfo, Scheme, Storage, scheme_for
from edgegen.weights.tensors import LazyTensor
from edgegen_quant.ptq.activations import Text, read, text_for

if TYPE_CHECKING:
    from edgegen.export.job import Job

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]

_MOST, _LEAST = 256, 32
"""Tokens to read."""

_WORK = 1 << 35
"""Multiplications that reading may take, as long as it reads the least: a second."""

_EXPONENT = 0.35
"""Of ``m / w``. On SmolLM2 and Gemma 3, with 8 bits 0.5 loses a tenth more and 0.25 up to a fifth; blocks of 4 bits
lose the least at 0.3 to 0.35."""

_SMALLEST = 1e-4
"""Of the largest magnitude, and of the longest column: what smaller ones are taken for."""

_SAMPLES, _SAMPLE = 16, 32
"""So many times so many neighbouring rows of a matrix say how long its columns are."""


def prepare(model: Any, sources: dict[str, LazyTensor], scheme: Scheme, wanted: bool | None) -> None:
    """Before ``model`` is traced: add the parameters that scaling it takes, to it and to ``sources``.

    Args:
        wanted: see :attr:`~edgegen.export.job.ExportOptions.equalize`.
    """
    is_wanted = _Wanted(model, sources, scheme, wanted)
    for channels in _offered(model):
        if channels.added is not None and is_wanted(channels):
            model.add_scales(channels.added)
            columns = sources[channels.consumers[0]].shape[1]
            sources[channels.added] = LazyTensor(
                channels.added, (columns,), "F32", 0, lambda start, stop: np.ones(stop - start, np.float32)
            )


def planned(job: Job) -> list[ScalingGroup]:
    """What of ``job``'s model is to be scaled.

    Not what adapters read or add to at run time: they are trained for the channels as they were.

    Raises:
        UsageError: it was asked for, and there is nothing.
    """
    model: Any = job.model
    adapted = {name for block in model.lora_projections() for name, _ in block.values()} if job.lora else set()
    wanted = _Wanted(model, job.sources, job.scheme, job.options.equalize)
    chosen = [
        channels
        for channels in _offered(model)
        if wanted(channels) and not adapted & {*channels.consumers, *(rows.parameter for rows in channels.producers)}
    ]
    if job.options.equalize and not chosen:
        reason = f"{job.scheme_name} keeps the checkpoint's own numbers" if wanted.keeps else "it names no channels"
        raise UsageError(
            f"nothing of {job.variant.name} can be scaled: {reason}",
            code=ErrorCode.CHANNEL_SCALING_UNAVAILABLE,
            hint="leave --equalize out",
        )
    return chosen


def equalized(job: Job) -> tuple[dict[str, LazyTensor], Equalization]:
    """``job``'s sources with its channels scaled, and what was done."""
    text = _text(job)
    magnitudes = _magnitudes(job, text.tokens)
    sources = dict(job.sources)
    for channels in job.equalizing:
        scale(sources, channels, factors(channels, sources, magnitudes[channels.consumers[0]]))
    changed = [pattern_of(name) for name in sources if sources[name] is not job.sources[name]]
    return sources, Equalization(
        text.name, len(text.tokens), {kind: changed.count(kind) for kind in dict.fromkeys(changed)}
    )


def factors(channels: ScalingGroup, sources: Mapping[str, LazyTensor], magnitude: Numbers) -> Floats:
    """What the consumers' columns are multiplied by, a number for each channel; ``magnitude`` is one for each column."""
    lengths = np.sqrt(sum(channels.copied(_square_lengths(sources[name])).sum(axis=0) for name in channels.consumers))
    ratio = _floored(channels.copied(magnitude).max(axis=0)) / _floored(lengths)
    columns: Floats = ((ratio / np.exp(np.log(ratio).mean())) ** _EXPONENT).astype(np.float32)
    return columns


def scale(sources: dict[str, LazyTensor], channels: ScalingGroup, columns: Floats) -> None:
    """Multiply the consumers' columns, and divide what makes the channels, in place."""
    for rows in channels.producers:
        sources[rows.parameter] = _with_rows_scaled(sources[rows.parameter], rows, np.float32(1) / columns)
    for name in channels.consumers:
        sources[name] = _with_columns_scaled(sources[name], channels.expanded(columns))


def _offered(model: Any) -> list[ScalingGroup]:
    found: list[ScalingGroup] = model.scaling_groups() if hasattr(model, "scaling_groups") else []
    return found


class _Wanted:
    """Whether channels are to be scaled: as ``asked``, or else where quantized matrices have quantized inputs.

    Not if whole rows of few bits share a scale anywhere: what larger columns cost all others is often more than they
    gain.

    Attributes:
        keeps: whether weights are stored in the checkpoint's own numbers, which stay what they are; then nothing is.
    """

    def __init__(self, model: nn.Module, sources: Mapping[str, LazyTensor], scheme: Scheme, asked: bool | None) -> None:
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        tables = (module.weight for module in model.modules() if isinstance(module, nn.Embedding))
        self._tables = {names[id(table)] for table in tables}
        self._sources, self._scheme, self._asked = sources, scheme, asked
        packed = {name: tensor.packed.storage for name, tensor in sources.items() if tensor.packed is not None}
        self.keeps = any(self._storage(name) == storage for name, storage in packed.items())
        consumers = {name for channels in _offered(model) for name in channels.consumers}
        storages = [self._storage(name) for name in consumers]
        self._coarse = any(BITS[storage.dtype] < 8 and storage.block is None for storage in storages)

    def __call__(self, channels: ScalingGroup) -> bool:
        if self.keeps:
            return False
        if self._asked is not None:
            return self._asked
        storages = map(self._storage, channels.consumers)
        return not self._coarse and any(storage.dtype.startswith("int") and not storage.widened for storage in storages)

    def _storage(self, name: str) -> Storage:
        tensor = self._sources[name]
        role = "embedding" if name in self._tables else "linear"
        info = ParameterInfo(name, tensor.shape, role, None if tensor.packed is None else tensor.packed.storage)
        return scheme_for(self._scheme, info).storage(info)


def _magnitudes(job: Job, tokens: Sequence[int]) -> dict[str, Numbers]:
    """Root mean squares of what each matrix is multiplied with: parameter -> ``[columns]``."""
    found: dict[str, Numbers] = {}

    def observe(name: str, x: torch.Tensor) -> None:
        found[name] = x.reshape(-1, x.shape[-1]).double().square().mean(dim=0).sqrt().numpy()

    read(job, job.sources, tokens, observe)
    return found


def _text(job: Job) -> Text:
    """What to read."""
    model: Any = job.model
    weights = sum(math.prod(tensor.shape) for tensor in job.sources.values())
    count = min(max(_LEAST, _WORK // weights), _MOST)
    return text_for(job, count) or Text("random", some_tokens(model.config.vocab_size, count))


def _square_lengths(tensor: LazyTensor) -> npt.NDArray[np.float64]:
    """Of the columns, ``[K]``, from rows all over the matrix."""
    total = np.zeros(tensor.shape[1])
    for start in range(0, tensor.rows, max(_SAMPLE, tensor.rows // _SAMPLES)):
        rows = tensor.read_rows(start, min(start + _SAMPLE, tensor.rows))
        total += np.square(rows, dtype=np.float64).sum(axis=0)
    return total


def _floored(numbers: npt.NDArray[Any]) -> Numbers:
    """Numbers above 0, also where all are 0."""
    largest = float(numbers.max())
    floored: Numbers = np.maximum(numbers, _SMALLEST * largest if largest > 0 else 1.0)
    return floored


def _with_rows_scaled(tensor: LazyTensor, rows: Rows, factor: Floats) -> LazyTensor:
    def read_rows(start: int, stop: int) -> Floats:
        read = np.array(tensor.read_rows(start, stop), np.float32)
        low, high = max(start, rows.start), min(stop, rows.start + len(factor))
        if low < high:
            part = read[low - start : high - start]
            each = factor[low - rows.start : high - rows.start].reshape(-1, *[1] * (part.ndim - 1))
            part += np.float32(rows.shift)
            part *= each
            part -= np.float32(rows.shift)
        return read

    # Changed numbers are no longer those that the checkpoint keeps packed.
    return replace(tensor, read_rows=read_rows, packed=None)


def _with_columns_scaled(tensor: LazyTensor, factor: Floats) -> LazyTensor:
    return replace(tensor, read_rows=lambda start, stop: tensor.read_rows(start, stop) * factor, packed=None)
