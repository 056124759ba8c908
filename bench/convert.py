"""What converting SmolLM2-135M to int8 costs: time and peak memory of the whole process, with and without verification.

Backs the conversion figures of README. Each run is ``edgegen export`` in a process of its own, with signatures
``prefill_8,64,128`` and ``decode`` on a cache of 1280, and the same again on one of 256 as is the default
(``--cache-buckets none`` leaves these out, for comparing with exporters that have no such thing); the two kinds take
turns.

    python bench/convert.py SmolLM2-135M-Instruct.Q4_1.gguf --check
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from measuring import ProcessRun, machine, median, megabytes, note, report, run

VARIANT = "smollm2-135m-instruct"
KINDS = {"without verification": ("--no-verify",), "with verification": ()}
CEILINGS = {"without verification": (15.0, 700e6), "with verification": (25.0, 1300e6)}
"""Seconds and bytes that ``--check`` allows."""


def export(checkpoint: Path, output: Path, cache_buckets: str, *options: str) -> ProcessRun:
    return run(
        [
            *(sys.executable, "-m", "edgegen", "export", VARIANT, "--checkpoint", checkpoint, "-o", output),
            *("--scheme", "int8-channel", "--prefill-lengths", "8,64,128", "--cache-length", "1280"),
            *("--cache-buckets", cache_buckets, "--quiet", *options),
        ]
    )


def measure(checkpoint: Path, runs: int, cache_buckets: str) -> dict[str, list[ProcessRun]]:
    results: dict[str, list[ProcessRun]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        # The first export reads the checkpoint and the libraries from disk, and does not count.
        export(checkpoint, Path(folder) / "warm", cache_buckets, "--no-verify")
        for index in range(runs):
            for kind, options in KINDS.items():
                note(f"run {index + 1} of {runs}, {kind}")
                results[kind].append(export(checkpoint, Path(folder) / f"{index}", cache_buckets, *options))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="SmolLM2-135M-Instruct: a GGUF file or a safetensors folder")
    parser.add_argument("--runs", type=int, default=5, help="of each kind; medians are printed")
    parser.add_argument("--cache-buckets", default="256", help="as edgegen export takes it")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a median is above its ceiling")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    state = machine()
    kinds: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    measured = measure(arguments.checkpoint, arguments.runs, arguments.cache_buckets)
    for kind, results in measured.items():
        seconds = median([result.seconds for result in results])
        peak = median([result.peak_bytes for result in results])
        most_seconds, most_bytes = CEILINGS[kind]
        kinds.append(
            {
                "kind": kind,
                "seconds": seconds,
                "cpu_seconds": median([result.cpu_seconds for result in results]),
                "peak_bytes": peak,
                "ceiling_seconds": most_seconds,
                "ceiling_bytes": most_bytes,
                "ok": seconds <= most_seconds and peak <= most_bytes,
                "runs": [[result.seconds, result.peak_bytes] for result in results],
            }
        )
        spread = f"{min(r.seconds for r in results):.1f} to {max(r.seconds for r in results):.1f} s"
        ceiling = f"{most_seconds:.0f} s, {megabytes(most_bytes)}"
        rows.append([kind, f"{seconds:.1f} s", spread, megabytes(peak), ceiling])
    document = {
        "benchmark": "convert",
        "variant": VARIANT,
        "cache_buckets": arguments.cache_buckets,
        **state,
        "results": kinds,
    }
    report(document, ["conversion", "median", "range", "peak memory", "ceiling"], rows, as_json=arguments.json)
    if arguments.check and not all(result["ok"] for result in kinds):
        note("above the ceiling")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
