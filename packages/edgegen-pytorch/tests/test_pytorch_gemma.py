"""Gemma's own checkpoints: told from others, 8-bit weights, and a tokenizer with nothing beside it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from pytorch_files import save

from edgegen.errors import CheckpointError
from edgegen.weights import open_checkpoint
from edgegen_pytorch import gemma, reader

QKV = "model.layers.0.self_attn.qkv_proj.weight"
WEIGHTS = {
    "embedder.weight": torch.arange(12.0).reshape(4, 3),
    QKV: torch.arange(6.0).reshape(2, 3),
    "freqs_cis": torch.ones(4, 2, dtype=torch.complex64),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "model.ckpt", {"model_state_dict": WEIGHTS})
    return tmp_path


@pytest.fixture(scope="module")
def pieces() -> bytes:
    """A SentencePiece model with ids in Gemma's order: pad, eos, bos, unk."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over the lazy dog"] * 20),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        user_defined_symbols=["<end_of_turn>"],
        minloglevel=2,
    )
    return model.getvalue()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_checkpoint_is_of_exactly_one_of_the_two_formats(legacy: bool, tmp_path: Path) -> None:
    own = save(tmp_path / "own.ckpt", {"model_state_dict": WEIGHTS}, legacy)
    phi = save(tmp_path / "phi.bin", {QKV: WEIGHTS[QKV], "model.embed_tokens.weight": WEIGHTS[QKV]}, legacy)
    for path, is_gemma in ((own, True), (phi, False)):
        assert gemma.detect(path) == is_gemma
        assert reader.detect(path) != is_gemma
    checkpoint = open_checkpoint(own)
    assert (checkpoint.format, checkpoint.naming) == ("gemma-pytorch", "gemma-pytorch")
    assert set(checkpoint.tensors) == set(WEIGHTS)


def test_shards_are_told_by_their_index(tmp_path: Path) -> None:
    for number, name in enumerate(WEIGHTS):
        save(tmp_path / f"{number}.bin", {name: WEIGHTS[name]})
    index = {name: f"{number}.bin" for number, name in enumerate(WEIGHTS)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    assert set(open_checkpoint(tmp_path).tensors) == set(WEIGHTS)
    assert open_checkpoint(tmp_path).format == "gemma-pytorch"


def test_the_configuration_is_empty_unless_it_is_that_of_transformers(folder: Path) -> None:
    assert open_checkpoint(folder).config == {}
    (folder / "config.json").write_text('{"architecture": "gemma_2", "hidden_size": 3}')
    assert open_checkpoint(folder).config == {}
    (folder / "config.json").write_text('{"model_type": "gemma2", "hidden_size": 3}')
    assert open_checkpoint(folder).config["hidden_size"] == 3


def test_weights_of_eight_bits_are_multiplied_by_the_scales_of_their_rows(tmp_path: Path) -> None:
    weight = torch.arange(-6, 6, dtype=torch.int8).reshape(4, 3)
    scales = torch.tensor([0.5, 1.0, 2.0, -0.25])
    content = {**WEIGHTS, "embedder.weight": weight, "embedder.weight_scaler": scales}
    file = save(tmp_path / "model.ckpt", {"model_state_dict": content})
    tensors = open_checkpoint(file).tensors
    assert set(tensors) == set(WEIGHTS)
    expected = weight * scales[:, None]
    np.testing.assert_array_equal(tensors["embedder.weight"].read(), expected)
    np.testing.assert_array_equal(tensors["embedder.weight"].read_rows(1, 3), expected[1:3])
    content["embedder.weight_scaler"] = scales[:3]
    with pytest.raises(CheckpointError, match="one scale for each row"):
        open_checkpoint(save(file, {"model_state_dict": content}))


def test_a_lone_sentencepiece_model_states_its_tokens(folder: Path, pieces: bytes) -> None:
    assert open_checkpoint(folder).tokenizer() is None
    (folder / "tokenizer.model").write_bytes(pieces)
    found = open_checkpoint(folder).tokenizer()
    assert found is not None
    assert found.files == {"tokenizer.model": pieces}
    assert (found.bos_token_id, found.eos_token_ids, found.add_bos) == (2, (1,), True)


def test_what_other_files_state_of_tokens_stands(folder: Path, pieces: bytes) -> None:
    (folder / "tokenizer.model").write_bytes(pieces)
    (folder / "generation_config.json").write_text('{"bos_token_id": 2, "eos_token_id": [1, 7]}')
    found = open_checkpoint(folder).tokenizer()
    assert found is not None
    assert found.eos_token_ids == (1, 7)


def test_a_damaged_sentencepiece_model_is_a_checkpoint_error(folder: Path) -> None:
    (folder / "tokenizer.model").write_bytes(b"not pieces")
    with pytest.raises(CheckpointError, match=r"tokenizer.model"):
        open_checkpoint(folder).tokenizer()
