"""``edgegen export``: a checkpoint becomes a verified folder that runtimes take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.output import Output, format_bytes, output_options

if TYPE_CHECKING:
    from edgegen.export import Job


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
    return dict(value.split("=", 1) for value in values)


@click.command()
@click.argument("variant")
@click.option(
    "--checkpoint",
    required=True,
    type=click.Path(path_type=Path),
    help="File or folder with the weights; or an installed package, or a repository of the hub.",
)
@click.option("-o", "--output-dir", required=True, type=click.Path(path_type=Path), help="Folder to make.")
@click.option(
    "--scheme",
    metavar="NAME|RECIPE|FILE.toml",
    help="Quantization scheme, or a recipe such as 'embedding=int8-channel,*=int4-block32'; default: the variant's.",
)
@click.option(
    "--encode-lengths", callback=_lengths, help="In tokens, of an encoder's text.  [default: 32,128,512, or less]"
)
@click.option("--prefill-lengths", callback=_lengths, help="In tokens.  [default: 8,64,128; 8 for an encoder-decoder]")
@click.option("--cache-length", type=click.IntRange(1), help="In tokens.  [default: 1280; 512 for an encoder-decoder]")
@click.option("--cache-buckets", callback=_lengths, default="256", show_default=True, help="In tokens; or none.")
@click.option(
    "--verify-lengths",
    callback=_lengths,
    default="none",
    show_default=True,
    help="Lengths of signatures that check guesses at the next tokens, e.g. 4,8; or none.",
)
@click.option("--target", default="tflite", show_default=True, help="What to make.")
@click.option("--checkpoint-format", help="Default: detected.")
@click.option("--lora", type=click.Path(path_type=Path), help="Folder of an adapter to merge, as peft saves it.")
@click.option(
    "--lora-rank", type=click.IntRange(1), help="Take adapters of up to this rank at run time, beside the weights."
)
@click.option("--composites", default="none", show_default=True, help="Composites to keep: none, all, or names.")
@click.option(
    "--layer", "layers", multiple=True, callback=_layers, metavar="BLOCK=NAME", help="Implementation of a layer."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help="A text to learn from how to round and to scale, not our own.",
)
@click.option(
    "--calibrate/--no-calibrate",
    default=None,
    help="Round weights with regard to what they are multiplied with.  [default: with fewer than 8 bits, if quick]",
)
@click.option(
    "--equalize/--no-equalize",
    default=None,
    help="Scale channels so that quantization costs less.  [default: with 8 bits, and with blocks]",
)
@click.option("--verify/--no-verify", default=True, help="Run the result against the float model.")
@click.option("--dry-run", is_flag=True, help="Only say what would be written.")
@output_options
def export(output_dir: Path, dry_run: bool, output: Output, **options: Any) -> None:
    """Export VARIANT (see edgegen list-models) to LiteRT."""
    from edgegen.export import ExportOptions, defaults, plan, run

    given = {name: value for name, value in options.items() if value is not None}
    job = plan(ExportOptions(output=output_dir, **{**defaults(options["variant"]), **given}), output)
    if dry_run:
        output.result(_summary(job), f"would write {_described(job)}\n{_needs(job)}")
        return
    output.note(_needs(job))
    run(job, output)
    output.result(_summary(job), f"wrote {_described(job)}")


def _described(job: Job) -> str:
    """What is in the folder, and what became of the weights."""
    from edgegen.export.weight_report import summaries

    assert job.forecast is not None
    files = [f"  {name:<16} {format_bytes(size)}" for name, size in job.forecast.files.items()]
    ways = [f"  {line}" for line in summaries(job.transfers)]
    head = f"{job.options.output} ({job.scheme_name}, {format_bytes(job.weight_bytes)} of weights)"
    return "\n".join([head, *files, "weights", *ways])


def _needs(job: Job) -> str:
    forecast = job.forecast
    assert forecast is not None
    return (
        f"needs {format_bytes(forecast.disk)} of disk, {format_bytes(forecast.memory)} of memory "
        f"and about {forecast.seconds:.0f} s"
    )


def _summary(job: Job) -> dict[str, Any]:
    return {
        "output": job.options.output,
        "variant": job.variant.name,
        "scheme": job.scheme_name,
        "signatures": list(job.program.signatures),
        "weight_bytes": job.weight_bytes,
        "weight_bytes_by_storage": job.bytes_by_storage,
        "weights": job.transfers,
        "forecast": job.forecast,
        "verification": job.verification,
    }
