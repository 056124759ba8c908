"""How converting scales with the model: time and peak memory from 1 to 8 billion parameters, to int8 by default.

Backs ``docs/explanation/scaling.md``. Each run is ``edgegen export`` in a process of its own, with signatures
``prefill_8,64,128`` and ``decode`` on a cache of 1280, from a checkpoint that has a published model's shapes and random
weights (``shapes.py``); what the weights are makes no difference to the work. The checkpoint is read once beforehand,
so that it comes from memory as far as memory holds it; ``--cold`` drops it from memory instead, and it comes from disk.

    python bench/scale.py --check --plot docs/images/scaling.svg
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import BUILD, machine, megabytes, note, report, run

CEILINGS: dict[str, tuple[float | None, float]] = {
    "tinyllama-1.1b": (45.0, 1.0e9),
    "gemma2-2b": (None, 1.3e9),
    "llama3.1-8b": (None, 2.0e9),
}
"""Model -> seconds (where they are limited) and bytes that ``--check`` allows without verification."""

INT8 = "int8-channel"

SEARCH_SECONDS = 180.0
"""Seconds that are allowed in place of those for schemes that search for their scales."""


def read_once(files: Sequence[Path]) -> None:
    """Have the system keep the files in memory, as far as there is room."""
    piece = bytearray(1 << 20)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(piece):
                pass


def drop_from_memory(files: Sequence[Path]) -> None:
    """Have the system forget the files' contents, which are on disk by then."""
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(name: str, checkpoint: Path, *, scheme: str, cold: bool, verify: bool, limit: int | None) -> dict[str, Any]:
    files = sorted(checkpoint.glob("*.safetensors"))
    (drop_from_memory if cold else read_once)(files)
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        output = Path(folder) / name
        note(f"exporting {name}")
        done = run(
            [
                *(sys.executable, "-m", "edgegen", "export", name, "--checkpoint", checkpoint, "-o", output),
                *("--scheme", scheme, "--prefill-lengths", "8,64,128", "--cache-length", "1280"),
                *("--cache-buckets", "none", "--verify" if verify else "--no-verify", "--json", "--quiet"),
                "--no-weight-pass",
                "smoothquant",  # random weights have no channels to tell apart
            ],
            limit=limit,
        )
        verification = json.loads(done.stdout)["verification"]
        if verification is not None:
            note(f"verified: {verification}")
        file_bytes = (output / "model.tflite").stat().st_size
    checkpoint_bytes = sum(file.stat().st_size for file in files)
    most_seconds, most_bytes = (None, None) if verify else CEILINGS.get(name, (None, None))
    if scheme != INT8 and most_seconds is not None:
        most_seconds = SEARCH_SECONDS
    return {
        "model": name,
        "checkpoint_bytes": checkpoint_bytes,
        "file_bytes": file_bytes,
        "weight_bytes": json.loads(done.stdout)["weight_bytes"],
        "seconds": done.seconds,
        "cpu_seconds": done.cpu_seconds,
        "checkpoint_bytes_per_second": checkpoint_bytes / done.seconds,
        "peak_bytes": done.peak_bytes,
        "ceiling_seconds": most_seconds,
        "ceiling_bytes": most_bytes,
        "ok": done.seconds <= (most_seconds or math.inf) and done.peak_bytes <= (most_bytes or math.inf),
    }


def row(result: dict[str, Any]) -> list[str]:
    seconds, ceiling = result["ceiling_seconds"], result["ceiling_bytes"]
    limits = [*([f"{seconds:.0f} s"] if seconds else ()), *([megabytes(ceiling)] if ceiling else ())]
    return [
        result["model"],
        # Two bytes a parameter; the header is too small to show in this unit.
        f"{result['checkpoint_bytes'] / 2e9:.2f} G",
        *(megabytes(result[key]) for key in ("checkpoint_bytes", "file_bytes", "weight_bytes")),
        f"{result['seconds']:.1f} s",
        f"{megabytes(result['checkpoint_bytes_per_second'])}/s",
        megabytes(result["peak_bytes"]),
        ", ".join(limits) or "none",
    ]


def plot(results: list[dict[str, Any]], file: Path) -> None:
    """Peak memory and time against the checkpoint's size, as a picture."""
    import matplotlib

    matplotlib.use("svg")
    # Text as text, and nothing that changes from one drawing to the next.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "edgegen", "font.size": 9})
    from matplotlib import pyplot

    results = sorted(results, key=lambda result: result["checkpoint_bytes"])
    sizes = [result["checkpoint_bytes"] / 1e9 for result in results]
    figure, (memory, time) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    memory.plot([0, sizes[-1]], [0, sizes[-1]], "--", color="gray", label="memory = checkpoint")
    limited = [result for result in results if result["ceiling_bytes"]]
    ceilings = [result["ceiling_bytes"] / 1e9 for result in limited]
    ceiling_sizes = [result["checkpoint_bytes"] / 1e9 for result in limited]
    memory.plot(ceiling_sizes, ceilings, "_", color="firebrick", markersize=16, label="ceiling")
    memory.plot(sizes, [result["peak_bytes"] / 1e9 for result in results], "o-", label="edgegen export")
    memory.set(ylabel="peak memory, GB", ylim=(0, None))
    memory.legend()
    time.plot(sizes, [result["seconds"] for result in results], "o-")
    time.set(ylabel="seconds", ylim=(0, None))
    for result, size in zip(results, sizes, strict=True):
        time.annotate(result["model"], (size, result["seconds"]), (6, -10), textcoords="offset points")
    for axes in (memory, time):
        axes.set(xlabel="checkpoint, GB")
        axes.set_xlim(0, sizes[-1] * 1.2)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Date": None})
    note(f"drew {file}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(CEILINGS), help="names of shapes.py, separated by commas")
    parser.add_argument("--scheme", default=INT8, help="quantization scheme (default %(default)s)")
    parser.add_argument("--shapes", type=Path, default=BUILD / "shapes", help="where the checkpoints are or go")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoints for the next run (up to 16 GB each)")
    parser.add_argument("--cold", action="store_true", help="read the checkpoints from disk, not from memory")
    parser.add_argument("--verify", action="store_true", help="compare the result with the float model, too")
    parser.add_argument("--limit", type=float, metavar="GB", help="memory that the export may have; Linux, for root")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the results as SVG; needs matplotlib")
    parser.add_argument("--check", action="store_true", help="exit with 1 if something is above its ceiling")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    state = machine()
    asked = {"scheme": arguments.scheme, "cold": arguments.cold, "verify": arguments.verify}
    results: list[dict[str, Any]] = []
    for name in arguments.models.split(","):
        checkpoint = arguments.shapes / name
        # In a process of its own: this one must stay small, or its memory would count as the export's.
        run([sys.executable, Path(__file__).with_name("shapes.py"), name, checkpoint])
        try:
            limit = None if arguments.limit is None else int(arguments.limit * 1e9)
            results.append(measure(name, checkpoint, **asked, limit=limit))
        finally:
            if not arguments.keep:
                shutil.rmtree(checkpoint)
    document = {"benchmark": "scale", **state, **asked, "limit_gb": arguments.limit, "results": results}
    header = ["shapes of", "parameters", "checkpoint", "file", "weights", "time", "read at", "peak memory", "ceiling"]
    report(document, header, [row(result) for result in results], as_json=arguments.json)
    if arguments.plot:
        plot(results, arguments.plot)
    if arguments.check and not all(result["ok"] for result in results):
        note("above the ceiling")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
