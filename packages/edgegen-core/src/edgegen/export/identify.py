"""Identifying the model of a checkpoint: by what it states of itself, else by names and shapes. Needs torch."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgegen.descriptors import ModelFamily
from edgegen.errors import CheckpointError, EdgegenError, ErrorCode, PluginError, UsageError
from edgegen.family_calls import check_naming, compare_weights, family_title, named_config, stated_config
from edgegen.plugins import load, registry
from edgegen.plugins.calls import plugin_code, returned
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import differences
from edgegen.weights.module import parameter_shapes

CONTEXT_IS_FREE = ("max_position_embeddings",)
"""Fields of a configuration in which a fine-tune may differ and still be the same architecture."""


@dataclass(frozen=True)
class Candidate:
    """A model that a checkpoint may be, with the differences between them.

    Attributes:
        family: name.
        variant: name; None for the family with the configuration that the checkpoint states.
        configuration: differences from what the checkpoint states; empty where it states nothing.
        weights: mismatches of names and shapes.
        hint: probable cause.
        mismatches: number of tensors that do not match.
        tensors: number of tensors that the model needs.
    """

    family: str
    variant: str | None
    configuration: tuple[str, ...]
    weights: tuple[str, ...]
    hint: str | None
    mismatches: int
    tensors: int

    @property
    def exportable(self) -> bool:
        """True if an export takes the checkpoint for this model."""
        return not self.configuration and not self.weights


def identify(checkpoint: Checkpoint) -> tuple[list[Candidate], dict[str, str]]:
    """Models that the checkpoint may be, best first, and why families were ruled out.

    A family that reads the checkpoint's configuration is compared by it; where there is none, each variant is
    compared by names and shapes, and those are kept of which at least half the tensors match.
    """
    candidates: list[Candidate] = []
    refused: dict[str, str] = {}
    for provided in registry().families.values():
        family = provided.descriptor
        if checkpoint.naming not in family.weight_maps:
            refused[family.name] = f"has no names for {checkpoint.format} checkpoints"
            continue
        try:
            candidates += _of_family(checkpoint, family)
        except EdgegenError as error:
            refused[family.name] = error.message
    found = sorted(candidates, key=lambda one: (not one.exportable, one.mismatches, len(one.configuration)))
    return found, refused


def compare(checkpoint: Checkpoint, name: str) -> Candidate:
    """Compare the checkpoint with a variant.

    Raises:
        UsageError: there is no such variant.
        CheckpointError: its family has no weight names for the checkpoint's format, or cannot read its configuration.
    """
    family, variant = registry().variant(name)
    check_naming(checkpoint, family)
    return _candidate(checkpoint, family, variant.name, stated_config(checkpoint, family))


def empty_model(family: ModelFamily, config: Any, layers: Mapping[str, str]) -> nn.Module:
    """The family's module on the ``meta`` device, without weights.

    Raises:
        CheckpointError: its sizes overflow.
        UsageError: the builder does not look at a choice in ``layers``, which then has no effect.
    """
    choices = _Choices(layers)
    try:
        with torch.device("meta"), plugin_code(family_title(family), "builder"):
            built = load(family.builder)(config, layers=choices)
    except PluginError as error:
        if not _is_of_torch(error.__cause__):
            raise
        # Sizes whose product no computer can count.
        raise CheckpointError(
            f"a {family.name} of the stated sizes cannot be built: {str(error.__cause__).splitlines()[0]}",
            code=ErrorCode.INVALID_CONFIG,
            hint="download the checkpoint again; its configuration is damaged",
        ) from error
    module = returned(built, nn.Module, family_title(family), "builder")
    unused = [block for block in layers if block not in choices.looked_up]
    if unused:
        raise UsageError(
            f"--layer {unused[0]}={layers[unused[0]]} has no effect: models of family {family.name} have no block "
            f"{unused[0]!r} that an implementation is chosen for",
            code=ErrorCode.UNKNOWN_LAYER_BLOCK,
            hint=f"leave out --layer {unused[0]}",
        )
    return module


def _is_of_torch(error: BaseException | None) -> bool:
    """True for a RuntimeError that PyTorch raised, not code that calls it."""
    if type(error) is not RuntimeError:
        return False
    frames = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1]).partition(".")[0] == "torch"


class _Choices(Mapping[str, str]):
    """Implementations of blocks that remember which were looked up.

    Attributes:
        looked_up: blocks.
    """

    def __init__(self, layers: Mapping[str, str]) -> None:
        self._layers = layers
        self.looked_up: set[str] = set()

    def __getitem__(self, block: str) -> str:
        self.looked_up.add(block)
        return self._layers[block]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _of_family(checkpoint: Checkpoint, family: ModelFamily) -> Iterator[Candidate]:
    stated = stated_config(checkpoint, family)
    if stated is None:
        named = (_candidate(checkpoint, family, row.name, stated) for row in family.variants)
        return (one for one in named if one.mismatches * 2 < one.tensors)
    # Compared by configuration first: to compare weights a model is built, and that takes its time.
    same: list[str | None] = [row.name for row in family.variants if not _differences(family, row.name, stated)]
    return (_candidate(checkpoint, family, name, stated) for name in same or [None])


def _candidate(checkpoint: Checkpoint, family: ModelFamily, variant: str | None, stated: Any) -> Candidate:
    config = stated if variant is None else named_config(family, variant)
    differing = [] if stated is None or variant is None else _differences(family, variant, stated)
    expected = parameter_shapes(empty_model(family, config, {}))
    diff = compare_weights(checkpoint, family, config, expected, variant or family.name)
    return Candidate(
        family=family.name,
        variant=variant,
        configuration=tuple(differing),
        weights=tuple(diff.details()),
        hint=diff.hint() if len(diff) else None,
        mismatches=len(diff),
        tensors=len(expected),
    )


def _differences(family: ModelFamily, variant: str, stated: Any) -> list[str]:
    return differences(named_config(family, variant), stated, ignore=CONTEXT_IS_FREE)
