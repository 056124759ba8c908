"""Which model a checkpoint may be: by what it states of itself, else by names and shapes. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from edgegen.conversion import parameter_shapes
from edgegen.descriptors import ModelFamily
from edgegen.errors import CheckpointError, EdgegenError, ErrorCode
from edgegen.plugins import load, registry
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import differences
from edgegen.weights.mismatch import WeightDiff

CONTEXT_IS_FREE = ("max_seq_len",)
"""Fields of a configuration in which a fine-tune may differ and still be the same architecture."""


@dataclass(frozen=True)
class Candidate:
    """A model, and how far a checkpoint is from it.

    Attributes:
        family: name.
        variant: name; None for the family with the configuration that the checkpoint states.
        configuration: differences from what the checkpoint states; empty where it states nothing.
        weights: what does not match of names and shapes.
        hint: what that probably means.
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
        """Whether an export would take the checkpoint for this model."""
        return not self.configuration and not self.weights


def recognise(checkpoint: Checkpoint) -> tuple[list[Candidate], dict[str, str]]:
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
    """How far the checkpoint is from a variant.

    Raises:
        UsageError: there is no such variant.
        CheckpointError: its family has no weight names for the checkpoint's format, or cannot read its configuration.
    """
    family, variant = registry().variant(name)
    if checkpoint.naming not in family.weight_maps:
        raise CheckpointError(
            f"family {family.name} has no weight names for {checkpoint.format} checkpoints",
            code=ErrorCode.NO_WEIGHT_MAP,
            hint=f"it knows {', '.join(family.weight_maps)} naming",
        )
    return _candidate(checkpoint, family, variant.name, stated_config(checkpoint, family))


def stated_config(checkpoint: Checkpoint, family: ModelFamily) -> Any:
    """What the checkpoint says of itself, in the family's words; None if nothing.

    Raises:
        CheckpointError: it says nothing that the family knows, or nothing that makes sense.
    """
    if family.read_config is None:
        return None
    try:
        return load(family.read_config)(checkpoint)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # Readers check the values that they take, yet anything may be nested in them, and any may contradict another:
        # no heads at all, a list for the settings of a rotation.
        raise CheckpointError(
            f"the configuration of {checkpoint.path} makes no sense to {family.name}: {error}",
            code=ErrorCode.INVALID_CONFIG,
            hint="download its files again; one is damaged, or not what its publisher wrote",
        ) from error


def empty_model(family: ModelFamily, config: Any, layers: Mapping[str, str]) -> Any:
    """The ``torch.nn.Module`` without weights.

    Raises:
        CheckpointError: its sizes overflow.
    """
    try:
        with torch.device("meta"):
            return load(family.builder)(config, layers=layers)
    except RuntimeError as error:  # torch's word for sizes whose product no computer can count
        raise CheckpointError(
            f"a {family.name} of the stated sizes cannot be built: {str(error).splitlines()[0]}",
            code=ErrorCode.INVALID_CONFIG,
            hint="download the checkpoint again; its configuration is damaged",
        ) from error


def _of_family(checkpoint: Checkpoint, family: ModelFamily) -> Iterator[Candidate]:
    stated = stated_config(checkpoint, family)
    if stated is None:
        named = (_candidate(checkpoint, family, row.name, stated) for row in family.variants)
        return (one for one in named if one.mismatches * 2 < one.tensors)
    # Compared by configuration first: to compare weights a model is built, and that takes its time.
    same: list[str | None] = [row.name for row in family.variants if not _differences(family, row.name, stated)]
    return (_candidate(checkpoint, family, name, stated) for name in same or [None])


def _candidate(checkpoint: Checkpoint, family: ModelFamily, variant: str | None, stated: Any) -> Candidate:
    config = stated if variant is None else load(family.config)(variant)
    differing = [] if stated is None or variant is None else _differences(family, variant, stated)
    diff, tensors = _weights(checkpoint, family, config, variant or family.name)
    return Candidate(
        family=family.name,
        variant=variant,
        configuration=tuple(differing),
        weights=tuple(diff.details()),
        hint=diff.hint() if len(diff) else None,
        mismatches=len(diff),
        tensors=tensors,
    )


def _differences(family: ModelFamily, variant: str, stated: Any) -> list[str]:
    return differences(load(family.config)(variant), stated, ignore=CONTEXT_IS_FREE)


def _weights(checkpoint: Checkpoint, family: ModelFamily, config: Any, subject: str) -> tuple[WeightDiff, int]:
    expected = parameter_shapes(empty_model(family, config, {}))
    _, diff = load(family.weight_maps[checkpoint.naming])(config).compare(checkpoint, expected, subject)
    return diff, len(expected)
