"""What each quantization scheme costs in quality and gains in size and speed, on a real model.

Every scheme is exported, and ``edgegen evaluate`` lets all read the same text, a novel that no export has learnt from,
against an export of the same weights to float32: perplexity of the text, and how far the distributions of the next
token are from float32's (Kullback-Leibler divergence, and the share of positions where the likeliest token is the
same). Then all decode in turn.

    python bench/quantization.py smollm2-135m-instruct CHECKPOINT --check
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from measuring import BUILD, machine, median, note, report, run

REFERENCE = "fp32"
ROWS = (
    REFERENCE,
    "fp16",
    "int8-weight-only",
    "int8-channel",
    "int8-channel unscaled",
    "int8-channel calibrated",
    "int4-block32-int8-embed nearest",
    "int4-block32-int8-embed searched",
    "int4-block32-int8-embed uncalibrated",
    "int4-block32-int8-embed unscaled",
    "int4-block32-int8-embed",
    "int4-block64-int8-embed",
    "int4-block128-int8-embed",
    "int4-channel-int8-embed",
    "int4-block32",
    "int4-channel",
    "int2-channel",
    "passthrough",
)
"""Scheme, and what is other than by itself: ``unscaled`` leaves channels as they are, ``calibrated`` rounds by the
built-in text, ``uncalibrated`` without it, ``searched`` does neither, and ``nearest`` looks for no scales either."""

PASSES: dict[str, dict[str, bool]] = {
    "": {},
    "unscaled": {"smoothquant": False},
    "calibrated": {"gptq": True},
    "uncalibrated": {"gptq": False},
    "searched": {"gptq": False, "smoothquant": False},
    "nearest": {"gptq": False, "smoothquant": False},
}

AT_ONCE = 4
"""Models that are in memory together, besides float32."""

INT8_LOSS = 0.01
"""What ``--check`` allows int8-channel to add to float32's perplexity."""


def export(variant: str, checkpoint: Path, row: str, output: Path) -> Path:
    """Make the export of one row unless it is there."""
    from edgegen.cli.output import Output
    from edgegen.export import ExportOptions, plan
    from edgegen.export import run as carry_out

    if (output / "manifest.json").is_file():
        return output
    scheme, _, word = row.partition(" ")
    options = ExportOptions(
        variant=variant,
        checkpoint=checkpoint,
        output=output,
        scheme=scheme,
        prefill_lengths=(128,),
        verify_lengths=(64,),
        verify=False,
        weight_passes=PASSES[word],
    )
    quiet = Output(quiet=True)
    planned = plan(options, quiet)
    if word == "nearest":
        parameters = {name: without_search(parameter) for name, parameter in planned.parameters.items()}
        planned = dataclasses.replace(planned, parameters=parameters)
    return carry_out(planned, quiet).output


def without_search(parameter: Any) -> Any:
    if not hasattr(parameter.scheme, "search"):
        return parameter
    return dataclasses.replace(parameter, scheme=dataclasses.replace(parameter.scheme, search=False))


def edgegen(*words: object) -> Any:
    return json.loads(run([sys.executable, "-m", "edgegen", *map(str, words), "--json", "--quiet"]).stdout)


def evaluate(paths: dict[str, Path], tokens: int) -> list[dict[str, Any]]:
    """Quality and size of each row."""
    results: list[dict[str, Any]] = []
    names = list(paths)
    for start in range(0, len(names), AT_ONCE):
        part = names[start : start + AT_ONCE]
        note(f"reading {tokens} tokens: {', '.join(part)}")
        found = edgegen("evaluate", *(paths[row] for row in part), "--reference", paths[REFERENCE], "--tokens", tokens)
        results += ({"row": row, **each} for row, each in zip(part, found["models"], strict=True))
    for result in results:
        result["perplexity_change"] = result["perplexity"] / results[0]["perplexity"] - 1
    return results


def speeds(paths: dict[str, Path], turns: int) -> dict[str, float]:
    """Tokens decoded per second, each row's median over the turns."""
    found: dict[str, list[float]] = {row: [] for row in paths}
    for turn in range(turns):
        for row, path in paths.items():
            note(f"decoding, turn {turn + 1} of {turns}: {row}")
            found[row].append(edgegen("bench", path, "--runs", 3)["decode_tokens_per_second"]["median"])
    return {row: median(values) for row, values in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rows", default=",".join(ROWS), help="schemes, each with a word of how it rounds after it")
    parser.add_argument("--tokens", type=int, default=8000, help="to read (default %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of decoding; 0 for none (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the exports for the next run")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 if int8 loses much or better rounding no less"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    state = machine()
    folder = BUILD / "quantization" / arguments.variant
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for row in dict.fromkeys([REFERENCE, *arguments.rows.split(",")]):
        note(f"exporting {row}")
        paths[row] = export(arguments.variant, arguments.checkpoint, row, folder / row.replace(" ", "-"))
    results = evaluate(paths, arguments.tokens)
    decode = speeds(paths, arguments.turns) if arguments.turns else {}
    for result in results:
        result["decode_tokens_per_second"] = decode.get(result["row"])
    if not arguments.keep:
        shutil.rmtree(folder)
    header = ["scheme", "perplexity", "change", "divergence", "top-1", "file", "decode"]
    lines = [
        [
            result["row"],
            f"{result['perplexity']:.2f}",
            f"{result['perplexity_change']:+.1%}",
            f"{result['divergence']:.4f}",
            f"{result['top1']:.1%}",
            f"{result['megabytes']:.1f} MB",
            f"{decode[result['row']]:.0f} tok/s" if decode else "",
        ]
        for result in results
    ]
    document = {"benchmark": "quantization", **state, "model": arguments.variant, "results": results}
    report(document, header, lines, as_json=arguments.json)
    return int(arguments.check and not passes({result["row"]: result for result in results}))


def passes(results: dict[str, Any]) -> bool:
    """Whether int8 is as good as float, and each better rounding better than the one before."""
    good = results["int8-channel"]["perplexity_change"] <= INT8_LOSS
    nearest, searched, scaled, learnt = (
        results[f"int4-block32-int8-embed{word}"]["divergence"]
        for word in (" nearest", " searched", " uncalibrated", "")
    )
    return bool(good and learnt < scaled < searched < nearest)


if __name__ == "__main__":
    sys.exit(main())
