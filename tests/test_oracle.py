"""Exports are compared with transformers, which reads the checkpoint by itself: a misreading shows."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import transformers

from edgegen.errors import VerificationError
from edgegen.export.results import OracleVerification
from edgegen.weights import open_checkpoint
from edgegen.weights.storage import Tolerance
from edgegen_huggingface import transformers_oracle
from edgegen_layers.families import llama_checkpoint_config
from edgegen_layers.testing import random_model

SCHEME = Tolerance(logits=0.1, top1=0.5)


def figures(**changes):
    return OracleVerification(oracle="o", tokens=8, model_error=1e-6, file_error=0.05, top1=0.9) if not changes else (
        OracleVerification(**{**vars(figures()), **changes})
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_error": 0.02}, "float model"),
        ({"model_error": float("nan")}, "float model"),
        ({"file_error": 0.3}, "file"),
        ({"file_error": float("nan")}, "file"),
        ({"tokenizer": "3 ids where o has 4"}, "tokenizer"),
    ],
)
def test_what_differs_fails(changes, says):
    figures().check("int8", SCHEME)
    with pytest.raises(VerificationError, match="disagrees with o") as caught:
        figures(**changes).check("int8", SCHEME)
    assert any(line.startswith(says) for line in caught.value.details)


@pytest.fixture
def export(edgegen, checkpoint, tmp_path):
    def run(*options, source=checkpoint, name="tiny-100k"):
        lengths = ("--prefill-lengths", 4, "--cache-length", 48)
        return edgegen("export", name, "--checkpoint", source, "-o", tmp_path / "out", *lengths, *options)

    return run


def test_an_export_is_compared_by_default_and_says_with_what(export, tmp_path):
    result = export()
    assert result.code == 0, result.err
    assert f"transformers {transformers.__version__}: float model error" in result.err
    record = json.loads((tmp_path / "out" / "export.json").read_text())["oracle"]
    assert record["oracle"].startswith("transformers")
    assert record["model_error"] < 1e-4
    assert f"transformers {transformers.__version__}" in (tmp_path / "out" / "README.md").read_text()


def test_none_is_none(export, tmp_path):
    assert "transformers" not in export("--verify-against", "none").err
    assert json.loads((tmp_path / "out" / "export.json").read_text())["oracle"] is None


def test_an_unknown_oracle_is_refused_first(export):
    result = export("--verify-against", "tranformers")
    assert result.code == 2
    assert "did you mean transformers?" in result.err


def test_an_export_is_compared_again(export, edgegen, tmp_path):
    assert export("--verify-against", "none").code == 0
    result = edgegen("verify", tmp_path / "out", "--against", "transformers", "--json")
    assert result.json["oracle"]["model_error"] < 1e-4


def test_a_misread_configuration_is_found(export, monkeypatch):
    read = llama_checkpoint_config.read_rope
    monkeypatch.setattr(
        llama_checkpoint_config, "read_rope", lambda *args, **kwargs: read(*args, **kwargs) | {"rope_theta": 500.0}
    )
    result = export(name="tiny")
    assert result.code == 5
    assert "disagrees with transformers" in result.err
    assert "float model" in result.err


def test_a_model_that_it_does_not_know_is_no_failure(export, checkpoint, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in checkpoint.iterdir():
        if path.name != "config.json":
            (folder / path.name).write_bytes(path.read_bytes())
    assert "none: " in export(source=folder).err
    result = export("--verify-against", "transformers", source=folder)
    assert result.code == 3
    assert "has no config.json" in result.err


def test_weights_that_do_not_fit_into_memory_are_streamed_from_disk(checkpoint, monkeypatch):
    opened = open_checkpoint(checkpoint)
    whole = transformers_oracle.open_model(opened, "text-generation", None, None, asked=True)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=400_000))
    streamed = transformers_oracle.open_model(opened, "text-generation", None, None, asked=True)
    assert "disk" in streamed._model.hf_device_map.values()
    tokens = {"tokens": whole.tokens}
    np.testing.assert_array_equal(streamed.run(tokens)["logits"], whole.run(tokens)["logits"])


@pytest.mark.parametrize(
    ("family", "model", "lengths"),
    [
        (
            "bert",
            lambda: transformers.BertModel(transformers.BertConfig(**SMALL, type_vocab_size=2)),
            ("--encode-lengths", 16),
        ),
        ("t5", lambda: transformers.T5ForConditionalGeneration(T5), ("--encode-lengths", 16, "--cache-length", 32)),
    ],
)
def test_encoders_and_encoder_decoders_are_compared_too(family, model, lengths, edgegen, tmp_path):
    random_model(model()).save_pretrained(tmp_path / "model")
    options = ("--checkpoint", tmp_path / "model", "-o", tmp_path / "out", "--scheme", "fp32", *lengths)
    result = edgegen("export", family, *options)
    assert result.code == 0, result.err
    record = json.loads((tmp_path / "out" / "export.json").read_text())["oracle"]
    assert record["model_error"] < 1e-4
    assert record["file_error"] < 1e-3
    assert np.isfinite(record["top1"])


SMALL = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 64,
}  # fmt: skip
T5 = transformers.T5Config(
    vocab_size=60, d_model=32, d_kv=8, d_ff=40, num_layers=2, num_heads=4, decoder_start_token_id=0, n_positions=64
)
