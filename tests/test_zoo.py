"""Modules and models that people convert are right or refused; ``nox -s zoo`` tries all, this a part of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "zoo"))

import models
import modules
from zoo import compare

MODELS = ("Bert", "ViT", "ResNet", "GPT2", "Mamba")


@pytest.mark.parametrize("part", range(3))
def test_a_part_of_pytorchs_modules(part):
    outcomes = {name: compare(module, inputs) for name, module, inputs in list(modules.cases())[part * 5 :: 60]}
    assert len(outcomes) >= 3
    assert not {name: outcome for name, outcome in outcomes.items() if outcome.startswith("WRONG")}


@pytest.mark.filterwarnings("ignore")
def test_models_of_transformers():
    outcomes = {name: compare(module, inputs) for name, module, inputs in models.cases() if name in MODELS}
    assert outcomes == dict.fromkeys(MODELS, "right")
