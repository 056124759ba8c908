"""How long the commands take that only look things up: whole processes of ``edgegen list-models`` and ``--help``.

Backs the start-up figure of README: ``list-models`` within 0.4 s, which it can only meet without importing torch.

    python bench/startup.py --check
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from measuring import machine, median, megabytes, note, report, run

COMMANDS = (("list-models",), ("--help",))
CEILING = 0.4
"""Seconds that ``--check`` allows."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11, help="of each command; medians are printed")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a median is above its ceiling")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    # The command that users type, not python -m.
    edgegen = Path(sys.executable).with_name("edgegen")
    state = machine()
    results: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    for words in COMMANDS:
        run([edgegen, *words])
        runs = [run([edgegen, *words]) for _ in range(arguments.runs)]
        seconds = [one.seconds for one in runs]
        peak = median([one.peak_bytes for one in runs])
        name = " ".join(("edgegen", *words))
        results.append({"command": name, "seconds": median(seconds), "peak_bytes": peak, "runs": seconds})
        spread = f"{min(seconds):.3f} to {max(seconds):.3f} s"
        rows.append([name, f"{median(seconds):.3f} s", spread, megabytes(peak)])
    document = {"benchmark": "startup", **state, "ceiling_seconds": CEILING, "results": results}
    report(document, ["command", "median", "range", "peak memory"], rows, as_json=arguments.json)
    if arguments.check and any(result["seconds"] > CEILING for result in results):
        note(f"above the ceiling of {CEILING} s")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
