"""What a checkpoint says of itself becomes the configuration, whichever way and whenever it was written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gemma_checkpoints import CONFIGS, SAVERS, reference, save_seeing
from safetensors.torch import save_file

from edgegen.errors import CheckpointError
from edgegen.weights import open_checkpoint
from edgegen.weights.hyperparameters import differences
from edgegen_layers import LinearScaling
from edgegen_models_gemma.checkpoint_config import read_config
from edgegen_models_gemma.gemma import config as published
from edgegen_models_gemma.variants import layer_types


@pytest.mark.parametrize("size", CONFIGS)
def test_what_transformers_writes_is_read(size: str, tmp_path: Path):
    checkpoint = open_checkpoint(SAVERS["one file"](reference(size), tmp_path))
    assert differences(CONFIGS[size], read_config(checkpoint)) == []


# GGUF states neither what scores are divided by nor that there are no caps, and the pattern as a period.
@pytest.mark.parametrize("size", ["gemma", "gemma-multi-head", "gemma2", "gemma3", "gemma3-scaled"])
def test_what_llama_cpps_converter_writes_is_read(size: str, tmp_path: Path):
    checkpoint = open_checkpoint(SAVERS["gguf"](reference(size), tmp_path))
    expected = replace(CONFIGS[size], query_pre_attn_scalar=16.0)
    assert differences(expected, read_config(checkpoint)) == []


def test_the_text_part_of_a_checkpoint_that_sees_images_is_read(tmp_path: Path):
    checkpoint = open_checkpoint(save_seeing(reference("gemma3-scaled"), tmp_path))
    assert differences(CONFIGS["gemma3-scaled"], read_config(checkpoint)) == []


def stated(config: dict, folder: Path):
    save_file({"model.norm.weight": torch.ones(1)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return read_config(open_checkpoint(folder))


# As the repositories have them, less what does not matter.
OLD = {
    "gemma-2b": {
        "model_type": "gemma", "attention_bias": False, "head_dim": 256, "hidden_act": "gelu",
        "hidden_activation": None, "hidden_size": 2048, "intermediate_size": 16384, "max_position_embeddings": 8192,
        "num_attention_heads": 8, "num_hidden_layers": 18, "num_key_value_heads": 1, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 10000.0, "vocab_size": 256000,
    },
    "gemma2-9b": {
        "model_type": "gemma2", "attn_logit_softcapping": 50.0, "cache_implementation": "hybrid",
        "final_logit_softcapping": 30.0, "head_dim": 256, "hidden_act": "gelu_pytorch_tanh",
        "hidden_activation": "gelu_pytorch_tanh", "hidden_size": 3584, "intermediate_size": 14336,
        "max_position_embeddings": 8192, "num_attention_heads": 16, "num_hidden_layers": 42,
        "num_key_value_heads": 8, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06, "rope_theta": 10000.0,
        "sliding_window": 4096, "sliding_window_size": 4096, "vocab_size": 256000,
    },
    "gemma3-1b": {
        "model_type": "gemma3_text", "attn_logit_softcapping": None, "cache_implementation": "hybrid",
        "final_logit_softcapping": None, "head_dim": 256, "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size": 1152, "intermediate_size": 6912, "max_position_embeddings": 32768, "num_attention_heads": 4,
        "num_hidden_layers": 26, "num_key_value_heads": 1, "query_pre_attn_scalar": 256, "rms_norm_eps": 1e-06,
        "rope_local_base_freq": 10000, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": 512,
        "sliding_window_pattern": 6, "vocab_size": 262144,
    },
    "gemma3-4b": {
        "model_type": "gemma3", "mm_tokens_per_image": 256, "vision_config": {"image_size": 896},
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024,
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_published_configurations_are_those_of_the_table(name: str, tmp_path: Path):
    assert differences(published(name), stated(OLD[name], tmp_path)) == []


def test_a_period_and_the_kinds_of_layers_say_the_same(tmp_path: Path):
    period = {**OLD["gemma3-1b"], "sliding_window_pattern": 2}
    kinds = {**period, "sliding_window_pattern": 6, "layer_types": ["sliding_attention", "full_attention"] * 13}
    expected = replace(published("gemma3-1b"), layer_types=layer_types(26, 2))
    assert stated(period, tmp_path) == stated(kinds, tmp_path) == expected


def test_without_caps_null_is_none_and_absence_is_the_usual_one(tmp_path: Path):
    base = OLD["gemma2-9b"]
    assert stated({**base, "final_logit_softcapping": None}, tmp_path).final_logit_softcapping is None
    del (copy := dict(base))["final_logit_softcapping"]
    assert stated(copy, tmp_path).final_logit_softcapping == 30.0


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gemma4_text"},
        {"hidden_activation": "mish"},
        {"use_bidirectional_attention": True},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 4.0}},
        {"rope_scaling": {"rope_type": "linear", "factor": 4.0, "partial_rotary_factor": 0.5}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
        {"rope_parameters": {"sliding_attention": {"rope_type": "linear", "factor": 2.0}, "full_attention": {}}},
        {"layer_types": ["chunked_attention"] * 26},
        {"surprise": 7},
    ],
    ids=str,
)
def test_what_is_not_known_is_refused(change: dict, tmp_path: Path):
    with pytest.raises(CheckpointError) as caught:
        stated({**OLD["gemma3-1b"], **change}, tmp_path)
    assert caught.value.code == "EG207"


def test_a_folder_without_a_configuration_states_nothing(tmp_path: Path):
    save_file({"model.norm.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    assert read_config(open_checkpoint(tmp_path)) is None


def test_a_scaled_gguf_is_scaled(tmp_path: Path):
    config = read_config(open_checkpoint(SAVERS["gguf"](reference("gemma3-scaled"), tmp_path)))
    assert config.attention(config.layer_types[5]).rope_scaling == LinearScaling(factor=8.0)
    assert config.attention(config.layer_types[0]).rope_scaling is None
