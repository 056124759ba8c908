"""The table of variants agrees with the architecture that it describes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

import edgegen_models_openelm.model
from edgegen.errors import UsageError
from edgegen.plugins import registry
from edgegen_layers import MatmulAttention, SdpaAttention
from edgegen_layers.llama_like import build
from edgegen_models_openelm.model import SIZES, config, near
from edgegen_models_openelm.variants import VARIANTS

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


def test_heads_and_widths_of_the_blocks_are_the_published_ones():
    size = SIZES["openelm-1.1b"]
    assert size.heads == (16,) * 3 + (20,) * 7 + (24,) * 8 + (28,) * 6 + (32,) * 4
    assert size.groups == (4,) * 3 + (5,) * 7 + (6,) * 8 + (7,) * 6 + (8,) * 4
    assert size.hidden[:3] == (1024, 1280, 1536)
    assert size.hidden[12:16] == (4096, 4608, 4608, 5120)
    assert size.hidden[-1] == 8192


@pytest.mark.parametrize(
    ("width", "step", "expected"),
    [(1100, 256, 1024), (13, 8, 16), (100, 256, 256), (1, 8, 8), (600, 256, 768), (300, 256, 512), (12, 8, 16)],
)
def test_widths_are_multiples_that_lose_little(width: int, step: int, expected: int):
    assert near(width, step) == expected


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_rows_are_complete(variant):
    assert re.fullmatch(r"[a-z0-9.]+(-[a-z0-9.]+)+", variant.name)
    assert variant.stop_tokens
    assert "/" in variant.source
    assert registry().variant(variant.name)[0].name == "openelm"
    assert registry().scheme(variant.scheme).name == "int8-channel"


def test_an_unlisted_variant_is_a_key_error():
    with pytest.raises(KeyError):
        config("openelm-7b")


def test_the_attention_kernel_is_chosen_by_name():
    assert isinstance(on_meta("openelm-270m").kernel, MatmulAttention)
    assert isinstance(on_meta("openelm-270m", attention="sdpa").kernel, SdpaAttention)
    with pytest.raises(UsageError, match="sdap"):
        on_meta("openelm-270m", attention="sdap")


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_the_readme_shows_the_row(variant):
    readme = Path(__file__).parent.parent / "README.md"
    row = f"| `{variant.name}` | {variant.source} | {variant.parameters:,} | {variant.context_length} |"
    assert row in readme.read_text().splitlines()


def test_the_model_file_is_short_enough_to_be_read_in_one_go():
    lines = Path(edgegen_models_openelm.model.__file__).read_text().splitlines()
    assert len(lines) <= 250
