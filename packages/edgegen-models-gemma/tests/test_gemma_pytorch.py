"""Gemma's own PyTorch checkpoints: the same parameters as from safetensors, and an export from a folder of Kaggle's."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from gemma_checkpoints import CONFIGS, SAVERS, reference, save_gemma_pytorch

from edgegen.cli import main
from edgegen.errors import CheckpointError
from edgegen.testing.plugins import installed, make_distribution
from edgegen.weights import open_checkpoint
from edgegen_layers.testing import resolve
from edgegen_models_gemma.checkpoint_config import read_config

PLUGIN = """
from edgegen import hookimpl
from edgegen.descriptors import ModelFamily, Variant

@hookimpl
def edgegen_model_families():
    gemma = "edgegen_models_gemma.gemma"
    row = dict(parameters=31_904, context_length=64, source="nowhere/tiny", license="gemma")
    yield ModelFamily(
        name="tinygemma", summary="a Gemma for tests", config="tiny_gemma_size:config", builder=f"{gemma}:build",
        read_config="edgegen_models_gemma.checkpoint_config:read_config",
        variants=(Variant(name="tinygemma-it", stop_tokens=("<end_of_turn>",), **row),),
        weight_maps={"gemma-pytorch": f"{gemma}_pytorch:gemma_pytorch"},
    )
"""
SIZE = """
from edgegen_models_gemma.gemma import GemmaConfig

def config(name):
    if name != "tinygemma-it":
        raise KeyError(name)
    return GemmaConfig(
        vocab_size=48, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=64, rope_theta=500.0, sliding_window=4,
        query_pre_attn_scalar=10.0, attn_logit_softcapping=2.0, final_logit_softcapping=3.0, post_norms=True,
        layer_types=("sliding_attention", "full_attention", "sliding_attention"),
    )
"""


@pytest.mark.parametrize("size", CONFIGS)
def test_parameters_are_those_of_the_safetensors(size: str, tmp_path: Path):
    theirs, config = reference(size), CONFIGS[size]
    expected = resolve("gemma", SAVERS["one file"](theirs, tmp_path), config)
    (tmp_path / "own").mkdir()
    own = resolve("gemma", save_gemma_pytorch(theirs, tmp_path / "own"), config)
    assert set(own) == set(expected)
    for name, parameter in own.items():
        np.testing.assert_array_equal(parameter.read(), expected[name].read())


def test_the_text_part_of_a_checkpoint_that_sees_images_is_found(tmp_path: Path):
    file = save_gemma_pytorch(reference("gemma3-scaled"), tmp_path)
    state = torch.load(file, weights_only=True)["model_state_dict"]
    state["text_token_embedder.weight"] = state.pop("embedder.weight")
    for name in (
        "siglip_vision_model.encoder_norm.weight",
        "mm_input_projection.weight",
        "mm_soft_embedding_norm.weight",
    ):
        state[name] = torch.ones(8)
    torch.save({"model_state_dict": state}, file)
    resolve("gemma", file, CONFIGS["gemma3-scaled"])  # refuses names that are missing or left over


def test_it_states_no_configuration(tmp_path: Path):
    assert read_config(open_checkpoint(save_gemma_pytorch(reference("gemma"), tmp_path))) is None


def test_a_checkpoint_of_another_generation_is_refused(tmp_path: Path):
    file = save_gemma_pytorch(reference("gemma2"), tmp_path)
    with pytest.raises(CheckpointError, match="does not match"):
        resolve("gemma", file, CONFIGS["gemma3"])


def test_a_folder_of_kaggles_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder, plugins = tmp_path / "kaggle", tmp_path / "plugins"
    folder.mkdir()
    plugins.mkdir()
    save_gemma_pytorch(reference("gemma2"), folder)
    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over the lazy dog"] * 20),
        model_writer=pieces,
        vocab_size=48,
        hard_vocab_limit=False,
        **{"pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3},
        user_defined_symbols=["<end_of_turn>"],
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(pieces.getvalue())
    make_distribution(plugins, "edgegen-tinygemma", PLUGIN, files={"tiny_gemma_size.py": SIZE})
    options = ["--scheme", "fp32", "--prefill-lengths", "8", "--cache-length", "32", "--json"]
    with installed(plugins):
        code = main(["export", "tinygemma-it", "--checkpoint", str(folder), "-o", str(tmp_path / "out"), *options])
    captured = capsys.readouterr()
    assert not code, captured.err + captured.out
    assert json.loads(captured.out)["schema_version"]
    assert (tmp_path / "out" / "model.tflite").is_file()
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == pieces.getvalue()
