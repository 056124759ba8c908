"""The table of variants agrees with the architecture that it describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import edgegen_models_phi.model
from edgegen.checkpoints.settings import differences
from edgegen.errors import UsageError
from edgegen.plugins import registry
from edgegen_layers import MatmulAttention, SdpaAttention
from edgegen_models_phi.model import SIZES, build, config
from edgegen_models_phi.variants import VARIANTS

BY_NAME = {variant.name: variant for variant in VARIANTS}


def on_meta(name: str, **layers: str):
    with torch.device("meta"):
        return build(config(name), layers=layers)


@pytest.mark.parametrize("name", BY_NAME)
def test_the_model_has_as_many_parameters_as_the_row_says(name: str):
    assert sum(parameter.numel() for parameter in on_meta(name).parameters()) == BY_NAME[name].parameters


def test_every_variant_has_a_size_and_every_size_a_variant():
    assert list(SIZES) == [variant.name for variant in VARIANTS]


@pytest.mark.parametrize("name", BY_NAME)
def test_the_row_and_the_configuration_agree_on_the_context(name: str):
    assert config(name).max_seq_len == BY_NAME[name].context_length


@pytest.mark.parametrize("name", BY_NAME)
def test_heads_divide_the_width(name: str):
    size = SIZES[name]
    assert size.dim % size.heads == 0


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_rows_are_complete(variant):
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9.]+)+", variant.name)
    assert variant.stop_tokens
    assert "/" in variant.source
    assert registry().variant(variant.name)[0].name == "phi"
    assert registry().scheme(variant.scheme).name == "int8-channel"


def test_an_unlisted_variant_is_a_key_error():
    with pytest.raises(KeyError):
        config("phi-5")


def test_the_attention_kernel_is_chosen_by_name():
    assert isinstance(on_meta("phi-2").kernel, MatmulAttention)
    assert isinstance(on_meta("phi-2", attention="sdpa").kernel, SdpaAttention)
    with pytest.raises(UsageError, match="sdap"):
        on_meta("phi-2", attention="sdap")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_readme_shows_the_row(variant):
    readme = Path(__file__).parent.parent / "README.md"
    row = f"| `{variant.name}` | {variant.source} | {variant.parameters:,} | {variant.context_length} |"
    assert row in readme.read_text().splitlines()


def test_the_model_file_is_short_enough_to_be_read_in_one_go():
    lines = Path(edgegen_models_phi.model.__file__).read_text().splitlines()
    assert len(lines) <= 250


@pytest.mark.parametrize("name", ["phi-3.5-mini", "phi-4-mini"])
def test_there_is_a_factor_for_each_pair_of_rotated_channels(name: str):
    attention = config(name).blocks[0].attn_config
    assert len(attention.rotary_scaling.factors) == len(config(name).long_factors) == attention.rotary_dim // 2 == 48
    assert attention.rotary_scaling.attention_factor == pytest.approx(1.1902380714238083)


@pytest.mark.parametrize("name", ["phi-3.5-mini", "phi-4-mini"])
def test_the_long_variant_differs_in_its_factors_alone(name: str):
    short, long = on_meta(name).config, on_meta(f"{name}-128k").config
    assert differences(short, long, ignore=("max_seq_len", "block_config")) == []
    assert long.blocks[0].attn_config.rotary_scaling.factors == short.long_factors
