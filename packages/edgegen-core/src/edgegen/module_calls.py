"""Calls of an exportable module's methods: what fails in them names its class, and what they return is checked.

The methods are those of :mod:`edgegen.modeling`. Needs torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from edgegen.genai.signature_names import signature_groups
from edgegen.graph import Program
from edgegen.modeling import LimitsRollback, SupportsChannelScaling, SupportsLora, supports
from edgegen.plugins.calls import bad_return, plugin_code, returned, returned_list
from edgegen.quantization.channel_scaling import ScalingGroup
from edgegen.tracing import Signature
from edgegen.weights.module import parameter_shapes

LoraProjections = Sequence[dict[str, tuple[str, int]]]
"""What :meth:`SupportsLora.lora_projections` gives."""


def class_title(module: object) -> str:
    """The module's class and where it is defined, for messages."""
    return f"{type(module).__qualname__} ({type(module).__module__})"


def module_code(module: object, method: str) -> AbstractContextManager[None]:
    """A block that calls one method of the module and reads its outputs; see :func:`plugin_code`."""
    return plugin_code(class_title(module), f"{method}()")


def max_rollback(module: object, cache_length: int) -> int | None:
    """Most tokens that a cache of ``cache_length`` slots can be rolled back by; None for all of them.

    Raises:
        PluginError: the method fails, or gives something else.
    """
    limited = supports(module, LimitsRollback)
    if limited is None:
        return None
    with module_code(module, "max_rollback"):
        limit = limited.max_rollback(cache_length)
    if limit is None:
        return None
    if returned(limit, int, class_title(module), "max_rollback()") < 0 or isinstance(limit, bool):
        raise bad_return(class_title(module), "max_rollback()", f"{limit}, which is no number of tokens")
    return limit


def lora_projections(module: nn.Module) -> LoraProjections:
    """For each block: projection -> parameter that holds it, and its rows there; empty for a module without adapters.

    Raises:
        PluginError: the method fails, or names parameters that the module lacks.
    """
    adaptable = supports(module, SupportsLora)
    if adaptable is None:
        return ()
    with module_code(module, "lora_projections"):
        blocks = [
            {str(name): (str(parameter), int(rows)) for name, (parameter, rows) in block.items()}
            for block in adaptable.lora_projections()
        ]
    named = [each for block in blocks for each in block.values()]
    _check_names(module, [parameter for parameter, _ in named], "lora_projections()")
    shapes = parameter_shapes(module)
    for parameter, rows in named:
        if len(shapes[parameter]) != 2 or not 0 < rows <= shapes[parameter][0]:
            raise bad_return(class_title(module), "lora_projections()", f"{rows} rows of {parameter}")
    return blocks


def scaling_groups(module: nn.Module) -> Sequence[ScalingGroup]:
    """The module's channels with their producers and consumers; empty for a module that names none.

    Raises:
        PluginError: the method fails, gives something else, or names parameters that the module lacks.
    """
    scalable = supports(module, SupportsChannelScaling)
    if scalable is None:
        return ()
    owner = class_title(module)
    with module_code(module, "scaling_groups"):
        groups = list(scalable.scaling_groups())
        for group in groups:
            returned(group, ScalingGroup, owner, "an element of scaling_groups()")
            if not group.consumers or not group.producers:
                raise bad_return(owner, "scaling_groups()", "a group without producers or without consumers")
            producers = [rows.parameter for rows in group.producers if rows.parameter != group.added]
            _check_names(module, [*group.consumers, *producers], "scaling_groups()")
    return groups


def add_scales(module: nn.Module, name: str) -> None:
    """Add the parameter ``name``, the ``added`` of one of the module's scaling groups.

    Raises:
        PluginError: the method fails, or adds no parameter of that name.
    """
    scalable = supports(module, SupportsChannelScaling)
    if scalable is not None:
        with module_code(module, "add_scales"):
            scalable.add_scales(name)
    _check_names(module, [name], "add_scales()")


def check_signatures(found: object, wanted: Collection[str], owner: str) -> list[Signature]:
    """``found``, which the module's ``signatures()`` returned, as a list of signatures that a runtime can use.

    Args:
        found: the value.
        wanted: names that were asked for.
        owner: for the message: the family and the package that it comes from.

    Raises:
        PluginError: it is something else, lacks such names, or has one twice.
    """
    what = "signatures()"
    signatures = returned_list(found, Signature, owner, what)
    names = [signature.name for signature in signatures]
    for name in names:
        returned(name, str, owner, "the name of an element of signatures()")
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise bad_return(owner, what, f"{repeated[0]} twice")
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise bad_return(owner, what, f"{', '.join(names)}, among which {', '.join(lacking)} is missing")
    return signatures


def check_logits(program: Program, vocab_size: int, owner: str) -> None:
    """Check that what a runtime samples from has a number for each token of the vocabulary.

    Args:
        program: signatures of a decoder.
        vocab_size: V, as the module's configuration states it.
        owner: for the message: the family and the package that it comes from.

    Raises:
        PluginError: a signature that gives logits has none, or those of another vocabulary.
    """
    for group in signature_groups(program.signatures):
        for length, name in ((1, group.decode), *group.verify.items()):
            found = program.signatures[name].outputs.get("logits")
            wanted = (1, length, vocab_size)
            if found is None or tuple(found.shape) != wanted:
                what = "no logits" if found is None else f"logits of shape {list(found.shape)}"
                raise bad_return(
                    owner, f"forward of {name}", f"{what}, where the configuration asks for {list(wanted)}"
                )


def _check_names(module: nn.Module, names: Sequence[Any], what: str) -> None:
    known = parameter_shapes(module)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise bad_return(class_title(module), what, f"the parameter {unknown[0]!r}, which the module lacks")
