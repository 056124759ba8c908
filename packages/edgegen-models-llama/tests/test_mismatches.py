"""A checkpoint that is not the model's stops with a diff that names what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import pytest
import torch
from llama_checkpoints import CONFIGS, TIED, reference

from edgegen.errors import CheckpointError
from edgegen_layers.testing import eager_logits, expected_logits, load_model, resolve, save_tensors

UNTIED = CONFIGS["untied"]
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
QUERY = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture
def tied() -> dict[str, torch.Tensor]:
    state = reference(TIED).state_dict()
    del state[HEAD]
    return state


@pytest.fixture
def untied() -> dict[str, torch.Tensor]:
    return reference(UNTIED).state_dict()


def diff(tensors: dict[str, torch.Tensor], config, folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        resolve("llama", save_tensors(tensors, folder), config)
    assert caught.value.code == "EG204"
    assert caught.value.hint
    return str(caught.value)


def test_a_missing_tensor_is_named(tied, tmp_path: Path):
    del tied[QUERY]
    text = diff(tied, TIED, tmp_path)
    assert "missing     model.layers.*.self_attn.q_proj.weight  1 tensor" in text
    assert "blocks.*.attention.qkv.weight" in text
    assert "unexpected" not in text


def test_an_extra_tensor_is_named(tied, tmp_path: Path):
    tied["model.layers.1.self_attn.q_norm.weight"] = torch.ones(8)
    text = diff(tied, TIED, tmp_path)
    assert "unexpected  model.layers.*.self_attn.q_norm.weight  1 tensor" in text
    assert "missing" not in text


def test_biases_that_the_model_lacks_are_not_dropped(tied, tmp_path: Path):
    tied.update({f"model.layers.{i}.self_attn.v_proj.bias": torch.ones(16) for i in range(TIED.num_hidden_layers)})
    assert "unexpected  model.layers.*.self_attn.v_proj.bias  2 tensors" in diff(tied, TIED, tmp_path)


def test_a_mis_shaped_tensor_is_named_with_both_shapes(tied, tmp_path: Path):
    tied["model.norm.weight"] = torch.ones(31)
    text = diff(tied, TIED, tmp_path)
    assert "shape       model.norm.weight  1 tensor  is [31], expected [32]" in text


def test_more_layers_than_the_model_has_are_left_over(tmp_path: Path):
    state = reference(replace(TIED, num_hidden_layers=3)).state_dict()
    del state[HEAD]
    assert "unexpected  model.layers.*.mlp.gate_proj.weight" in diff(state, TIED, tmp_path)


def test_a_tied_head_that_is_stored_twice_is_accepted(tied, tmp_path: Path):
    save_tensors({**tied, HEAD: tied[EMBEDDING]}, tmp_path)
    logits = eager_logits(load_model("llama", tmp_path, TIED))
    torch.testing.assert_close(logits, expected_logits(reference(TIED)), atol=1e-4, rtol=1e-4)


def test_an_untied_model_without_a_head_is_refused(untied, tmp_path: Path):
    del untied[HEAD]
    assert "missing     lm_head.weight  1 tensor" in diff(untied, UNTIED, tmp_path)


def test_rotary_frequencies_that_old_checkpoints_store_are_no_weights(tied, tmp_path: Path):
    tied["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    resolve("llama", save_tensors(tied, tmp_path), TIED)


def test_a_gguf_with_rotary_factors_is_refused_rather_than_run_without_them(tmp_path: Path):
    file = tmp_path / "scaled.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tensor("rope_freqs.weight", torch.full((4,), 2.0).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError) as caught:
        resolve("llama", file, TIED)
    assert "unexpected  rope_freqs.weight" in str(caught.value)


def test_other_names_are_recognised_for_what_they_are(tied, tmp_path: Path):
    renamed = {name.replace("model.embed_tokens", "tok_embeddings"): tensor for name, tensor in tied.items()}
    text = diff(renamed, TIED, tmp_path)
    assert "missing     model.embed_tokens.weight" in text
    assert "unexpected  tok_embeddings.weight" in text
