"""``edgegen evaluate``: what quantization costs, beside size and speed."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgegen.cli.output import Output, output_options
from edgegen.errors import ErrorCode, UsageError

if TYPE_CHECKING:
    from edgegen_runtime.evaluation.evaluation import Noise, Quality
    from edgegen_runtime.generation.language_model import LanguageModel

_WORST = 5
"""Weights to list of each model."""

_DECODED = 32
"""Tokens to measure the speed of, if the cache holds twice as many."""

_READ = 64
"""Tokens that the reference reads at once, if its cache holds so many."""


@click.command()
@click.argument("models", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--reference", metavar="CHECKPOINT|DIR", help="The float model: a checkpoint, or an export of it.")
@click.option("--text", type=click.Path(dir_okay=False, path_type=Path), help="To read.  [default: an own one]")
@click.option("--tokens", type=click.IntRange(min=2), default=1024, show_default=True, help="Of it to read.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="PNG to draw quality against size in.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads.  [default: all cores]")
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
    """Compare exports with the float model: how well they predict a text, how large and how fast they are.

    Each DIR is a folder that `edgegen export` wrote; all are of one model, in several schemes.
    """
    from edgegen_runtime.evaluation.benchmark import measure
    from edgegen_runtime.evaluation.evaluation import evaluate as judge
    from edgegen_runtime.evaluation.evaluation import weight_noise, windows
    from edgegen_runtime.generation.language_model import LanguageModel

    if plot is not None:
        _plotting()
    with ExitStack() as cleanup:
        baseline: Path | None = None
        if reference is not None:
            scratch = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="edgegen-evaluate-")))
            scaled = next(filter(_scaled, models), models[0])  # if one is, for its weights to be comparable
            baseline = _reference(reference, scaled, scratch, output)
        with output.stage("load"):
            loaded = [LanguageModel.load(path, threads=threads) for path in models]
            exact = None if baseline is None else LanguageModel.load(baseline, threads=threads)
        length = min(model.bundle.cache_length for model in [*loaded, *([exact] if exact else [])])
        pieces = windows(loaded[0], _text(text), tokens, length)
        with output.stage("read") as stage:
            qualities = judge(loaded, exact, pieces, lambda done: stage.detail(f"{done:,} of {tokens:,} tokens"))
        rows = []
        for path, model, quality in zip(models, loaded, qualities, strict=True):
            with output.stage(f"measure {path.name}"):
                count = min(_DECODED, model.bundle.cache_length // 2)
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
    """The folder of a float32 export: the one that is named, or one that is made of a checkpoint."""
    folder = Path(reference)
    if (folder / "manifest.json").is_file():
        return folder
    from edgegen.export import plan, run
    from edgegen.export.reproduce import options_of

    asked = options_of(model, folder)
    options = replace(
        asked,
        output=scratch / "reference",
        scheme="fp32",
        calibrate=None,
        calibration=asked.calibration if asked.equalize else None,
        prefill_lengths=(8,),
        cache_buckets=(),
        verify_lengths=(min(_READ, asked.cache_length),),
        target="tflite",
        verify=False,
    )
    return run(plan(options, output), output)


def _comparable(model: Path, baseline: Path, output: Output) -> bool:
    """Whether the weights of both files are the same ones, scaled alike."""
    if _scaled(model) == _scaled(baseline):
        return True
    output.warn(
        f"the weights of {model.name} are not compared with the reference's: channels are scaled in one of the two; "
        "name the checkpoint as reference, or an export of it with --equalize"
    )
    return False


def _scaled(path: Path) -> Any:
    """What the recipe of an export says of its channels; None where nothing is scaled, or is said."""
    import json

    recipe = (path if path.is_dir() else path.parent) / "export.json"
    return json.loads(recipe.read_text(encoding="utf-8")).get("equalization") if recipe.is_file() else None


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
    return model.bundle.model


def _row(path: Path, model: LanguageModel, quality: Quality, speed: float, worst: list[Noise]) -> dict[str, Any]:
    return {
        "path": str(path),
        "model": model.bundle.name,
        "scheme": model.bundle.scheme,
        **asdict(quality),
        "megabytes": _file(model).stat().st_size / 1e6,
        "decode_tokens_per_second": speed,
        "noisiest_weights": [asdict(noise) for noise in worst],
    }


def _table(rows: list[dict[str, Any]]) -> str:
    """Aligned columns, and below them the weights that suffered most."""
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


def _plotting() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError(
            "--plot needs matplotlib",
            code=ErrorCode.DEPENDENCY_MISSING,
            hint="python -m pip install 'edgegen-runtime[plot]'",
        ) from error
    matplotlib.use("Agg")
    return matplotlib


def _draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Perplexity against size, a point for each scheme."""
    _plotting()
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
