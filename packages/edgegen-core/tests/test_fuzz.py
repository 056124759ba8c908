"""A few random modules; ``nox -s fuzz`` draws thousands."""

from __future__ import annotations

import re
import subprocess
import sys

from edgegen.testing.fuzz import OPERATORS, draw


def test_random_modules_are_right_or_refused():
    # In a process of its own: children of one that has run LiteRT wait for its threads for ever.
    command = [sys.executable, "-m", "edgegen.testing.fuzz", "--graphs", "100", "--seed", "20000"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    counts = dict(re.findall(r"'(\w+)': (\d+)", run.stdout))
    assert int(counts["passed"]) >= 90


def test_a_seed_is_one_module():
    assert str(draw(7)) == str(draw(7))


def test_there_are_operators_enough():
    assert len(OPERATORS) >= 60
