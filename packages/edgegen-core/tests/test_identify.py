"""Building a family's module: a choice of implementations that the builder does not look at is an error."""

from __future__ import annotations

import pytest
from torch import nn

from edgegen.descriptors import ModelFamily
from edgegen.errors import ErrorCode, UsageError
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
