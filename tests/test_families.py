"""Every family that is installed, held to what a row of its table promises."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import torch

from edgegen.descriptors import ModelFamily, Variant
from edgegen.errors import UsageError
from edgegen.modeling import (
    CausalLM,
    LimitsRollback,
    Seq2SeqLM,
    SupportsChannelScaling,
    SupportsLora,
    SupportsVerifyLengths,
    TextEncoder,
    missing,
)
from edgegen.plugins import load, registry

FAMILIES = {name: provided.descriptor for name, provided in registry().families.items()}
ROWS = [pytest.param(family, variant, id=variant.name) for family in FAMILIES.values() for variant in family.variants]
each_row = pytest.mark.parametrize(("family", "variant"), ROWS)
each_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)


def folder(family: ModelFamily) -> Path:
    """Where the family's modules lie."""
    module = import_module(family.config.partition(":")[0])
    assert module.__file__ is not None
    return Path(module.__file__).parent


def on_meta(family: ModelFamily, name: str, **layers: str):
    with torch.device("meta"):
        return load(family.builder)(load(family.config)(name), layers=layers)


@each_row
def test_the_model_is_as_large_as_its_row_says(family: ModelFamily, variant: Variant):
    model = on_meta(family, variant.name)
    assert sum(parameter.numel() for parameter in model.parameters()) == variant.parameters
    assert model.config.max_position_embeddings == variant.context_length


@each_row
def test_a_row_is_complete(family: ModelFamily, variant: Variant):
    assert re.fullmatch(r"[a-z0-9.]+(-[a-z0-9.]+)+", variant.name)
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", variant.source)
    assert bool(variant.stop_tokens) == (family.task != "feature-extraction")
    assert variant.license
    assert registry().scheme(variant.scheme).name == variant.scheme


@each_row
def test_the_readme_of_its_package_shows_the_row(family: ModelFamily, variant: Variant):
    readme = folder(family).parent.parent / "README.md"
    rows = [line for line in readme.read_text().splitlines() if f"| `{variant.name}` |" in line]
    assert len(rows) == 1
    assert f"{variant.parameters:,}" in rows[0]


PROTOCOLS = {
    "text-generation": (CausalLM, SupportsLora, SupportsVerifyLengths, SupportsChannelScaling, LimitsRollback),
    "feature-extraction": (TextEncoder,),
    "text2text-generation": (Seq2SeqLM, LimitsRollback),
}


@each_family
def test_the_model_fulfils_the_protocols_of_its_task_and_its_config_too(family: ModelFamily):
    model = on_meta(family, family.variants[0].name)
    assert {protocol.__name__: missing(model, protocol) for protocol in PROTOCOLS[family.task]} == {
        protocol.__name__: [] for protocol in PROTOCOLS[family.task]
    }
    more = {
        "feature-extraction": ("hidden_size", "pooling", "normalize"),
        "text2text-generation": ("decoder_start_token_id",),
    }
    for name in ("vocab_size", "max_position_embeddings", *more.get(family.task, ())):
        assert hasattr(model.config, name), name


@each_family
def test_model_files_are_short_enough_to_be_read_in_one_go(family: ModelFamily):
    for file in {*folder(family).glob("*.py"), Path(load(family.builder).__code__.co_filename)}:
        assert len(file.read_text().splitlines()) <= 250, file


@pytest.mark.parametrize(
    "family", [family for family in FAMILIES.values() if family.task != "feature-extraction"], ids=lambda f: f.name
)
def test_attention_kernels_are_chosen_by_name(family: ModelFamily):
    from edgegen_layers import MatmulAttention, SdpaAttention

    name = family.variants[0].name
    assert isinstance(on_meta(family, name).kernel, MatmulAttention)
    assert isinstance(on_meta(family, name, attention="sdpa").kernel, SdpaAttention)
    with pytest.raises(UsageError, match="sdap"):
        on_meta(family, name, attention="sdap")


@each_family
def test_a_name_that_is_not_listed_is_a_key_error(family: ModelFamily):
    with pytest.raises(KeyError):
        load(family.config)("nobody-1b")


@each_family
def test_configurations_are_read_from_checkpoints(family: ModelFamily):
    assert family.read_config is not None
    assert set(family.weight_maps) >= {"huggingface", *(("gguf",) if family.task == "text-generation" else ())}
