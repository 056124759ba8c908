"""Compares many random configurations of each architecture with transformers; prints what was refused and what differs.

``python tests/differential/run.py --count 200 --seed 0 [--only qwen2]``
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from configurations import SPACES, compare, valid


def main() -> int:
    """Number of configurations that differ."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--count", type=int, default=200, help="configurations of each architecture")
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--only", help="architecture, as model_type names it")
    arguments.add_argument("--every", type=int, default=20, help="make a file of each so many")
    given = arguments.parse_args()
    wrong = 0
    for space in SPACES:
        if given.only not in (None, space.name):
            continue
        rng = random.Random(f"{space.name} {given.seed}")
        outcomes = []
        for number in range(given.count):
            config, model = valid(space, rng, number)
            with tempfile.TemporaryDirectory() as folder:
                outcomes.append(compare(space, config, model, Path(folder), exported=number % given.every == 0))
            if not outcomes[-1].right:
                print(f"  WRONG {outcomes[-1].error:.2g}  {json.dumps(_changed(space.base, config))}", flush=True)
        refused = Counter(outcome.refused for outcome in outcomes if outcome.refused)
        differing = sum(not outcome.right for outcome in outcomes)
        wrong += differing
        equal = len(outcomes) - sum(refused.values()) - differing
        print(
            f"{space.name:12} {len(outcomes)} configurations: {equal} equal, {sum(refused.values())} refused, "
            f"{differing} wrong"
        )
        for reason, times in refused.most_common():
            print(f"    {times:4} {reason}")
    return wrong


def _changed(base: dict, config: dict) -> dict:
    lost = {key: "(absent)" for key in base if key not in config}
    return lost | {key: value for key, value in config.items() if key not in base or base[key] != value}


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
