"""The table of variants agrees with the architecture that it describes."""

from __future__ import annotations

import pytest
import torch

from edgegen.weights.hyperparameters import differences
from edgegen_models_phi.model import build, config


def on_meta(name: str, **layers: str):
    with torch.device("meta"):
        return build(config(name), layers=layers)


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
