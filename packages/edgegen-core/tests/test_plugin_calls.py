"""Calls into a family's functions and its module's methods: what fails or makes no sense names whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from edgegen import family_calls, module_calls
from edgegen.descriptors import ModelFamily
from edgegen.errors import CheckpointError, ErrorCode, PluginError
from edgegen.quantization.channel_scaling import Rows, ScalingGroup
from edgegen.tracing import Signature
from edgegen.weights import Checkpoint, WeightMap

FAMILY = ModelFamily(
    name="acme", summary="", variants=(), config="a:c", builder="a:b", read_config="a:r", weight_maps={"x": "a:w"}
)
CHECKPOINT = Checkpoint(format="x", naming="x", path=Path("some/model"), tensors={})


@dataclass(frozen=True)
class Config:
    vocab_size: int = 1


def raising(error):
    def function(*args, **kwargs):
        raise error

    return function


CALLS = {
    "config": lambda: family_calls.named_config(FAMILY, "acme-1b"),
    "read_config": lambda: family_calls.stated_config(CHECKPOINT, FAMILY),
    "weight map 'x'": lambda: family_calls.weight_map(FAMILY, "x", Config()),
}


@pytest.mark.parametrize("what", CALLS)
@pytest.mark.parametrize("function", [raising(NotImplementedError("oh")), lambda argument: "nonsense"])
def test_a_family_s_function_that_fails_or_gives_nonsense_is_named(what, function, monkeypatch):
    monkeypatch.setattr(family_calls, "load", lambda reference: function)
    with pytest.raises(PluginError, match=f"{what} of family acme") as caught:
        CALLS[what]()
    assert caught.value.code == ErrorCode.PLUGIN_FAILED


@pytest.mark.parametrize("error", [KeyError("heads"), TypeError("oh"), ZeroDivisionError("oh"), AttributeError("oh")])
def test_a_configuration_that_cannot_be_read_names_the_file_the_family_and_the_line(error, monkeypatch):
    monkeypatch.setattr(family_calls, "load", lambda reference: raising(error))
    with pytest.raises(CheckpointError) as caught:
        family_calls.stated_config(CHECKPOINT, FAMILY)
    assert caught.value.code == ErrorCode.INVALID_CONFIG
    assert f"family acme cannot read the configuration of some/model: {type(error).__name__}" in caught.value.message
    assert "test_plugin_calls.py" in caught.value.details[0]


def test_a_checkpoint_may_state_no_configuration(monkeypatch):
    monkeypatch.setattr(family_calls, "load", lambda reference: lambda checkpoint: None)
    assert family_calls.stated_config(CHECKPOINT, FAMILY) is None


def test_a_weight_map_s_own_functions_are_the_family_s_too(monkeypatch):
    class Failing(WeightMap):
        def compare(self, *args):
            raise IndexError("oh")

    monkeypatch.setattr(family_calls, "load", lambda reference: lambda config: Failing({}))
    for call in (family_calls.resolve_weights, family_calls.compare_weights):
        with pytest.raises(PluginError, match="weight map 'x' of family acme failed: IndexError: oh"):
            call(CHECKPOINT, FAMILY, Config(), {}, "acme-1b")


def test_out_of_memory_is_no_plugin_s_fault(monkeypatch):
    error = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
    monkeypatch.setattr(family_calls, "load", lambda reference: raising(error))
    with pytest.raises(MemoryError):
        family_calls.named_config(FAMILY, "acme-1b")


class Module(nn.Linear):
    """A module all of whose methods give ``gives``, or raise it."""

    def __init__(self, gives):
        super().__init__(2, 2, device="meta")
        self.gives, self.config = gives, Config()

    def _give(self):
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives

    def max_rollback(self, cache_length):
        return self._give()

    def signatures(self, prefill_lengths, cache_length, cache_buckets=(), *, lora_rank=None):
        return self._give()

    def lora_projections(self):
        return self._give()

    def adapter(self, inputs):
        return self._give()

    def scaling_groups(self):
        return self._give()

    def add_scales(self, name):
        return self._give()


def group(producer="weight", consumer="weight"):
    return ScalingGroup((Rows(producer, 0),), (consumer,))


BAD = {
    "max_rollback": (lambda module: module_calls.max_rollback(module, 8), [-3, "all", 1.5, True, False]),
    "lora_projections": (
        module_calls.lora_projections,
        [
            None,
            [1],
            [{"q": "weight"}],
            [{"q": ("nope", 2)}],
            [{"q": ("weight", None)}],
            [{"q": ("weight", 3)}],
            [{"q": ("weight", -1)}],
        ],
    ),
    "scaling_groups": (
        module_calls.scaling_groups,
        [None, ["weight"], [group("nope")], [group("weight", "nope")], [ScalingGroup((), ("weight",))]],
    ),
    "add_scales": (lambda module: module_calls.add_scales(module, "scales"), [None]),
}


@pytest.mark.parametrize(("method", "value"), [(name, each) for name in BAD for each in [*BAD[name][1], OSError, "x"]])
def test_a_method_that_fails_or_gives_nonsense_is_named_with_its_class(method, value):
    value = RuntimeError("oh") if value is OSError else value
    with pytest.raises(PluginError, match=rf"{method}\(\) of Module \(.*test_plugin_calls\)") as caught:
        BAD[method][0](Module(value))
    assert caught.value.code == ErrorCode.PLUGIN_FAILED


def test_what_makes_sense_is_passed_on():
    assert module_calls.max_rollback(Module(7), 8) == 7
    assert module_calls.max_rollback(nn.Linear(1, 1), 8) is None
    assert module_calls.lora_projections(Module([{"q": ("weight", 2)}])) == [{"q": ("weight", 2)}]
    assert module_calls.lora_projections(nn.Linear(1, 1)) == ()
    assert module_calls.scaling_groups(Module([group()])) == [group()]
    assert module_calls.scaling_groups(nn.Linear(1, 1)) == ()


def signatures(*names):
    return [Signature(name, nn.Linear(1, 1), (torch.zeros(1, 1),)) for name in names]


WANTED = ("prefill_8", "decode")


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        ["decode"],
        signatures("decode"),
        signatures("prefill_4", "decode"),
        signatures("cache_256_decode", "cache_256_prefill_8"),
        signatures("decode", "prefill_8", "decode"),
        signatures("decode", "prefill_8", 3),
    ],
)
def test_signatures_without_those_that_were_asked_for_are_refused(found):
    with pytest.raises(PluginError, match=r"signatures\(\) of family acme"):
        module_calls.check_signatures(found, WANTED, "family acme")


def test_further_signatures_pass():
    found = signatures("prefill_8", "decode", "forward")
    assert module_calls.check_signatures(found, WANTED, "family acme") == found


def test_leaving_the_program_is_a_failure(monkeypatch):
    monkeypatch.setattr(family_calls, "load", lambda reference: raising(SystemExit(0)))
    with pytest.raises(PluginError, match="SystemExit"):
        family_calls.named_config(FAMILY, "acme-1b")
