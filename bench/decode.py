"""How fast two ``.tflite`` files of one model run in the same runtime; ours and the reference's, say.

Backs the speed ratios of README. Each turn loads one file in a fresh process (``decode_once.py``), the files taking
turns A B A B ... so that what else the machine does hits both. Setting: LiteRT's CompiledModel, 2 threads, cache bound
in place, packed weights shared between signatures in memory; 128 tokens prefilled in one call, then 64 decoded at
context 128 to 192. A file that has signatures on shorter caches is run on the shortest that holds the text, as
``edgegen run`` does; ``--whole-cache`` compares graph with graph.

What is printed is the median over the turns of each turn's median, and the ratio of the medians, above 1 where the
first file is faster or smaller; then the ratio of the two best single runs, which other work on the machine disturbs
least, and the range of the ratio over pairs of turns. Both files also continue a real prompt, so that one can see that
both are driven as they should be.

    python bench/decode.py build/bench/smollm2 build/bench/reference/model.tflite
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

from measuring import machine, median, megabytes, note, report, run

MEASURES: dict[str, tuple[str, bool]] = {
    "prefill": ("tok/s", True),
    "prefill_cpu": ("ms", False),
    "decode": ("tok/s", True),
    "decode_cpu": ("ms/token", False),
    "load": ("s", False),
    "first_answer": ("s", False),
    "peak_memory": ("MB", False),
}
"""Name -> unit, and whether more is better."""


def once(model: Path, options: list[str]) -> dict[str, Any]:
    done = run([sys.executable, Path(__file__).with_name("decode_once.py"), model, *options])
    turn: dict[str, Any] = json.loads(done.stdout)
    turn["peak_memory"] = [done.peak_bytes]
    return turn


def show(value: float, unit: str) -> str:
    if unit == "MB":
        return megabytes(value)
    return f"{value:.1f} {unit}" if value >= 10 else f"{value:.2f} {unit}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours", type=Path, help="an exported folder, or the .tflite file in one")
    parser.add_argument("reference", type=Path, help="a .tflite file")
    parser.add_argument("--turns", type=int, default=7, help="of each file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--whole-cache", action="store_true", help="do not use signatures on shorter caches")
    parser.add_argument("--prompt", default="The capital of France is", help="a text that both continue")
    parser.add_argument("--check", action="store_true", help="exit with 1 if ours decodes slower than the reference")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    ours = arguments.ours / "model.tflite" if arguments.ours.is_dir() else arguments.ours
    tokenizer = ours.with_name("tokenizer.json")
    options = ["--threads", str(arguments.threads)]
    if arguments.whole_cache:
        options.append("--whole-cache")
    if tokenizer.is_file():
        options += ["--tokenizer", str(tokenizer), "--prompt", arguments.prompt]
    state = machine()
    turns: dict[str, list[dict[str, Any]]] = {"ours": [], "reference": []}
    for index in range(arguments.turns):
        for name, model in (("ours", ours), ("reference", arguments.reference)):
            note(f"turn {index + 1} of {arguments.turns}: {name}")
            turns[name].append(once(model, options))
    results: dict[str, Any] = {}
    rows: list[list[str]] = []
    for measure, (unit, more_is_better) in MEASURES.items():
        values = {name: [median(turn[measure]) for turn in runs] for name, runs in turns.items()}
        better = max if more_is_better else min
        bests = {name: better(value for turn in runs for value in turn[measure]) for name, runs in turns.items()}
        medians = {name: median(runs) for name, runs in values.items()}

        def ratio(a: float, b: float, up: bool = more_is_better) -> float:
            return a / b if up else b / a

        pairs = [ratio(a, b) for a, b in zip(values["ours"], values["reference"], strict=True)]
        overall = ratio(medians["ours"], medians["reference"])
        best = ratio(bests["ours"], bests["reference"])
        results[measure] = {
            "unit": unit,
            **medians,
            "ratio": overall,
            "best": bests,
            "ratio_of_bests": best,
            "ratio_of_turns": pairs,
            "turns": values,
        }
        spread = f"{min(pairs):.2f} to {max(pairs):.2f}"
        cells = [show(medians[name], unit) for name in ("ours", "reference")]
        rows.append([measure.replace("_", " "), *cells, f"{overall:.2f}", f"{best:.2f}", spread])
    texts = {name: runs[0]["text"] for name, runs in turns.items()}
    pairs_of_tokens = zip(turns["ours"][0]["token_ids"], turns["reference"][0]["token_ids"], strict=True)
    agreed = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs_of_tokens))
    document = {
        "benchmark": "decode",
        **state,
        "threads": arguments.threads,
        "whole_cache": arguments.whole_cache,
        "results": results,
        "texts": texts,
        "tokens_agreed": agreed,
    }
    report(document, ["median", "ours", "reference", "ratio", "of bests", "of turns"], rows, as_json=arguments.json)
    if not arguments.json:
        for name, text in texts.items():
            print(f"{name}: {text!r}")
        print(f"the same first {agreed} tokens")
    if arguments.check and results["decode"]["ratio"] < 1:
        note("ours decodes slower than the reference")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
