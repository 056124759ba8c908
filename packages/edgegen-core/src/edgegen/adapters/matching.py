"""Matching of an adapter's factors to the published model's weights, for an export that takes adapters as inputs."""

from __future__ import annotations

from collections.abc import Container
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from edgegen import family_calls
from edgegen.adapters.layout import LoraLayout, Projection
from edgegen.adapters.peft import NAMING
from edgegen.descriptors import ModelFamily
from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.modeling import SupportsLora, supports
from edgegen.module_calls import lora_projections
from edgegen.weights import Checkpoint, WeightMap
from edgegen.weights.module import parameter_shapes
from edgegen.weights.row_operations import ShapeError


def lora_layout(checkpoint: Checkpoint, family: ModelFamily, config: Any, module: nn.Module, rank: int) -> LoraLayout:
    """The layout of adapters of ``rank`` for ``module``.

    Raises:
        UnsupportedError: the family's model takes no adapters, or its weights are not made of whole rows of the
            published ones.
    """
    if NAMING not in family.weight_maps or supports(module, SupportsLora) is None:
        raise UnsupportedError(
            f"models of family {family.name} take no adapters at run time",
            code=ErrorCode.ADAPTERS_UNSUPPORTED,
            hint="merge one with --lora DIR",
        )
    weight_map = family_calls.weight_map(family, NAMING, config)
    shapes = parameter_shapes(module)
    projections: dict[str, list[Projection]] = {}
    for block in lora_projections(module):
        by_parameter: dict[str, dict[str, int]] = {}
        for name, (parameter, rows) in block.items():
            by_parameter.setdefault(parameter, {})[name] = rows
        for parameter, parts in by_parameter.items():
            origins = _origins(weight_map, checkpoint, parameter, parts)
            for (name, rows), end in zip(parts.items(), np.cumsum([*parts.values()]).tolist(), strict=True):
                found = _projection(origins, slice(end - rows, end), shapes[parameter][1], parameter)
                projections.setdefault(name, []).append(found)
    return LoraLayout(rank, {name: tuple(rows) for name, rows in projections.items()})


_Origins = tuple[list[str], npt.NDArray[Any], npt.NDArray[Any]]


def _origins(weight_map: WeightMap, checkpoint: Checkpoint, parameter: str, parts: dict[str, int]) -> _Origins:
    """Names of the published weights that a parameter is made of, and for each row which of them and which row of it.

    A checkpoint with other names does not say how many rows those have; it is then either all, or one for each part.
    """
    published = checkpoint.naming == NAMING
    names = list(weight_map.source_names(parameter, checkpoint.tensors if published else _Anything()))
    if published:
        counts = [checkpoint.tensors[name].rows for name in names]
    else:
        counts = [*parts.values()] if len(names) == len(parts) else [sum(parts.values())]
    try:
        if len(counts) != len(names):
            raise ShapeError(f"{parameter} is made of {len(names)} weights of unknown sizes")
        return names, *weight_map.row_origins(parameter, dict(zip(names, counts, strict=True)))
    except ShapeError as error:
        raise UnsupportedError(
            f"adapters cannot stay apart from this model: {error}",
            code=ErrorCode.ADAPTERS_UNSUPPORTED,
            hint="merge one with --lora DIR",
        ) from error


def _projection(origins: _Origins, part: slice, inputs: int, parameter: str) -> Projection:
    names, tensors, rows = origins[0], origins[1][part], origins[2][part]
    if len(set(tensors.tolist())) != 1:
        raise UnsupportedError(
            f"adapters cannot stay apart from this model: {parameter} mixes rows of several weights",
            code=ErrorCode.ADAPTERS_UNSUPPORTED,
            hint="merge one with --lora DIR",
        )
    starts = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    ranges = tuple((int(rows[a]), int(rows[b - 1]) + 1) for a, b in pairwise(starts))
    return Projection(names[int(tensors[0])].removesuffix(".weight"), inputs, ranges)


class _Anything(Container[str]):
    """A checkpoint of which it is not known what it holds."""

    def __contains__(self, name: object) -> bool:
        return True
