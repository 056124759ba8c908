"""A few random modules; ``nox -s fuzz`` draws thousands."""

from __future__ import annotations

from edgegen.testing.fuzz import OPERATORS, draw, fuzz

SEED = 20_000


def test_random_modules_are_right_or_refused():
    passed = 0
    for seed, outcome, _, text in fuzz(100, SEED):
        assert outcome.status != "failed", f"seed {seed}: {outcome.reason}\n{text}"
        passed += outcome.status == "passed"
    assert passed >= 90


def test_a_seed_is_one_module():
    assert str(draw(7)) == str(draw(7))


def test_there_are_operators_enough():
    assert len(OPERATORS) >= 60
