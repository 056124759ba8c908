"""A few random configurations of every architecture; ``nox -s differential`` draws hundreds."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "differential"))

from configurations import MISSING, SPACES, compare, reference, save, valid

from edgegen.errors import CheckpointError
from edgegen.family_calls import stated_config
from edgegen.plugins import registry
from edgegen.weights import open_checkpoint

BY_NAME = {space.name: space for space in SPACES}


@pytest.mark.parametrize("name", BY_NAME)
def test_random_configurations_are_right_or_refused(name, tmp_path):
    rng, taken = random.Random(f"{name} 7"), 0
    for number in range(8):
        config, model = valid(BY_NAME[name], rng, number)
        folder = tmp_path / str(number)
        folder.mkdir()
        outcome = compare(BY_NAME[name], config, model, folder, exported=number == 0)
        assert outcome.right, outcome
        taken += outcome.refused is None
    assert taken >= 3


MIXED = ["full_attention", "sliding_attention"] * 2
CASES = {
    "some layers have the window": ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}),
    "none has it": ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 28}),
    "use_sliding_window is absent": ("qwen2", {"sliding_window": 8, "max_window_layers": 0}),
    "layer_types": ("qwen3", {"use_sliding_window": True, "sliding_window": 8, "layer_types": MIXED}),
    "a window that a Llama does not have": ("llama", {"sliding_window": 8}),
    "query_pre_attn_scalar is absent, Gemma 2": ("gemma2", {"query_pre_attn_scalar": MISSING}),
    "query_pre_attn_scalar is absent, Gemma 3": ("gemma3_text", {"query_pre_attn_scalar": MISSING}),
    "a cap that Gemma 3 does not have": ("gemma3_text", {"attn_logit_softcapping": 5.0}),
    "all layers are full": ("gemma3_text", {"layer_types": ["full_attention"] * 4, "sliding_window": 8}),
    "T5's activation is stated apart": ("t5", {"dense_act_fn": "silu"}),
    "T5's gate is stated apart": ("t5", {"is_gated_act": True}),
    "BERT's sizes are absent": ("bert", {"intermediate_size": MISSING, "max_position_embeddings": MISSING}),
    "head_dim is absent": ("qwen3", {"head_dim": MISSING}),
    "LongRoPE beyond the original context": (
        "phi3",
        {
            "original_max_position_embeddings": 32,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1.0 + 0.05 * i for i in range(8)],
                "long_factor": [1.0 + 1.5 * i for i in range(8)],
            },
        },
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_once_read_wrongly_is_right(case, tmp_path):
    name, change = CASES[case]
    config = {key: value for key, value in {**BY_NAME[name].base, **change}.items() if value is not MISSING}
    outcome = compare(BY_NAME[name], config, reference(config, 0, BY_NAME[name].auto), tmp_path, exported=False)
    assert outcome.refused is None
    assert outcome.right, outcome


@pytest.mark.parametrize("name", BY_NAME)
def test_an_unknown_key_is_named(name, tmp_path):
    space = BY_NAME[name]
    save({**space.base, "surprise": 7}, reference(space.base, 0, space.auto), tmp_path)
    with pytest.raises(CheckpointError, match="keys that this family does not know") as caught:
        stated_config(open_checkpoint(tmp_path), registry().family(space.family))
    assert "surprise = 7" in caught.value.details[0]
