"""Plans an export: finds every mistake that can be found before work begins."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from edgegen.adapters.matching import lora_layout
from edgegen.adapters.peft import with_adapter
from edgegen.conversion import build_program, parameter_shapes, plan_parameters
from edgegen.descriptors import ExportTarget, ModelFamily, Variant
from edgegen.errors import CheckpointError, ErrorCode, UnsupportedError, UsageError
from edgegen.export.identify import CONTEXT_IS_FREE, empty_model, stated_config
from edgegen.export.job import ExportOptions, Job, Reporter
from edgegen.export.preflight import forecast
from edgegen.export.tasks import KINDS, Kind
from edgegen.export.weight_report import transfers
from edgegen.plugins import load, registry
from edgegen.quantization.recipe import choose
from edgegen.tracing import Composites
from edgegen.weights import Checkpoint, LazyTensor, open_checkpoint, progress
from edgegen.weights.hyperparameters import differences
from edgegen_quant.ptq import gptq_pass as calibration
from edgegen_quant.ptq import smoothquant_pass as equalization

DEFAULT_SCHEME = "int8-channel"
"""For models that no table recommends another scheme for."""


def plan(options: ExportOptions, report: Reporter) -> Job:
    """Resolve names, open the checkpoint, match its weights, trace and lower, and look ahead; write nothing.

    Raises:
        UsageError: something named does not exist, or lengths make no sense.
        CheckpointError: the checkpoint is damaged or not the variant's.
        UnsupportedError: the model uses operators that have no lowering.
        ResourceError: the machine lacks the disk or the memory.
    """
    registered = registry()
    family, variant = _named(options.variant)
    kind = KINDS[family.kind]
    kind.check(options)
    _check_lengths(options)
    chosen = choose(options.scheme or (variant.scheme if variant else DEFAULT_SCHEME))
    for descriptor in chosen.descriptors:
        if descriptor.caution:
            report.warn(f"{descriptor.name}: {descriptor.caution}")
    target = registered.target(options.target)
    _check_target(target, kind, options.variant)
    for block, implementation in options.layers.items():
        registered.layer(block, implementation)
    _check_output(options.output)
    with report.stage("checkpoint") as stage:
        with progress.heard_by(stage):
            checkpoint = open_checkpoint(options.checkpoint, options.checkpoint_format)
        if options.lora is not None:
            checkpoint = with_adapter(checkpoint, options.lora)
        config = _config(checkpoint, family, variant)
        model = empty_model(family, config, options.layers)
        variant = variant or _unlisted(options.checkpoint, checkpoint, family, config, model)
        sources = _match(checkpoint, family, variant, config, model)
        lora = options.lora_rank and lora_layout(checkpoint, family, config, model, options.lora_rank)
        equalization.prepare(model, sources, chosen.scheme, options.equalize)
        stage.detail(f"{checkpoint.format}, {len(checkpoint.tensors)} tensors")
    options = kind.settled(options, variant.context_length)
    _warn_of_lengths(options, kind, variant, report)
    with report.stage("trace") as stage:
        program = build_program(kind.signatures(model, options), Composites.parse(options.composites))
        stage.detail(", ".join(program.signatures))
    job = Job(
        options=options,
        family=family,
        kind=kind,
        variant=variant,
        scheme_name=chosen.name,
        scheme=chosen.scheme,
        checkpoint=checkpoint,
        model=model,
        sources=sources,
        program=program,
        parameters=plan_parameters(program, sources, chosen.scheme),
        lora=lora or None,
    )
    job.transfers = transfers(job.parameters, job.scheme_name)
    job.equalizing = equalization.planned(job)
    job.text = calibration.planned(job)
    if target.check is not None:
        load(target.check)(job, report)
    job.forecast = forecast(job)
    job.forecast.check(options.output)
    return job


def defaults(name: str) -> Mapping[str, Any]:
    """Fields of :class:`ExportOptions` that differ by default for a variant, or a family, of this name.

    Raises:
        UsageError: there is none.
    """
    return KINDS[_named(name)[0].kind].defaults


def _named(name: str) -> tuple[ModelFamily, Variant | None]:
    """A variant, or a family alone where the checkpoint is to say the rest."""
    families = registry().families
    if name in families and name not in registry().variants:
        return families[name].descriptor, None
    return registry().variant(name)


def _config(checkpoint: Checkpoint, family: ModelFamily, variant: Variant | None) -> Any:
    """The variant's configuration, checked against what the checkpoint says of itself; or the latter alone."""
    stated = stated_config(checkpoint, family)
    if variant is None:
        if stated is None:
            raise CheckpointError(
                f"{checkpoint.path} does not state its configuration",
                code=ErrorCode.CONFIG_MISSING,
                hint=f"name one of {family.name}'s variants: {', '.join(row.name for row in family.variants)}",
            )
        return stated
    config = load(family.config)(variant.name)
    details = [] if stated is None else differences(config, stated, ignore=CONTEXT_IS_FREE)
    if details:
        raise CheckpointError(
            f"{checkpoint.path} is no {variant.name}: its configuration differs",
            code=ErrorCode.CONFIG_MISMATCH,
            details=details,
            hint=f"edgegen export {family.name} takes the configuration from the checkpoint",
        )
    return config


def _unlisted(named: Path, checkpoint: Checkpoint, family: ModelFamily, config: Any, model: nn.Module) -> Variant:
    """A row for a model that the family's table does not have."""
    # What was named, as a reference may lead to a folder whose name is a hash; after the prefix that it may have.
    stem = named.name.rpartition(":")[2].removesuffix(".gguf").removesuffix(".safetensors")
    return Variant(
        name=re.sub(r"[^a-z0-9.]+", "-", stem.lower()).strip("-") or family.name,
        parameters=sum(math.prod(shape) for shape in parameter_shapes(model).values()),
        context_length=config.max_seq_len,
        source=stem,
        license=str(checkpoint.config.get("general.license", "unknown")),
        scheme=DEFAULT_SCHEME,
    )


def _match(
    checkpoint: Checkpoint, family: ModelFamily, variant: Variant, config: Any, model: nn.Module
) -> dict[str, LazyTensor]:
    if checkpoint.naming not in family.weight_maps:
        raise CheckpointError(
            f"family {family.name} has no weight names for {checkpoint.format} checkpoints",
            code=ErrorCode.NO_WEIGHT_MAP,
            hint=f"it knows {', '.join(family.weight_maps)} naming",
        )
    weight_map = load(family.weight_maps[checkpoint.naming])(config)
    subject = f"{variant.name} (format {checkpoint.format})"
    resolved: dict[str, LazyTensor] = weight_map.resolve(checkpoint, parameter_shapes(model), subject)
    return resolved


def _check_lengths(options: ExportOptions) -> None:
    lengths = options.prefill_lengths
    if not lengths or min(lengths) < 1 or len(set(lengths)) != len(lengths):
        raise UsageError(
            f"prefill lengths must be positive and distinct, not {list(lengths)}",
            code=ErrorCode.INVALID_LENGTHS,
            hint="--prefill-lengths 8,64,128",
        )
    if options.cache_length < max(lengths):
        raise UsageError(
            f"a cache of {options.cache_length} tokens cannot take a prefill of {max(lengths)}",
            code=ErrorCode.INVALID_LENGTHS,
            hint=f"raise --cache-length to {max(lengths)} or more, or drop the longest of --prefill-lengths",
        )
    guesses = options.verify_lengths
    if guesses and (min(guesses) < 2 or max(guesses) > options.cache_length or len(set(guesses)) != len(guesses)):
        raise UsageError(
            f"--verify-lengths takes distinct lengths from 2 to the cache's {options.cache_length}, not {list(guesses)}",
            code=ErrorCode.INVALID_LENGTHS,
            hint="--verify-lengths 4,8",
        )


def _check_target(target: ExportTarget, kind: Kind, name: str) -> None:
    if kind.name not in target.kinds:
        able = [
            known.descriptor.name for known in registry().export_targets.values() if kind.name in known.descriptor.kinds
        ]
        raise UnsupportedError(
            f"--target {target.name} cannot package {name}, which is {kind.title}",
            code=ErrorCode.TARGET_UNSUPPORTED,
            hint=f"--target {able[0]}" if able else None,
        )


def _warn_of_lengths(options: ExportOptions, kind: Kind, variant: Variant, report: Reporter) -> None:
    lengths = {"a cache": 0 if "cache_length" in kind.without else options.cache_length,
               "a text": max(options.encode_lengths or (0,))}  # fmt: skip
    for what, length in lengths.items():
        if length > variant.context_length:
            report.warn(
                f"{what} of {length} tokens is longer than {variant.name} was trained for "
                f"({variant.context_length}); text beyond that may make no sense"
            )


def _check_output(output: Path) -> None:
    """Only what edgegen wrote may be replaced."""
    if output.is_dir() and any(output.iterdir()) and not (output / "export.json").is_file():
        raise UsageError(
            f"output folder {output} exists and holds something else than an export",
            code=ErrorCode.OUTPUT_EXISTS,
            hint="name a folder that does not exist yet",
        )
    if output.exists() and not output.is_dir():
        raise UsageError(
            f"output {output} is a file, not a folder",
            code=ErrorCode.OUTPUT_EXISTS,
            hint="name a folder that does not exist yet",
        )
