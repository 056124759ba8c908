"""``edgegen bench``: speed and memory of an exported model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgegen.cli.options import GroupedCommand, option
from edgegen.cli.output import Output, format_bytes, output_options
from edgegen_runtime.cli.shared_options import MODEL, SPECULATE, THREADS, WEIGHT_CACHE, open_drafter

if TYPE_CHECKING:
    from edgegen_runtime.evaluation.benchmark import Benchmark, Spread

EXAMPLES = (
    ("edgegen bench smollm2", "Prefill and decode speed, time to first token, load time, peak memory"),
    ("edgegen bench smollm2 --prompt-tokens 256 --decode-tokens 128 --runs 10", "Longer prompts, more runs"),
    ("edgegen bench smollm2 --prefix --reload --json", "Speed-ups of a prefix cache and a weight cache, as JSON"),
)


@click.command(cls=GroupedCommand, examples=EXAMPLES)
@MODEL
@option(
    "--prompt-tokens", type=click.IntRange(min=1), default=128, show_default=True, group="Measurement",
    help="Prompt length in tokens, prefilled from an empty KV cache.",
)  # fmt: skip
@option(
    "--decode-tokens", type=click.IntRange(min=1), default=64, show_default=True, group="Measurement",
    help="Answer length in tokens, decoded greedily.",
)  # fmt: skip
@option(
    "--runs", type=click.IntRange(min=1), default=5, show_default=True, group="Measurement",
    help="Number of runs, after one warm-up; medians are printed.",
)  # fmt: skip
@option("--prefix", is_flag=True, group="Measurement", help="Measure the speed-up of a prefix cache too.")
@option("--reload", is_flag=True, group="Measurement", help="Measure the speed-up of a weight cache file too.")
@SPECULATE
@THREADS
@WEIGHT_CACHE
@output_options
def bench(
    model: Path,
    *,
    threads: int | None,
    weight_cache: Path | None,
    prompt_tokens: int,
    decode_tokens: int,
    runs: int,
    reload: bool,
    prefix: bool,
    speculate: str | None,
    output: Output,
) -> None:
    """Measure the speed and memory of an exported model.

    DIR_OR_FILE is a folder that `edgegen export` wrote, or the .tflite file in it.
    """
    from edgegen_runtime.evaluation.benchmark import measure

    with output.stage("bench") as stage:
        result = measure(
            model,
            threads=threads,
            prompt_tokens=prompt_tokens,
            decode_tokens=decode_tokens,
            runs=runs,
            weight_cache=weight_cache,
            reload=reload,
            prefix=prefix,
            speculate=open_drafter(speculate, threads),
            progress=stage.detail,
        )
        stage.detail(f"{runs} runs")
    ratios = {name: {**asdict(row), "ratio": row.ratio} for name, row in result.speed_ups.items()}
    output.result({**asdict(result), "speed_ups": ratios}, _table(result))


def _table(result: Benchmark) -> str:
    def row(title: str, spread: Spread, unit: str, digits: int) -> str:
        values = (f"{value:,.{digits}f}" for value in (spread.median, spread.low, spread.high))
        median, low, high = values
        return f"{title:<14}{median:>9} {unit:<9} {low} to {high}"

    return "\n".join(
        [
            f"{result.model} {result.scheme}, {result.threads} threads, medians of {result.runs} runs",
            row(f"prefill {result.prompt_tokens}", result.prefill_tokens_per_second, "tokens/s", 1),
            row(f"decode {result.decode_tokens}", result.decode_tokens_per_second, "tokens/s", 1),
            row("first token", result.first_token_seconds, "s", 3),
            f"{'load':<14}{result.load_seconds:>9.3f} s",
            f"{'peak memory':<14}{format_bytes(result.peak_memory_bytes):>9}",
            *(
                f"{name:<14}{row.ratio:>9.2f} times faster: {row.plain_seconds:.3f} to {row.seconds:.3f} s"
                f"{'' if row.identical else ', BUT WITH OTHER TOKENS'}"
                for name, row in result.speed_ups.items()
            ),
        ]
    )
