"""Reading a checkpoint's hyper-parameters without overlooking any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgegen.errors import CheckpointError
from edgegen.weights import Checkpoint
from edgegen.weights.hyperparameters import ConfigReader, differences


def settings(config, **options):
    harmless = ("torch_dtype", "general.*")
    checkpoint = Checkpoint(
        path=Path("model"), format="f", naming="n", tensors={}, config=config, harmless_keys=harmless
    )
    return ConfigReader(checkpoint, **options)


def test_values_are_taken_with_their_type():
    s = settings({"x.layers": 3, "x.base": 10000}, prefix="x.")
    assert s.read("layers", int) == 3
    assert s.read("base", float) == 10000.0
    assert s.read("bias", bool, False) is False
    s.finish()


def test_a_missing_value_names_its_key():
    with pytest.raises(CheckpointError, match=r"does not state x\.layers"):
        settings({}, prefix="x.").read("layers", int)


def test_a_value_of_another_type_is_refused():
    with pytest.raises(CheckpointError, match="'many', expected int"):
        settings({"layers": "many"}).read("layers", int)


def test_a_value_that_the_family_cannot_build_is_refused():
    s = settings({"act": "swish", "bias": None})
    s.require("bias", False)
    with pytest.raises(CheckpointError, match="'swish'") as caught:
        s.require("act", "silu", "gelu")
    assert "'silu', 'gelu'" in str(caught.value)


def test_keys_that_nobody_reads_stop_the_export():
    s = settings({"layers": 3, "new_trick": 5, "torch_dtype": "float32", "general.name": "x", "none": None})
    s.read("layers", int)
    with pytest.raises(CheckpointError) as caught:
        s.finish()
    assert caught.value.details == ("new_trick = 5",)


def test_keys_without_effect_can_be_ignored():
    settings({"new_trick": 5}, ignore=("new_*",)).finish()


@dataclass(frozen=True)
class Inner:
    base: float
    name: str = "a"


@dataclass(frozen=True)
class Outer:
    inner: tuple[Inner, ...]
    length: int = 1


def test_differences_are_told_by_path():
    one, other = Outer((Inner(1.0), Inner(2.0))), Outer((Inner(1.0), Inner(3.0)), length=2)
    assert differences(one, other) == [
        "inner[1].base   expected 2.0, the checkpoint says 3.0",
        "length   expected 1, the checkpoint says 2",
    ]
    assert differences(one, other, ignore=("length", "inner")) == []


def test_rounding_to_32_bits_is_no_difference():
    assert differences(Inner(1e-5), Inner(9.999999747378752e-06)) == []
