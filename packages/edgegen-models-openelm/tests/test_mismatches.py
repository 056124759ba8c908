"""A checkpoint that is not the model's stops with a diff, or with the setting that is not known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from openelm_checkpoints import CONFIGS, SAVERS, TIED, config_json, expected_logits, reference

from edgegen.errors import CheckpointError
from edgegen.weights import open_checkpoint
from edgegen.weights.hyperparameters import differences
from edgegen_layers.testing import eager_logits, load_model, resolve, save_tensors
from edgegen_models_openelm.checkpoint_config import read_config
from edgegen_models_openelm.openelm import config

EMBEDDING = "transformer.token_embeddings.weight"


@pytest.fixture
def tied() -> dict[str, torch.Tensor]:
    return reference(TIED).state_dict()


def diff(tensors: dict[str, torch.Tensor], config, folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        resolve("openelm", save_tensors(tensors, folder), config)
    assert caught.value.code == "EG204"
    return str(caught.value)


def test_a_missing_norm_of_queries_is_named(tied, tmp_path: Path):
    del tied["transformer.layers.1.attn.q_norm.weight"]
    assert "missing     transformer.layers.*.attn.q_norm.weight  1 tensor" in diff(tied, TIED, tmp_path)


def test_norms_of_queries_that_the_model_lacks_are_not_dropped(tied, tmp_path: Path):
    text = diff(tied, CONFIGS["raw queries"], tmp_path)
    assert "unexpected  transformer.layers.*.attn.q_norm.weight  3 tensors" in text


def test_a_block_of_another_width_is_named_with_both_shapes(tied, tmp_path: Path):
    text = diff(tied, replace(TIED, intermediate_size=(16, 48, 64)), tmp_path)
    assert "shape       transformer.layers.*.ffn.proj_1.weight  1 tensor  is [80, 32], expected [96, 32]" in text


def test_a_tied_head_that_is_stored_twice_is_accepted(tied, tmp_path: Path):
    folder = save_tensors({**tied, "lm_head.weight": tied[EMBEDDING]}, tmp_path)
    torch.testing.assert_close(
        eager_logits(load_model("openelm", folder, TIED)), expected_logits(reference(TIED)), atol=1e-4, rtol=1e-4
    )


# --- what checkpoints state -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "saver"), [(size, saver) for size in CONFIGS for saver in SAVERS if (size, saver) != ("untied", "gguf")]
)
def test_a_checkpoint_states_its_configuration(size: str, saver: str, tmp_path: Path):
    stated = read_config(open_checkpoint(SAVERS[saver](CONFIGS[size], tmp_path)))
    assert differences(CONFIGS[size], stated) == []


def test_a_checkpoint_that_states_nothing_is_no_error(tied, tmp_path: Path):
    assert read_config(open_checkpoint(save_tensors(tied, tmp_path))) is None


def test_the_row_is_what_the_published_configuration_says(tied, tmp_path: Path):
    published = {
        "ffn_dim_divisor": 256,
        "ffn_multipliers": [
            *(0.5, 0.63, 0.76, 0.89, 1.02, 1.15, 1.28, 1.41, 1.54, 1.67, 1.8, 1.93, 2.06, 2.19),
            *(2.31, 2.44, 2.57, 2.7, 2.83, 2.96, 3.09, 3.22, 3.35, 3.48, 3.61, 3.74, 3.87, 4.0),
        ],
        "head_dim": 64,
        "max_context_length": 2048,
        "model_dim": 2048,
        "num_kv_heads": [4] * 3 + [5] * 7 + [6] * 8 + [7] * 6 + [8] * 4,
        "num_query_heads": [16] * 3 + [20] * 7 + [24] * 8 + [28] * 6 + [32] * 4,
        "num_transformer_layers": 28,
        "rope_freq_constant": 10000,
        "rope_max_length": 4096,
        "vocab_size": 32000,
    }
    (tmp_path / "config.json").write_text(json.dumps(config_json(TIED) | published))
    stated = read_config(open_checkpoint(save_tensors(tied, tmp_path)))
    assert differences(config("openelm-1.1b"), stated) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"model_type": "llama"}, "EG207"),
        ({"activation_fn_name": "gelu"}, "EG207"),
        ({"normalization_layer_name": "layer_norm"}, "EG207"),
        ({"ffn_with_glu": False}, "EG207"),
        ({"num_transformer_layers": 4}, "EG207"),
        ({"sliding_window": 8}, "EG207"),
        ({"num_kv_heads": [1, 2]}, "EG206"),
        ({"num_query_heads": None}, "EG206"),
    ],
    ids=str,
)
def test_what_is_not_known_is_refused(change: dict[str, object], code: str, tied, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(config_json(TIED) | change))
    with pytest.raises(CheckpointError) as caught:
        read_config(open_checkpoint(save_tensors(tied, tmp_path)))
    assert caught.value.code == code
