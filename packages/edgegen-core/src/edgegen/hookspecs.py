"""The hooks that a plugin may implement: the whole plugin API on one page.

A plugin is a module named by an entry point in the group ``edgegen``; it implements any of these functions, marked
with :data:`edgegen.hookimpl`. Each returns an iterable of descriptors (:mod:`edgegen.descriptors`). Hooks take no
arguments today; when one is added, implementations that do not name it keep working.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from edgegen.descriptors import (
    CheckpointFormat,
    Command,
    ErrorHint,
    ExportTarget,
    LayerImpl,
    LoweringRules,
    ModelFamily,
    Oracle,
    QuantScheme,
    WeightPass,
)

GROUP = "edgegen"
"""Entry-point group, and the name of the pluggy project."""

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def edgegen_layers() -> Iterable[LayerImpl]:  # type: ignore[empty-body]
    """Building blocks, and alternative implementations of them.

    .. versionadded:: 0.1
    """


@hookspec
def edgegen_model_families() -> Iterable[ModelFamily]:  # type: ignore[empty-body]
    """Architectures with their variants and weight maps.

    .. versionadded:: 0.1
    """


@hookspec
def edgegen_checkpoint_formats() -> Iterable[CheckpointFormat]:  # type: ignore[empty-body]
    """Checkpoint formats: containers of weights, and references to them.

    .. versionadded:: 0.1
    """


@hookspec
def edgegen_quant_schemes() -> Iterable[QuantScheme]:  # type: ignore[empty-body]
    """Quantization schemes: which storage each parameter gets, and how its rows are encoded.

    .. versionadded:: 0.1
    """


@hookspec
def edgegen_export_targets() -> Iterable[ExportTarget]:  # type: ignore[empty-body]
    """Export targets: what an export makes of a converted model.

    .. versionadded:: 0.1
    """


@hookspec
def edgegen_op_lowerings() -> Iterable[LoweringRules]:  # type: ignore[empty-body]
    """Lowering rules from ATen operators to LiteRT operators.

    .. versionadded:: 0.1
    """


@hookspec
def edgegen_weight_passes() -> Iterable[WeightPass]:  # type: ignore[empty-body]
    """Passes over weights between reading and encoding: channel scaling, GPTQ, ...

    .. versionadded:: 0.1
    """


@hookspec
def edgegen_oracles() -> Iterable[Oracle]:  # type: ignore[empty-body]
    """Other implementations of published models, which exports are compared with.

    .. versionadded:: 0.1
    """


@hookspec
def edgegen_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Subcommands of the command line.

    .. versionadded:: 0.1
    """


@hookspec
def edgegen_error_hints() -> Iterable[ErrorHint]:  # type: ignore[empty-body]
    """Remedies that are shown below an error.

    .. versionadded:: 0.1
    """
