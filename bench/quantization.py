"""What each quantization scheme costs in quality and gains in size and speed, on a real model.

Every scheme is exported and reads the same text in LiteRT, against an export of the same weights to float32: perplexity
of the text, and how far the distributions of the next token are from float32's (Kullback-Leibler divergence, and the
share of positions where the likeliest token is the same). Then all decode in turn. The text is the public-domain one
that ``edgegen tokenizer`` converts with: its first two fifths are what ``calibrated`` rows are calibrated on, and what
is read comes from the rest.

    python bench/quantization.py smollm2-135m-instruct CHECKPOINT --check
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from measuring import BUILD, machine, median, note, report, run

REFERENCE = "fp32"
ROWS = (
    "fp32",
    "fp16",
    "int8-channel",
    "int8-channel unscaled",
    "int8-weight-only",
    "int4-block32-int8-embed nearest",
    "int4-block32-int8-embed",
    "int4-block32-int8-embed calibrated",
    "int4-block64-int8-embed calibrated",
    "int4-block128-int8-embed calibrated",
    "int4-channel-int8-embed nearest",
    "int4-channel-int8-embed calibrated",
    "int4-block32",
    "int4-block32 calibrated",
    "int2-channel calibrated",
    "keep",
)
"""Scheme, and how it rounds if not as it does by itself; ``unscaled`` leaves channels as they are."""

CACHE = 512
READ_AT_ONCE = 64

INT8_LOSS = 0.01
"""What ``--check`` allows int8-channel to add to float32's perplexity."""

Logits = npt.NDArray[np.float32]


@dataclass
class Quality:
    """Of one export, over all positions read."""

    perplexity: float
    divergence: float
    top1: float


def export(variant: str, checkpoint: Path, row: str, output: Path, calibration: Path) -> Path:
    """Make the export of one row unless it is there."""
    from edgegen.cli.output import Output
    from edgegen.export import ExportOptions, plan
    from edgegen.export import run as carry_out

    if (output / "manifest.json").is_file():
        return output
    scheme, _, rounding = row.partition(" ")
    options = ExportOptions(
        variant=variant,
        checkpoint=checkpoint,
        output=output,
        scheme=scheme,
        prefill_lengths=(128,),
        cache_length=CACHE,
        short_caches=(),
        speculate=(READ_AT_ONCE,),
        calibration=calibration if rounding == "calibrated" else None,
        equalize=False if rounding == "unscaled" else None,
        verify=False,
    )
    quiet = Output(quiet=True)
    job = plan(options, quiet)
    if rounding == "nearest":
        job.parameters = {name: without_search(parameter) for name, parameter in job.parameters.items()}
    return carry_out(job, quiet)


def without_search(parameter: Any) -> Any:
    if not hasattr(parameter.scheme, "search"):
        return parameter
    return dataclasses.replace(parameter, scheme=dataclasses.replace(parameter.scheme, search=False))


def texts() -> tuple[str, str]:
    """What to calibrate on, and what to read."""
    from edgegen.prose import sample_text

    text = " ".join(sample_text().split())  # the lines are as short as the book's
    cut = len(text) * 2 // 5
    return text[:cut], text[cut:]


def read(model: Any, windows: Sequence[Sequence[int]]) -> Iterator[Logits]:
    """Log-probabilities of the token after each token of each window, ``[n, V]`` at a time."""
    context = model.new_context()
    for window in windows:
        context.rewind(0)
        for start in range(0, len(window), READ_AT_ONCE):
            logits = context.verify(window[start : start + READ_AT_ONCE]).astype(np.float64)
            logits -= logits.max(axis=-1, keepdims=True)
            yield (logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))).astype(np.float32)


def judge(path: Path, windows: Sequence[Sequence[int]], reference: Path) -> Quality:
    """Read the windows with the export at ``path``, and hold it against the log-probabilities in ``reference``.

    The reference's own are written there.
    """
    from edgegen_runtime import LanguageModel

    model = LanguageModel.load(path)
    count = sum(map(len, windows))
    is_reference = not reference.exists()
    shape = (count, model.vocab_size)
    expected = np.memmap(reference, np.float32, mode="w+" if is_reference else "r", shape=shape)
    following = np.concatenate([[*window[1:], -1] for window in windows])
    at, surprise, divergence, same = 0, 0.0, 0.0, 0
    for got in read(model, windows):
        part = slice(at, at + len(got))
        if is_reference:
            expected[part] = got
        wanted = expected[part].astype(np.float64)
        known = following[part] >= 0
        surprise -= float(got[known, following[part][known]].sum(dtype=np.float64))
        divergence += float((np.exp(wanted) * (wanted - got)).sum())
        same += int((wanted.argmax(axis=-1) == got.argmax(axis=-1)).sum())
        at += len(got)
    return Quality(float(np.exp(surprise / (count - len(windows)))), divergence / count, same / count)


def windows(path: Path, text: str, tokens: int) -> list[list[int]]:
    """The text in pieces that fit the cache, each after the start token."""
    from edgegen_runtime import LanguageModel

    model = LanguageModel.load(path)
    start = model.bundle.tokenizer.bos_token_id
    head = [] if start is None else [start]
    ids = model.encode(text)
    ids = ids[1:] if ids[:1] == head else ids
    length = CACHE - READ_AT_ONCE - len(head)
    return [head + ids[at : at + length] for at in range(0, tokens, length)]


def speeds(paths: dict[str, Path], turns: int) -> dict[str, float]:
    """Tokens a second while decoding, the exports taking turns."""
    found: dict[str, list[float]] = {row: [] for row in paths}
    for turn in range(turns):
        for row, path in paths.items():
            note(f"decoding, turn {turn + 1} of {turns}: {row}")
            done = run([sys.executable, "-m", "edgegen", "bench", path, "--runs", "3", "--json", "--quiet"])
            found[row].append(json.loads(done.stdout)["decode_tokens_per_second"]["median"])
    return {row: median(values) for row, values in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rows", default=",".join(ROWS), help="schemes, each with a word of how it rounds after it")
    parser.add_argument("--tokens", type=int, default=4000, help="to read (default %(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="of decoding; 0 for none (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="leave the exports for the next run")
    parser.add_argument("--check", action="store_true", help="exit with 1 if int8 loses much or a search is no gain")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    state = machine()
    folder = BUILD / "quantization" / arguments.variant
    folder.mkdir(parents=True, exist_ok=True)
    calibration, text = texts()
    (folder / "calibration.txt").write_text(calibration, encoding="utf-8")
    reference = folder / "float32.bin"
    reference.unlink(missing_ok=True)
    rows = list(dict.fromkeys([REFERENCE, *arguments.rows.split(",")]))
    paths, results = {}, []
    for row in rows:
        note(f"exporting {row}")
        path = folder / row.replace(" ", "-")
        paths[row] = export(arguments.variant, arguments.checkpoint, row, path, folder / "calibration.txt")
        if row == REFERENCE:
            pieces = windows(path, text, arguments.tokens)
        note(f"reading {sum(map(len, pieces))} tokens")
        quality = judge(path, pieces, reference)
        note(str(quality))
        size = (path / "model.tflite").stat().st_size
        results.append({"row": row, **dataclasses.asdict(quality), "file_bytes": size})
    decode = speeds(paths, arguments.turns) if arguments.turns else {}
    for result in results:
        result["perplexity_change"] = result["perplexity"] / results[0]["perplexity"] - 1
        result["decode_tokens_per_second"] = decode.get(result["row"])
    reference.unlink()
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
            f"{result['file_bytes'] / 1e6:.1f} MB",
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
    nearest, searched, calibrated = (
        results[f"int4-block32-int8-embed{rounding}"]["divergence"] for rounding in (" nearest", "", " calibrated")
    )
    return bool(good and calibrated < searched < nearest)


if __name__ == "__main__":
    sys.exit(main())
