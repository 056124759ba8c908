"""The SmoothQuant pass: channels are scaled so that quantization costs less.

XNNPACK quantizes a matrix's inputs to 8 bits: each token's numbers with one step, a 255th of their range. A few
channels are far larger than all others, and set that step for all. To divide channel j by ``s[j]`` and multiply column
j of the matrix by it changes nothing in floats (Xiao et al., 2022, https://arxiv.org/abs/2211.10438), but the error of
the products, which is about ``range(x / s) * |W * s|``. It is least near ``s = sqrt(m / w)``, for channels of
magnitude ``m`` and columns of length ``w``; a smaller power of ``m / w`` is better, as weights are rounded too. Weights
of few bits gain by it themselves: a column with large inputs is rounded in finer steps, at the cost of those that it
shares its scales with (AWQ; Lin et al., 2023, https://arxiv.org/abs/2306.00978).

Magnitudes are known from calibration data, which the float model reads with its weights streamed; weights are scaled as
rows are read. The weights that verification computes with stay the checkpoint's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.export.reference import random_tokens
from edgegen.modeling import CausalLM, require
from edgegen.module_calls import add_scales, scaling_groups
from edgegen.quantization.channel_scaling import Rows, ScalingGroup
from edgegen.quantization.passes import PassContext, PassCost, PassReport, PlannedPass, Weights
from edgegen.weights.mismatch import pattern_of
from edgegen.weights.storage import BITS, ParameterInfo, Scheme, Storage, scheme_for
from edgegen.weights.tensors import LazyTensor
from edgegen_quant.ptq.calibration_data import (
    MEMORY,
    CalibrationData,
    calibration_data,
    collect_activations,
    users_tokens,
)

NAME = "smoothquant"

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]

_MOST, _LEAST = 256, 32
"""Tokens to read."""

_WORK = 1 << 35
"""Multiplications that reading may take, as long as it reads the least: a second."""

_PER_SECOND = 1.2e10
"""Multiplications per second on one core, as measured on models of 0.1 and 0.3 billion weights."""

_ALPHA = 0.35
"""SmoothQuant's alpha: scale = (activation rms / weight norm) ** alpha. On SmolLM2 and Gemma 3, with 8 bits 0.5 loses a
tenth more and 0.25 up to a fifth; blocks of 4 bits lose the least at 0.3 to 0.35."""

_SMALLEST = 1e-4
"""Share of the largest magnitude, and of the longest column, that smaller ones are replaced by."""

_SAMPLES, _SAMPLE = 16, 32
"""Groups of neighbouring rows, and rows in a group, from which the lengths of a matrix's columns are estimated."""


@dataclass(frozen=True)
class ChannelScaling:
    """The outcome of SmoothQuant.

    Attributes:
        text: ``calibration`` (the user's), ``built-in``, or ``random`` tokens where there is no tokenizer.
        tokens: number that were read.
        scaled: name pattern of weights, with ``*`` for numbers -> number of weights.
    """

    text: str
    tokens: int
    scaled: Mapping[str, int]

    def __str__(self) -> str:
        return f"{sum(self.scaled.values())} weights scaled, by {self.tokens} tokens ({self.text})"


class SmoothQuantPass:
    """Channel scaling (SmoothQuant), for modules that fulfil :class:`edgegen.modeling.SupportsChannelScaling`.

    By itself it runs where activations are quantized, and weights to 8 bits or in blocks.
    """

    def prepare(self, module: nn.Module, weights: Weights, scheme: Scheme, enabled: bool | None) -> Weights:
        groups = scaling_groups(module)
        choice = _Choice(module, weights, scheme, enabled)
        added: dict[str, LazyTensor] = {}
        for group in groups:
            if group.added is not None and choice.scales(group):
                add_scales(module, group.added)
                columns = weights[group.consumers[0]].shape[1]
                added[group.added] = LazyTensor(
                    group.added, (columns,), "F32", 0, lambda start, stop: np.ones(stop - start, np.float32)
                )
        return added

    def plan(self, context: PassContext) -> PlannedPass | None:
        groups = chosen_groups(context)
        if not groups:
            if context.enabled:
                keeps = _Choice(context.module, context.weights, context.scheme, context.enabled).keeps
                reason = (
                    f"{context.scheme_name} keeps the checkpoint's own numbers" if keeps else "it names no channels"
                )
                raise UsageError(
                    f"nothing of {context.subject} can be scaled: {reason}",
                    code=ErrorCode.CHANNEL_SCALING_UNAVAILABLE,
                    hint=f"leave --weight-pass {NAME} out",
                )
            return None
        if context.calibration is not None:
            users_tokens(context)  # a text that cannot be read is a mistake of now
        tokens = _token_count(context.weights)
        weights = sum(math.prod(tensor.shape) for tensor in context.weights.values())
        return PlannedPass(
            name=NAME,
            cost=PassCost(seconds=tokens * weights / _PER_SECOND, memory=MEMORY),
            uses_calibration=True,
            changes=frozenset(
                name for each in groups for name in (*each.consumers, *(rows.parameter for rows in each.producers))
            ),
            transform=lambda weights: _transform(context, groups, weights),
        )


def _transform(context: PassContext, groups: Sequence[ScalingGroup], weights: Weights) -> tuple[Weights, PassReport]:
    scaled, outcome = scale_channels(context, groups, weights)
    return scaled, PassReport(summary=str(outcome), details=asdict(outcome))


def chosen_groups(context: PassContext) -> list[ScalingGroup]:
    """The scaling groups of the module that are to be scaled; none that an adapter touches at run time."""
    choice = _Choice(context.module, context.weights, context.scheme, context.enabled)
    return [group for group in scaling_groups(context.module) if choice.scales(group) and not _adapted(group, context)]


def scale_channels(
    context: PassContext, groups: Sequence[ScalingGroup], weights: Weights
) -> tuple[dict[str, LazyTensor], ChannelScaling]:
    """``weights`` with the channels of ``groups`` scaled, and the outcome."""
    data = _data(context)
    magnitudes = _magnitudes(context.module, weights, data)
    scaled = dict(weights)
    for group in groups:
        scale(scaled, group, factors(group, scaled, magnitudes[group.consumers[0]]))
    changed = [pattern_of(name) for name in scaled if scaled[name] is not weights[name]]
    counts = {pattern: changed.count(pattern) for pattern in dict.fromkeys(changed)}
    return scaled, ChannelScaling(data.name, len(data.tokens), counts)


def factors(channels: ScalingGroup, sources: Mapping[str, LazyTensor], magnitude: Numbers) -> Floats:
    """Scales ``[channels]``, by which the consumers' columns are multiplied; ``magnitude`` is ``[columns]``."""
    lengths = np.sqrt(sum(channels.copied(_square_lengths(sources[name])).sum(axis=0) for name in channels.consumers))
    ratio = _floored(channels.copied(magnitude).max(axis=0)) / _floored(lengths)
    columns: Floats = ((ratio / np.exp(np.log(ratio).mean())) ** _ALPHA).astype(np.float32)
    return columns


def scale(sources: dict[str, LazyTensor], channels: ScalingGroup, columns: Floats) -> None:
    """Multiply the consumers' columns and divide the producers' rows by ``columns``, in place."""
    for rows in channels.producers:
        sources[rows.parameter] = _with_rows_scaled(sources[rows.parameter], rows, np.float32(1) / columns)
    for name in channels.consumers:
        sources[name] = _with_columns_scaled(sources[name], channels.expanded(columns))


def _adapted(group: ScalingGroup, context: PassContext) -> bool:
    """True if an adapter reads or adds to the channels at run time: it was trained for them as they were."""
    names = {*group.consumers, *(rows.parameter for rows in group.producers)}
    return not context.adapted.isdisjoint(names)


class _Choice:
    """The choice of groups: as the user says, or else where quantized matrices have quantized inputs.

    None is chosen if whole rows of few bits share a scale anywhere: what larger columns cost all others is often more
    than they gain.

    Attributes:
        keeps: True if weights are stored in the checkpoint's own numbers, which stay what they are; then none is.
    """

    def __init__(self, module: nn.Module, weights: Weights, scheme: Scheme, enabled: bool | None) -> None:
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        embeddings = (layer.weight for layer in module.modules() if isinstance(layer, nn.Embedding))
        self._embeddings = {names[id(weight)] for weight in embeddings}
        self._weights, self._scheme, self._enabled = weights, scheme, enabled
        packed = {name: tensor.packed.storage for name, tensor in weights.items() if tensor.packed is not None}
        self.keeps = any(self._storage(name) == storage for name, storage in packed.items())
        storages = [self._storage(name) for group in scaling_groups(module) for name in group.consumers]
        self._coarse = any(BITS[storage.dtype] < 8 and storage.block is None for storage in storages)

    def scales(self, group: ScalingGroup) -> bool:
        """True if the group is to be scaled."""
        if self.keeps:
            return False
        if self._enabled is not None:
            return self._enabled
        storages = map(self._storage, group.consumers)
        return not self._coarse and any(
            storage.dtype.startswith("int") and not storage.weight_only for storage in storages
        )

    def _storage(self, name: str) -> Storage:
        tensor = self._weights[name]
        role = "embedding" if name in self._embeddings else "linear"
        info = ParameterInfo(name, tensor.shape, role, None if tensor.packed is None else tensor.packed.storage)
        return scheme_for(self._scheme, info).storage(info)


def _magnitudes(module: nn.Module, weights: Weights, data: CalibrationData) -> dict[str, Numbers]:
    """Root mean squares of each matrix's inputs: parameter -> ``[columns]``."""
    found: dict[str, Numbers] = {}

    def observe(name: str, x: torch.Tensor) -> None:
        found[name] = x.reshape(-1, x.shape[-1]).double().square().mean(dim=0).sqrt().numpy()

    collect_activations(module, weights, data.tokens, observe)
    return found


def _token_count(weights: Weights) -> int:
    """Tokens to read: fewer for a larger model."""
    count = sum(math.prod(tensor.shape) for tensor in weights.values())
    return min(max(_LEAST, _WORK // count), _MOST)


def _data(context: PassContext) -> CalibrationData:
    config = require(context.module, CausalLM, context.subject).config
    count = _token_count(context.weights)
    return calibration_data(context, count) or CalibrationData("random", random_tokens(config.vocab_size, count))


def _square_lengths(tensor: LazyTensor) -> npt.NDArray[np.float64]:
    """Squared lengths of the columns, ``[K]``, from rows all over the matrix."""
    total = np.zeros(tensor.shape[1])
    for start in range(0, tensor.rows, max(_SAMPLE, tensor.rows // _SAMPLES)):
        rows = tensor.read_rows(start, min(start + _SAMPLE, tensor.rows))
        total += np.square(rows, dtype=np.float64).sum(axis=0)
    return total


def _floored(numbers: npt.NDArray[Any]) -> Numbers:
    """``numbers`` with small ones replaced, so that all are above 0."""
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
