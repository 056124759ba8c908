"""Planning an export: finds every mistake that can be found before work begins."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from edgegen.adapters.matching import lora_layout
from edgegen.adapters.peft import with_adapter
from edgegen.compile import build_program
from edgegen.descriptors import ExportTarget, ModelFamily, Variant
from edgegen.errors import CheckpointError, ErrorCode, UnsupportedError, UsageError
from edgegen.export import weight_passes
from edgegen.export.conversion_report import conversion_report
from edgegen.export.identify import CONTEXT_IS_FREE, empty_model
from edgegen.export.options import ExportOptions
from edgegen.export.output_folder import check_output
from edgegen.export.records import NO_TOKENIZER, ExportPlan
from edgegen.export.tasks import TASKS, Task
from edgegen.family_calls import config_for_context, family_title, named_config, resolve_weights, stated_config
from edgegen.genai.signature_names import decode_name, encode_name, prefill_name, verify_name
from edgegen.genai.token_decoders import unstreamable
from edgegen.modeling import TextEncoder, require
from edgegen.module_calls import check_logits, check_signatures
from edgegen.plugins import load, registry
from edgegen.plugins.calls import plugin_code
from edgegen.progress import Reporter, reporting_to
from edgegen.quantization.assign import plan_parameters
from edgegen.quantization.fallback import fallback
from edgegen.quantization.passes import WeightPass
from edgegen.quantization.recipe import choose
from edgegen.tracing import Composites, Signature
from edgegen.weights import Checkpoint, TokenizerAssets, open_checkpoint
from edgegen.weights.hyperparameters import differences
from edgegen.weights.module import parameter_shapes

DEFAULT_SCHEME = "int8-channel"
"""For models that no table recommends another scheme for."""


_LONGEST = 1 << 24
"""Most tokens of a text: whole numbers beyond it cannot be told apart in float32, which positions are turned by."""


def plan(options: ExportOptions, report: Reporter) -> ExportPlan:
    """Resolve names, open the checkpoint, match its weights, trace and lower, and look ahead; write nothing.

    Raises:
        UsageError: something named does not exist, or lengths make no sense.
        CheckpointError: the checkpoint is damaged or not the variant's.
        UnsupportedError: the model uses operators that have no lowering.
        PluginError: the family's module lacks a method.
        ResourceError: the machine lacks the disk or the memory.
    """
    registered = registry()
    family, listed = _named(options.variant)
    task = TASKS[family.task]
    task.check(options)
    _check_lengths(options)
    chosen = choose((listed.scheme if listed else DEFAULT_SCHEME) if options.scheme is None else options.scheme)
    for descriptor in chosen.descriptors:
        if descriptor.caution:
            report.warn(f"{descriptor.name}: {descriptor.caution}")
    target = registered.target(options.target)
    if options.verify_against not in (None, "none"):
        registered.oracle(options.verify_against)
    _check_target(target, task, options.variant)
    for block, implementation in options.layers.items():
        registered.layer(block, implementation)
    passes = weight_passes.load_passes(options.weight_passes)
    check_output(options.output)
    with report.stage("checkpoint") as stage:
        with reporting_to(stage):
            checkpoint = _allowing(open_checkpoint(options.checkpoint, options.checkpoint_format), options.allow_keys)
        if options.lora is not None:
            checkpoint = with_adapter(checkpoint, options.lora)
        config = config_for_context(family, _config(checkpoint, family, listed), options.cache_length)
        module = empty_model(family, config, options.layers)
        require(module, task.protocol, family_title(family))
        if listed is not None:
            _check_parameters(listed, family, module, report)
        variant = listed or _unlisted(options.checkpoint, checkpoint, family, config, module)
        weights = resolve_weights(checkpoint, family, config, parameter_shapes(module), variant.name)
        lora = options.lora_rank and lora_layout(checkpoint, family, config, module, options.lora_rank)
        own = weights.keys()
        weights = weight_passes.prepare(passes, module, weights, chosen.scheme, options.weight_passes)
        stage.detail(f"{checkpoint.format}, {len(checkpoint.tensors)} tensors")
    options = task.with_encode_lengths(options, variant.context_length)
    _warn_of_lengths(options, task, variant, report)
    with report.stage("trace") as stage:
        program = build_program(_signatures(task, module, options, family), Composites.parse(options.composites))
        stage.detail(", ".join(program.signatures))
    if task.protocol is not TextEncoder:
        check_logits(program, config.vocab_size, family_title(family))
    parameters = plan_parameters(program, weights, chosen.scheme)
    fell_back = fallback(parameters, chosen.scheme, chosen.name)
    if fell_back is not None:
        report.warn(fell_back)
    draft = ExportPlan(
        options=options,
        family=family,
        variant=variant,
        scheme_name=chosen.name,
        scheme=chosen.scheme,
        checkpoint=checkpoint,
        tokenizer=checkpoint.tokenizer(),
        module=module,
        weights=weights,
        program=program,
        parameters=parameters,
        conversion=(),
        lora=lora or None,
    )
    _ = draft.max_rollback  # a module that gets it wrong is told so before any work
    planned = _with_passes(draft, passes, weights.keys() - own)
    _warn_of_tokenizer(
        planned.tokenizer, writes=task.name != "feature-extraction" and target.name == "tflite", report=report
    )
    if target.check is not None:
        load(target.check)(planned, report)
    return planned


def _warn_of_tokenizer(tokenizer: TokenizerAssets | None, *, writes: bool, report: Reporter) -> None:
    """Say where edgegen's runtime cannot make tokens of a text, or (``writes``) a text of tokens."""
    if tokenizer is None:
        report.warn(f"{NO_TOKENIZER}; put a tokenizer.json beside the weights, or give the model token ids")
        return
    document = tokenizer.files.get("tokenizer.json")
    if document is None or not writes:
        return
    reason = unstreamable(json.loads(document).get("decoder"))
    if reason is not None:
        report.warn(f"{reason}, so `edgegen run` and `edgegen serve` cannot write its tokens as text")


def _with_passes(draft: ExportPlan, passes: Mapping[str, WeightPass], added: Collection[str]) -> ExportPlan:
    """The plan with the passes that run, and the conversion report that they make true."""
    running = weight_passes.planned(passes, draft.pass_context, draft.options.weight_passes)
    changed = frozenset(name for each in running for name in each.changes)
    return replace(
        draft, passes=running, conversion=conversion_report(draft.parameters, draft.scheme_name, changed, added)
    )


def defaults(name: str) -> Mapping[str, Any]:
    """Fields of :class:`ExportOptions` that differ by default for a variant, or a family, of this name.

    Raises:
        UsageError: there is none.
    """
    return TASKS[_named(name)[0].task].defaults


def _named(name: str) -> tuple[ModelFamily, Variant | None]:
    """A variant, or a family alone where the checkpoint is to say the rest."""
    families = registry().families
    if name in families and name not in registry().variants:
        return families[name].descriptor, None
    return registry().variant(name)


def _allowing(checkpoint: Checkpoint, keys: tuple[str, ...]) -> Checkpoint:
    absent = [key for key in keys if key not in _stated_keys(checkpoint)]
    if absent:
        raise UsageError(
            f"--allow-key {absent[0]} has no effect: {checkpoint.path} does not state it",
            code=ErrorCode.OPTION_NOT_APPLICABLE,
            hint=f"leave out --allow-key {absent[0]}",
        )
    return replace(checkpoint, allowed_keys=keys)


def _stated_keys(checkpoint: Checkpoint) -> set[str]:
    """Keys of the configuration, and of its text part where it has parts."""
    part = checkpoint.config.get("text_config")
    return {*checkpoint.config, *(part if isinstance(part, Mapping) else ())}


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
    config = named_config(family, variant.name)
    details = [] if stated is None else differences(config, stated, ignore=CONTEXT_IS_FREE)
    if details:
        raise CheckpointError(
            f"{checkpoint.path} is no {variant.name}: its configuration differs",
            code=ErrorCode.CONFIG_MISMATCH,
            details=details,
            hint=f"edgegen export {family.name} takes the configuration from the checkpoint",
        )
    return config


def _check_parameters(variant: Variant, family: ModelFamily, module: nn.Module, report: Reporter) -> None:
    found = sum(math.prod(shape) for shape in parameter_shapes(module).values())
    if found != variant.parameters:
        report.warn(
            f"{variant.name} has {found:,} parameters, and {family_title(family)} says {variant.parameters:,}: report "
            "it to the plugin's author"
        )


def _unlisted(named: Path, checkpoint: Checkpoint, family: ModelFamily, config: Any, module: nn.Module) -> Variant:
    """A row for a model that the family's table does not have."""
    # What was named, as a reference may lead to a folder whose name is a hash; after the prefix that it may have.
    stem = named.name.rpartition(":")[2]
    for provided in registry().checkpoint_formats.values():
        for suffix in provided.descriptor.suffixes:
            stem = stem.removesuffix(suffix)
    return Variant(
        name=re.sub(r"[^a-z0-9.]+", "-", stem.lower()).strip("-") or family.name,
        parameters=sum(math.prod(shape) for shape in parameter_shapes(module).values()),
        context_length=config.max_position_embeddings,
        source=stem,
        license=checkpoint.license,
        scheme=DEFAULT_SCHEME,
    )


def _signatures(task: Task, module: nn.Module, options: ExportOptions, family: ModelFamily) -> list[Signature]:
    owner = family_title(family)
    with plugin_code(owner, "signatures()"):
        found = task.signatures(module, options)
    return check_signatures(found, _signature_names(task, options), owner)


def _signature_names(task: Task, options: ExportOptions) -> list[str]:
    """Names of the signatures that the options ask for."""
    names = [encode_name(length) for length in options.encode_lengths or ()]
    if "cache_length" in task.rejected:
        return names
    for cache, slots in [(None, options.cache_length), *((slots, slots) for slots in options.shorter_caches)]:
        names += [prefill_name(length, cache) for length in options.prefill_lengths if length <= slots]
        names += [verify_name(length, cache) for length in options.verify_lengths if length <= slots]
        names.append(decode_name(cache))
    return names


def _check_lengths(options: ExportOptions) -> None:
    named = {
        "--cache-length": (options.cache_length,),
        "--prefill-lengths": options.prefill_lengths,
        "--cache-buckets": options.cache_buckets,
        "--encode-lengths": options.encode_lengths or (),
    }
    for option, given in named.items():
        if max(given, default=0) > _LONGEST:
            raise UsageError(
                f"{option} has {max(given)} tokens; positions are counted in float32, which ends at {_LONGEST}",
                code=ErrorCode.INVALID_LENGTHS,
                hint=f"{option} {_LONGEST} at most; a model's own context is far shorter",
            )
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
    buckets = options.cache_buckets
    if buckets and (min(buckets) < 1 or len(set(buckets)) != len(buckets)):
        raise UsageError(
            f"--cache-buckets takes distinct lengths from 1 on, not {list(buckets)}",
            code=ErrorCode.INVALID_LENGTHS,
            hint="--cache-buckets 256,512, or --cache-buckets none",
        )
    guesses = options.verify_lengths
    if guesses and (min(guesses) < 2 or max(guesses) > options.cache_length or len(set(guesses)) != len(guesses)):
        raise UsageError(
            f"--verify-lengths takes distinct lengths from 2 to the cache's {options.cache_length}, "
            f"not {list(guesses)}",
            code=ErrorCode.INVALID_LENGTHS,
            hint="--verify-lengths 4,8",
        )


def _check_target(target: ExportTarget, task: Task, name: str) -> None:
    if task.name not in target.tasks:
        known = (provided.descriptor for provided in registry().export_targets.values())
        able = [descriptor.name for descriptor in known if task.name in descriptor.tasks]
        raise UnsupportedError(
            f"--target {target.name} cannot package {name}, which is {task.title}",
            code=ErrorCode.TARGET_UNSUPPORTED,
            hint=f"--target {able[0]}" if able else None,
        )


def _warn_of_lengths(options: ExportOptions, task: Task, variant: Variant, report: Reporter) -> None:
    lengths = {"a cache": 0 if "cache_length" in task.rejected else options.cache_length,
               "a text": max(options.encode_lengths or (0,))}  # fmt: skip
    for what, length in lengths.items():
        if length > variant.context_length:
            report.warn(
                f"{what} of {length} tokens is longer than {variant.name} was trained for "
                f"({variant.context_length}); text beyond that may make no sense"
            )
