"""Plans an export, then carries it out. ``plan`` finds every mistake that can be found before work begins."""

from __future__ import annotations

import functools
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from edgegen.checkpoints import Checkpoint, LazyTensor, TokenizerAssets, open_checkpoint
from edgegen.checkpoints.settings import differences
from edgegen.conversion import build_program, parameter_shapes, plan_parameters
from edgegen.descriptors import ModelFamily, Variant
from edgegen.errors import CheckpointError, ResourceError, UsageError
from edgegen.export.recipe import sha256
from edgegen.export.verify import Verification, verify
from edgegen.graph import Program
from edgegen.plugins import load, registry
from edgegen.storage import Scheme
from edgegen.tflite.writer import Parameter, write_model
from edgegen.tracing import Composites

MODEL_FILE = "model.tflite"

DEFAULT_SCHEME = "int8-channel"
"""For models that no table recommends another scheme for."""


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What the user asked for.

    Attributes:
        variant: a variant's name, e.g. ``smollm2-135m-instruct``; or a family's, e.g. ``llama``, for a checkpoint
            that states its own configuration.
        checkpoint: file or folder.
        output: folder to make.
        scheme: quantization scheme or alias; None for the variant's own.
        prefill_lengths: one ``prefill_<N>`` signature each, in tokens.
        cache_length: slots of the key/value cache, in tokens.
        short_caches: shorter caches to begin a text on, see :mod:`edgegen.tflite.naming`; those that are not
            shorter are left out.
        target: what to make.
        checkpoint_format: None to detect it.
        composites: which composites to keep, see :class:`edgegen.tracing.Composites`.
        layers: building block -> implementation, where not the default.
        verify: whether to run the result against the eager model.
    """

    variant: str
    checkpoint: Path
    output: Path
    scheme: str | None = None
    prefill_lengths: tuple[int, ...] = (8, 64, 128)
    cache_length: int = 1280
    short_caches: tuple[int, ...] = (256,)
    target: str = "tflite"
    checkpoint_format: str | None = None
    composites: str = "none"
    layers: Mapping[str, str] = field(default_factory=dict)
    verify: bool = True


@dataclass(kw_only=True)
class Job:
    """A planned export: everything is resolved, nothing is written yet.

    Attributes:
        model: on the ``meta`` device.
        sources: parameter name -> where its rows come from.
        hashes: SHA-256 of each checkpoint file; known once :func:`run` has come to packaging.
        verification: likewise; None with ``verify=False``.
    """

    options: ExportOptions
    family: ModelFamily
    variant: Variant
    scheme_name: str
    scheme: Scheme
    checkpoint: Checkpoint
    model: nn.Module
    sources: Mapping[str, LazyTensor]
    program: Program
    parameters: Mapping[str, Parameter]
    hashes: Mapping[str, str] = field(default_factory=dict)
    verification: Verification | None = None

    @functools.cached_property
    def tokenizer(self) -> TokenizerAssets | None:
        """The checkpoint's tokenizer files, converted if need be."""
        return self.checkpoint.tokenizer()

    @property
    def weight_bytes(self) -> int:
        """Size of all weights in the file."""
        return sum(parameter.nbytes for parameter in self.parameters.values())

    @property
    def bytes_by_storage(self) -> dict[str, int]:
        """Storage -> bytes."""
        sizes: dict[str, int] = {}
        for parameter in self.parameters.values():
            sizes[str(parameter.storage)] = sizes.get(str(parameter.storage), 0) + parameter.nbytes
        return sizes


class Stage(Protocol):
    """What a stage of the work reports to."""

    def advance(self, n_bytes: int) -> None: ...

    def detail(self, text: str) -> None: ...


class Reporter(Protocol):
    """Hears of the stages; :class:`edgegen.cli.output.Output` is one."""

    def stage(self, title: str, total_bytes: int | None = None) -> Any:
        """A context manager that yields a :class:`Stage`."""
        ...

    def warn(self, text: str) -> None:
        """Something that the user should know, though it stops nothing."""
        ...


def plan(options: ExportOptions, report: Reporter) -> Job:
    """Resolve names, open the checkpoint, match its weights, trace and lower; read no weight.

    Raises:
        UsageError: something named does not exist, or lengths make no sense.
        CheckpointError: the checkpoint is damaged or not the variant's.
        UnsupportedError: the model uses operators that have no lowering.
    """
    _check_lengths(options)
    registered = registry()
    family, variant = _named(options.variant)
    scheme = registered.scheme(options.scheme or (variant.scheme if variant else DEFAULT_SCHEME))
    registered.target(options.target)
    for block, implementation in options.layers.items():
        registered.layer(block, implementation)
    _check_output(options.output)
    with report.stage("checkpoint") as stage:
        checkpoint = open_checkpoint(options.checkpoint, options.checkpoint_format)
        config = _config(checkpoint, family, variant)
        with torch.device("meta"):
            model = load(family.builder)(config, layers=options.layers)
        variant = variant or _unlisted(checkpoint, family, config, model)
        sources = _match(checkpoint, family, variant, config, model)
        stage.detail(f"{checkpoint.format}, {len(checkpoint.tensors)} tensors")
    if options.cache_length > variant.context_length:
        report.warn(
            f"a cache of {options.cache_length} tokens is longer than {variant.name} was trained for "
            f"({variant.context_length}); text beyond that may make no sense"
        )
    with report.stage("trace") as stage:
        shorter = [slots for slots in options.short_caches if slots < options.cache_length]
        signatures = model.signatures(options.prefill_lengths, options.cache_length, shorter)
        program = build_program(signatures, Composites.parse(options.composites))
        stage.detail(", ".join(program.signatures))
    loaded: Scheme = load(scheme.scheme)
    return Job(
        options=options,
        family=family,
        variant=variant,
        scheme_name=scheme.name,
        scheme=loaded,
        checkpoint=checkpoint,
        model=model,
        sources=sources,
        program=program,
        parameters=plan_parameters(program, sources, loaded),
    )


def run(job: Job, report: Reporter) -> Path:
    """Write, verify and package; the output folder appears only when all of it is done.

    Raises:
        VerificationError: the file does not compute what the model computes.
        ResourceError: no room on the disk, or no right to write there.
    """
    output = job.options.output
    package = load(registry().target(job.options.target).package)
    with _work_folder(output) as folder, ThreadPoolExecutor(1) as background:
        _check_room(folder, job.weight_bytes)
        hashes = {path.name: background.submit(sha256, path) for path in job.checkpoint.files}
        with report.stage("weights", job.weight_bytes) as stage:
            write_model(job.program, job.parameters, job.scheme, folder / MODEL_FILE, stage.advance)
            stage.detail(job.scheme_name)
        if job.options.verify:
            with report.stage("verify") as stage:
                job.verification = verify(job, folder / MODEL_FILE)
                stage.detail(str(job.verification))
            job.verification.check(job.scheme_name, job.scheme.tolerance)
        with report.stage("package") as stage:
            job.hashes = _results(hashes)
            package(job, folder)
            stage.detail(str(output))
        _put_in_place(folder, output)
    return output


def _results(futures: Mapping[str, Future[str]]) -> dict[str, str]:
    return {name: future.result() for name, future in futures.items()}


def _named(name: str) -> tuple[ModelFamily, Variant | None]:
    """A variant, or a family alone where the checkpoint is to say the rest."""
    families = registry().families
    if name in families and name not in registry().variants:
        return families[name].descriptor, None
    return registry().variant(name)


def _config(checkpoint: Checkpoint, family: ModelFamily, variant: Variant | None) -> Any:
    """The variant's configuration, checked against what the checkpoint says of itself; or the latter alone."""
    stated = load(family.read_config)(checkpoint) if family.read_config else None
    if variant is None:
        if stated is None:
            raise CheckpointError(
                f"{checkpoint.path} does not state its configuration",
                code="EG206",
                hint=f"name one of {family.name}'s variants: {', '.join(row.name for row in family.variants)}",
            )
        return stated
    config = load(family.config)(variant.name)
    # A longer or shorter context is no other architecture; fine-tunes change it.
    details = [] if stated is None else differences(config, stated, ignore=("max_seq_len",))
    if details:
        raise CheckpointError(
            f"{checkpoint.path} is no {variant.name}: its configuration differs",
            code="EG205",
            details=details,
            hint=f"edgegen export {family.name} takes the configuration from the checkpoint",
        )
    return config


def _unlisted(checkpoint: Checkpoint, family: ModelFamily, config: Any, model: nn.Module) -> Variant:
    """A row for a model that the family's table does not have."""
    stem = checkpoint.path.name.removesuffix(".gguf").removesuffix(".safetensors")
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
            code="EG203",
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
            hint="--prefill-lengths 8,64,128",
        )
    if options.cache_length < max(lengths):
        raise UsageError(
            f"a cache of {options.cache_length} tokens cannot take a prefill of {max(lengths)}",
            hint=f"raise --cache-length to {max(lengths)} or more, or drop the longest of --prefill-lengths",
        )


def _check_output(output: Path) -> None:
    """Only what edgegen wrote may be replaced."""
    if output.is_dir() and any(output.iterdir()) and not (output / "recipe.json").is_file():
        raise UsageError(
            f"output folder {output} exists and holds something else than an export",
            hint="name a folder that does not exist yet",
        )
    if output.exists() and not output.is_dir():
        raise UsageError(f"output {output} is a file, not a folder", hint="name a folder that does not exist yet")


@contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    """A folder beside ``output``, gone afterwards whatever happens."""
    folder = output.with_name(f".{output.name}.partial")
    try:
        shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed
        folder.mkdir(parents=True)
    except OSError as error:
        raise ResourceError(
            f"cannot write to {output.parent}: {error.strerror}",
            hint="name a folder that you may write to with -o",
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"the export needs {needed / 1e6:,.0f} MB and {folder.parent} has {free / 1e6:,.0f} MB free",
            hint="make room, or name a folder on another disk with -o",
        )


def _put_in_place(folder: Path, output: Path) -> None:
    """Give ``folder`` its name; an earlier export goes only once the new one is there."""
    previous = output.with_name(f".{output.name}.previous")
    if output.exists():
        shutil.rmtree(previous, ignore_errors=True)
        output.rename(previous)
    folder.rename(output)
    shutil.rmtree(previous, ignore_errors=True)
