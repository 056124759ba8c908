"""A checkpoint that is not the model's stops with a diff, or with the setting that is not known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from phi_checkpoints import CONFIGS, EXTENDED, PHI2, PHI3, SAVERS, reference, save_phi_gguf

from edgegen.errors import CheckpointError
from edgegen.weights import open_checkpoint
from edgegen.weights.hyperparameters import differences
from edgegen_layers.testing import eager_logits, expected_logits, load_model, resolve, save, save_tensors
from edgegen_models_phi.checkpoint_config import read_config
from edgegen_models_phi.phi import config, config_for_context


def diff(tensors: dict[str, torch.Tensor], config, folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        resolve("phi", save_tensors(tensors, folder), config)
    assert caught.value.code == "EG204"
    return str(caught.value)


def test_a_missing_bias_is_named(tmp_path: Path):
    state = reference(PHI2).state_dict()
    del state["model.layers.1.self_attn.k_proj.bias"]
    assert "missing     model.layers.*.self_attn.k_proj.bias  1 tensor" in diff(state, PHI2, tmp_path)


def test_norms_of_queries_that_the_model_lacks_are_not_dropped(tmp_path: Path):
    state = reference(CONFIGS["phi-2, normalized queries"]).state_dict()
    assert "unexpected  model.layers.*.self_attn.q_layernorm.weight" in diff(state, PHI2, tmp_path)


def test_one_architecture_is_not_the_other(tmp_path: Path):
    text = diff(reference(PHI2).state_dict(), PHI3, tmp_path)
    assert "missing     model.layers.*.mlp.gate_up_proj.weight" in text


def test_fewer_heads_show_in_the_shape(tmp_path: Path):
    text = diff(reference(PHI3).state_dict(), replace(PHI3, num_key_value_heads=2), tmp_path)
    assert "shape       model.layers.*.self_attn.qkv_proj.weight" in text


def test_a_tied_head_that_is_stored_twice_is_accepted(tmp_path: Path):
    theirs = reference(CONFIGS["phi-4"])
    state = theirs.state_dict()
    folder = save_tensors({**state, "lm_head.weight": state["model.embed_tokens.weight"]}, tmp_path)
    model = load_model("phi", folder, CONFIGS["phi-4"])
    torch.testing.assert_close(eager_logits(model), expected_logits(theirs), atol=1e-4, rtol=1e-4)


def test_rotary_factors_of_a_gguf_are_refused_by_a_model_without_any(tmp_path: Path):
    file = save_phi_gguf(reference(CONFIGS["phi-3, short factors"]), tmp_path)
    with pytest.raises(CheckpointError) as caught:
        resolve("phi", file, PHI3)
    assert "unexpected  rope_factors_long.weight" in str(caught.value)


# --- what checkpoints state -------------------------------------------------------------------------------------


@pytest.mark.parametrize("saver", ["one file", "gguf"])
@pytest.mark.parametrize("size", [size for size in CONFIGS if size != "phi-2, normalized queries"])
def test_a_checkpoint_states_its_configuration(size: str, saver: str, tmp_path: Path):
    stated = read_config(open_checkpoint(SAVERS[saver](reference(CONFIGS[size]), tmp_path)))
    assert differences(CONFIGS[size], stated, ignore=("max_position_embeddings",)) == []


def test_normalized_queries_are_read(tmp_path: Path):
    size = CONFIGS["phi-2, normalized queries"]
    assert read_config(open_checkpoint(save(reference(size), tmp_path))) == size


def test_an_extended_context_is_read_as_the_original_one(tmp_path: Path):
    stated = read_config(open_checkpoint(save(reference(CONFIGS["phi-3, long factors"]), tmp_path)))
    assert stated is not None
    assert stated.max_position_embeddings == 8
    assert stated.attention.rope_scaling == stated.rope_scaling


@pytest.mark.parametrize(("cache_length", "context", "factors"), [(8, 8, "rope_scaling"), (9, EXTENDED, "long_factor")])
def test_a_cache_beyond_the_original_context_has_the_long_factors(cache_length, context, factors, tmp_path: Path):
    stated = read_config(open_checkpoint(save(reference(CONFIGS["phi-3, long factors"]), tmp_path)))
    chosen = config_for_context(stated, cache_length)
    assert chosen.max_position_embeddings == context
    long = chosen.attention.rope_scaling.factors == stated.long_factor
    assert long == (factors == "long_factor")


def test_a_checkpoint_that_states_nothing_is_no_error(tmp_path: Path):
    assert read_config(open_checkpoint(save_tensors(reference(PHI3).state_dict(), tmp_path))) is None


PHI_2 = {
    "_name_or_path": "microsoft/phi-2",
    "architectures": ["PhiForCausalLM"],
    "embd_pdrop": 0.0,
    "hidden_act": "gelu_new",
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "model_type": "phi",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "partial_rotary_factor": 0.4,
    "qk_layernorm": False,
    "resid_pdrop": 0.1,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "vocab_size": 51200,
}
PHI_4_MINI = {
    "attention_bias": False,
    "embd_pdrop": 0.0,
    "full_attn_mod": 1,
    "hidden_act": "silu",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "interpolate_factor": 1,
    "lm_head_bias": False,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "phi3",
    "num_attention_heads": 24,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "original_max_position_embeddings": 4096,
    "partial_rotary_factor": 0.75,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "long_factor": list(config("phi-4-mini").long_factor or ()),
        "short_factor": [1.0] * 48,
        "type": "longrope",
    },
    "rope_theta": 10000.0,
    "sliding_window": 262144,
    "tie_word_embeddings": True,
    "vocab_size": 200064,
}


PHI_3_MINI = PHI_4_MINI | {
    "max_position_embeddings": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "partial_rotary_factor": None,
    "rope_scaling": None,
    "sliding_window": 2047,
    "tie_word_embeddings": False,
    "vocab_size": 32064,
}
PHI_3_5_MINI = PHI_3_MINI | {
    "max_position_embeddings": 131072,
    "rope_scaling": {
        "long_factor": list(config("phi-3.5-mini").long_factor or ()),
        "short_factor": list(config("phi-3.5-mini").rope_scaling.factors),
        "type": "longrope",
    },
    "sliding_window": 262144,
}


def stated(settings: dict[str, object], folder: Path):
    save_tensors({"model.norm.weight": torch.ones(1)}, folder)
    (folder / "config.json").write_text(json.dumps(settings))
    return read_config(open_checkpoint(folder))


@pytest.mark.parametrize(
    ("variant", "settings"),
    [
        ("phi-2", PHI_2),
        ("phi-3-mini", PHI_3_MINI),
        ("phi-3.5-mini", PHI_3_5_MINI),
        ("phi-3.5-mini-128k", PHI_3_5_MINI),
        ("phi-4-mini", PHI_4_MINI),
        ("phi-4-mini-128k", PHI_4_MINI),
    ],
)
def test_the_row_is_what_the_published_configuration_says(variant: str, settings, tmp_path: Path):
    assert differences(config(variant), stated(settings, tmp_path), ignore=("max_position_embeddings",)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "phimoe"},
        {"hidden_act": "mish"},
        {"rope_scaling": {"type": "yarn", "short_factor": [1.0], "long_factor": [1.0]}},
        {"rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [1.0], "short_mscale": 1.1}},
        {"num_local_experts": 16},
    ],
    ids=str,
)
def test_what_is_not_known_is_refused(change: dict[str, object], tmp_path: Path):
    with pytest.raises(CheckpointError) as caught:
        stated(PHI_4_MINI | change, tmp_path)
    assert caught.value.code == "EG207"


def test_factors_that_are_not_stated_are_missed(tmp_path: Path):
    with pytest.raises(CheckpointError, match="does not state long_factor"):
        stated(PHI_4_MINI | {"rope_scaling": {"type": "longrope", "short_factor": [1.0]}}, tmp_path)
