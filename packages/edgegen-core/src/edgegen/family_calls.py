"""Calls of a model family's functions: what fails in them names the family, and what they return is checked.

The functions are those of :class:`edgegen.descriptors.ModelFamily`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from edgegen.descriptors import ModelFamily
from edgegen.errors import CheckpointError, ErrorCode, PluginError
from edgegen.plugins import load, registry
from edgegen.plugins.calls import bad_return, origin, plugin_code, returned
from edgegen.weights import Checkpoint, LazyTensor
from edgegen.weights.mismatch import WeightDiff
from edgegen.weights.weight_map import WeightMap


def family_title(family: ModelFamily) -> str:
    """The family and the package that it comes from, for messages."""
    provided = registry().families.get(family.name)
    return f"family {family.name}" + (f" ({provided.distribution})" if provided else "")


def named_config(family: ModelFamily, variant: str) -> Any:
    """The configuration of a variant, a dataclass of the family's own.

    Raises:
        PluginError: the family's function fails, or gives something else.
    """
    owner = family_title(family)
    with plugin_code(owner, "config"):
        config = load(family.config)(variant)
    return _dataclass(config, owner, "config")


def stated_config(checkpoint: Checkpoint, family: ModelFamily) -> Any:
    """The configuration that the checkpoint states, as the family reads it; None if it states none.

    Raises:
        CheckpointError: it says nothing that the family knows, or nothing that makes sense.
        PluginError: the family's function fails in another way, or gives something else.
    """
    if family.read_config is None:
        return None
    owner, what = family_title(family), "read_config"
    try:
        with plugin_code(owner, what):
            config = load(family.read_config)(checkpoint)
    except PluginError as error:
        cause = error.__cause__
        if not isinstance(cause, ArithmeticError | AttributeError | LookupError | TypeError | ValueError):
            raise
        # Readers check the values that they take, yet anything may be nested in them, and any may contradict another:
        # no heads at all, a list for the settings of a rotation. Nor can a fault of the reader's own be told apart.
        raise CheckpointError(
            f"{owner} cannot read the configuration of {checkpoint.path}: {type(cause).__name__}: {cause}",
            code=ErrorCode.INVALID_CONFIG,
            details=[origin(cause)],
            hint="download its files again; if they are what their publisher wrote, report it to the family's author",
        ) from cause
    return None if config is None else _dataclass(config, owner, what)


def config_for_context(family: ModelFamily, config: Any, cache_length: int) -> Any:
    """``config`` for a context window of ``cache_length`` tokens, for a family whose models depend on it.

    Raises:
        PluginError: the family's function fails, or gives something else.
    """
    if family.config_for_context is None or config is None:
        return config
    owner, what = family_title(family), "config_for_context"
    with plugin_code(owner, what):
        changed = load(family.config_for_context)(config, cache_length)
    return _dataclass(changed, owner, what)


def weight_map(family: ModelFamily, naming: str, config: Any) -> WeightMap:
    """The family's map for checkpoints of a naming convention.

    Raises:
        PluginError: the family's function fails, or gives something else.
    """
    owner, what = family_title(family), f"weight map {naming!r}"
    with plugin_code(owner, what):
        return returned(load(family.weight_maps[naming])(config), WeightMap, owner, what)


def resolve_weights(
    checkpoint: Checkpoint, family: ModelFamily, config: Any, expected: Mapping[str, tuple[int, ...]], subject: str
) -> dict[str, LazyTensor]:
    """The checkpoint's tensors by the names of the family's parameters, see :meth:`WeightMap.resolve`.

    Raises:
        CheckpointError: the family has no names for the checkpoint's format, or tensors do not match.
        UnsupportedError: a tensor has a storage type that cannot be read.
        PluginError: the family's map fails.
    """
    check_naming(checkpoint, family)
    found = weight_map(family, checkpoint.naming, config)
    with plugin_code(family_title(family), f"weight map {checkpoint.naming!r}"):
        return found.resolve(checkpoint, expected, subject)


def compare_weights(
    checkpoint: Checkpoint, family: ModelFamily, config: Any, expected: Mapping[str, tuple[int, ...]], subject: str
) -> WeightDiff:
    """What :func:`resolve_weights` would not find; raises the same errors for all else."""
    check_naming(checkpoint, family)
    found = weight_map(family, checkpoint.naming, config)
    with plugin_code(family_title(family), f"weight map {checkpoint.naming!r}"):
        return found.compare(checkpoint, expected, subject)[1]


def check_naming(checkpoint: Checkpoint, family: ModelFamily) -> None:
    """Refuse a checkpoint of a format that the family has no weight names for.

    Raises:
        CheckpointError: it is one.
    """
    if checkpoint.naming not in family.weight_maps:
        raise CheckpointError(
            f"family {family.name} has no weight names for {checkpoint.format} checkpoints",
            code=ErrorCode.NO_WEIGHT_MAP,
            hint=f"it knows {', '.join(family.weight_maps)} naming",
        )


def _dataclass(config: Any, owner: str, what: str) -> Any:
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise bad_return(owner, what, f"a {type(config).__name__} where a dataclass belongs")
    return config
