"""Building a family's module: a choice of implementations that the builder does not look at is an error."""

from __future__ import annotations

import pytest
from torch import nn

from edgegen.descriptors import ModelFamily
from edgegen.errors import CheckpointError, ErrorCode, PluginError, UsageError
from edgegen.export import identify

FAMILY = ModelFamily(name="acme", summary="", variants=(), config="acme:config", builder="acme:build")


def ignoring(config, *, layers):
    return nn.Linear(1, 1)


def looking_up(config, *, layers):
    layers.get("attention", "matmul")
    return nn.Linear(1, 1)


@pytest.mark.parametrize(("builder", "choice"), [(ignoring, "attention"), (looking_up, "mlp")])
def test_a_choice_that_no_builder_looks_at_is_refused(builder, choice, monkeypatch):
    monkeypatch.setattr(identify, "load", lambda reference: builder)
    with pytest.raises(UsageError, match=f"--layer {choice}=mine has no effect") as caught:
        identify.empty_model(FAMILY, None, {choice: "mine"})
    assert caught.value.code == ErrorCode.UNKNOWN_LAYER_BLOCK


def test_one_that_is_looked_at_is_taken(monkeypatch):
    monkeypatch.setattr(identify, "load", lambda reference: looking_up)
    assert identify.empty_model(FAMILY, None, {"attention": "sdpa"}).weight.is_meta


def test_sizes_that_overflow_are_the_checkpoint_s_fault(monkeypatch):
    monkeypatch.setattr(identify, "load", lambda reference: lambda config, layers: nn.Linear(2**62, 2**62))
    with pytest.raises(CheckpointError, match="cannot be built"):
        identify.empty_model(FAMILY, None, {})


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, RecursionError, KeyError, TypeError])
def test_a_builder_that_fails_is_the_plugin_s_fault(error, monkeypatch):
    def builder(config, layers):
        raise error("oh")

    monkeypatch.setattr(identify, "load", lambda reference: builder)
    with pytest.raises(PluginError, match=f"builder of family {FAMILY.name}.*{error.__name__}") as caught:
        identify.empty_model(FAMILY, None, {})
    assert caught.value.code == ErrorCode.PLUGIN_FAILED
    assert "test_identify.py" in caught.value.details[0]


@pytest.mark.parametrize("builder", [lambda config: nn.Linear(1, 1), lambda config, layers: None])
def test_a_builder_of_another_shape_is_named(builder, monkeypatch):
    monkeypatch.setattr(identify, "load", lambda reference: builder)
    with pytest.raises(PluginError, match=f"builder of family {FAMILY.name}"):
        identify.empty_model(FAMILY, None, {})
