"""The table of variants agrees with the architecture that it describes."""

from __future__ import annotations

import pytest
import torch

from edgegen.weights.hyperparameters import differences
from edgegen_models_phi.phi import build, config


def on_meta(name: str, **layers: str):
    with torch.device("meta"):
        return build(config(name), layers=layers)


@pytest.mark.parametrize("name", ["phi-3.5-mini", "phi-4-mini"])
def test_there_is_a_factor_for_each_pair_of_rotated_channels(name: str):
    attention = config(name).attention
    assert len(attention.rope_scaling.factors) == len(config(name).long_factor) == attention.rotary_dim // 2 == 48
    assert attention.rope_scaling.attention_factor == pytest.approx(1.1902380714238083)


@pytest.mark.parametrize("name", ["phi-3.5-mini", "phi-4-mini"])
def test_the_long_variant_differs_in_its_factors_alone(name: str):
    short, long = on_meta(name), on_meta(f"{name}-128k")
    assert differences(short.config, long.config, ignore=("max_position_embeddings",)) == []
    ours, others = short.attention_configs[0], long.attention_configs[0]
    assert differences(ours, others, ignore=("rope_scaling",)) == []
    assert others.rope_scaling.factors == short.config.long_factor != ours.rope_scaling.factors
