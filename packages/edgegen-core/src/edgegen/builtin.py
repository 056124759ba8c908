"""Core's own plugin: what edgegen can do by itself, registered the way that any other package registers."""

from __future__ import annotations

from collections.abc import Iterable

from edgegen.descriptors import TASKS, Command, ExportTarget, LoweringRules, QuantScheme
from edgegen.hookspecs import hookimpl


@hookimpl
def edgegen_commands() -> Iterable[Command]:
    """The commands that need no other package."""
    yield Command(
        name="export",
        summary="Convert published weights into a LiteRT model",
        command="edgegen.cli.export:export",
    )
    yield Command(
        name="verify",
        summary="Run an export against the float model again, block by block if wanted",
        command="edgegen.cli.verify:verify",
    )
    yield Command(
        name="checkpoint",
        summary="List a checkpoint's tensors and the models that it fits",
        command="edgegen.cli.checkpoint:checkpoint",
    )
    yield Command(
        name="inspect",
        summary="Show signatures, operators and sizes of a LiteRT model",
        command="edgegen.cli.inspect:inspect",
    )
    yield Command(
        name="list-models",
        summary="List the models that can be exported",
        command="edgegen.cli.list_models:list_models",
    )
    yield Command(
        name="list-plugins",
        summary="List plugins and what they provide",
        command="edgegen.cli.list_plugins:list_plugins",
    )
    yield Command(
        name="doctor",
        summary="Check this installation and explain what is wrong with it",
        command="edgegen.cli.doctor:doctor",
    )


@hookimpl
def edgegen_quant_schemes() -> Iterable[QuantScheme]:
    """No quantization, so that core converts by itself."""
    yield QuantScheme(
        name="fp32",
        summary="32-bit floating-point weights",
        scheme="edgegen.quantization.float_schemes:FP32",
        aliases=("float32",),
    )


@hookimpl
def edgegen_export_targets() -> Iterable[ExportTarget]:
    """A folder with the LiteRT file and what belongs to it."""
    yield ExportTarget(
        name="tflite",
        summary="LiteRT flatbuffer, tokenizer, recipe and model card in a folder",
        package="edgegen.export.folder:package",
        tasks=TASKS,
    )


@hookimpl
def edgegen_op_lowerings() -> Iterable[LoweringRules]:
    """Rules for the ATen operators that language models are made of."""
    yield LoweringRules(name="aten", rules="edgegen.lowering.aten:RULES")
