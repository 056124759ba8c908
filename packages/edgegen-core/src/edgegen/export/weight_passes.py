"""Passes over weights in an export: which run, and in what order; see :mod:`edgegen.quantization.passes`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.plugins import load, registry
from edgegen.quantization.passes import PassContext, PlannedPass, WeightPass, Weights
from edgegen.weights.storage import Scheme
from edgegen.weights.tensors import LazyTensor


def load_passes(choices: Mapping[str, bool]) -> dict[str, WeightPass]:
    """Name -> pass, in the order in which they run; those that the user leaves out are not loaded.

    Args:
        choices: see :attr:`~edgegen.export.options.ExportOptions.weight_passes`.

    Raises:
        UsageError: one is named that no plugin offers.
    """
    registered = registry()
    for name in choices:
        registered.weight_pass(name)
    offered = (provided.descriptor for provided in registered.weight_passes.values())
    chosen = sorted(
        (descriptor for descriptor in offered if choices.get(descriptor.name) is not False),
        key=lambda descriptor: (descriptor.order, descriptor.name),
    )
    return {descriptor.name: load(descriptor.implementation)() for descriptor in chosen}


def prepare(
    passes: Mapping[str, WeightPass],
    module: nn.Module,
    weights: Weights,
    scheme: Scheme,
    choices: Mapping[str, bool],
) -> dict[str, LazyTensor]:
    """``weights`` and those of the parameters that passes add to ``module``."""
    result = dict(weights)
    for name, weight_pass in passes.items():
        result.update(weight_pass.prepare(module, result, scheme, choices.get(name)))
    return result


def planned(
    passes: Mapping[str, WeightPass], context: PassContext, choices: Mapping[str, bool]
) -> tuple[PlannedPass, ...]:
    """The passes that run.

    Raises:
        UsageError: one was asked for that can do nothing here, or none has a use for the calibration text.
    """
    found = (each.plan(replace(context, enabled=choices.get(name))) for name, each in passes.items())
    running = tuple(each for each in found if each is not None)
    if context.calibration is not None and not any(each.uses_calibration for each in running):
        raise UsageError(
            f"{context.scheme_name} has no use for a calibration text",
            code=ErrorCode.CALIBRATION_UNUSED,
            hint="leave --calibration out, or choose a scheme of integers, such as int4-block32",
        )
    return running
