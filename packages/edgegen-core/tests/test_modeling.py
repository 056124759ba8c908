"""Protocols of exportable modules: what a module lacks is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from edgegen import modeling
from edgegen.errors import PluginError
from edgegen.modeling import CausalLM, SupportsLora, SupportsVerifyLengths, missing, require, supports

HOOKS_PAGE = Path(__file__).parents[3] / "docs" / "reference" / "hooks.md"


class Whole(nn.Module):
    config = None

    def new_cache(self, length, device=None):
        return []

    def signatures(self, prefill_lengths, cache_length, cache_buckets=()):
        return []


class Adaptable(Whole):
    def signatures(self, prefill_lengths, cache_length, cache_buckets=(), *, lora_rank=None):
        return []

    def lora_projections(self):
        return []

    def adapter(self, inputs):
        return None


class Forwarding(Whole):
    def signatures(self, *args, **kwargs):
        return []


def test_a_module_with_all_members_fulfils_a_protocol():
    assert missing(Whole(), CausalLM) == []
    assert missing(Adaptable(), SupportsLora) == []
    module = Whole()
    assert require(module, CausalLM, "test") is module
    assert supports(module, SupportsLora) is None


def test_what_is_missing_is_named():
    assert missing(nn.Linear(1, 1), CausalLM) == ["config", "new_cache()", "signatures()"]
    assert missing(Whole(), SupportsLora) == ["adapter()", "lora_projections()", "signatures(lora_rank=)"]
    assert missing(Whole(), SupportsVerifyLengths) == ["signatures(verify_lengths=)"]


class Short(Whole):
    def signatures(self):
        return []


class Long(Whole):
    def new_cache(self, length, device, dtype):
        return []


def test_arguments_that_a_method_does_not_take_or_asks_for_besides_are_named():
    assert missing(Short(), CausalLM) == ["signatures(prefill_lengths, cache_length, cache_buckets)"]
    assert missing(Long(), CausalLM) == ["new_cache(length, device)"]


def test_keywords_that_are_passed_on_count():
    assert missing(Forwarding(), SupportsVerifyLengths) == []


def test_the_error_names_the_class_its_owner_and_the_members():
    with pytest.raises(PluginError) as caught:
        require(nn.Linear(1, 1), CausalLM, "family acme (edgegen-acme 1.0)")
    assert "the Linear of family acme (edgegen-acme 1.0) is no CausalLM" in caught.value.message
    assert "new_cache(), signatures()" in caught.value.message


@pytest.mark.skipif(not HOOKS_PAGE.is_file(), reason="the documentation is not part of the wheel")
@pytest.mark.parametrize("name", [name for name in vars(modeling) if name.startswith(("Supports", "Limits"))])
def test_each_protocol_is_on_the_page_of_hooks_with_its_members(name):
    (row,) = (line for line in HOOKS_PAGE.read_text().splitlines() if line.startswith(f"| `{name}`"))
    for member in missing(object(), getattr(modeling, name)):
        assert member.split("(")[0] in row
