"""BERT checkpoints as they are published, against transformers: eager, and as a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_checkpoints import TEXT, add_modules, bert, pooled, save_as_first_published, sources

from edgegen.api import Converter
from edgegen.errors import CheckpointError, UsageError
from edgegen.export.tasks.feature_extraction import padded
from edgegen.litert.session import Session
from edgegen.weights.hyperparameters import differences
from edgegen_layers.testing import load_published, save, save_tensors, stated_config
from edgegen_models_encoders.bert import config

SAVERS = {"plain": save, "as first published": save_as_first_published}
WAYS = [("mean", False), ("mean", True), ("cls", False), ("cls", True)]
MODES = {"mean": "mean_tokens", "cls": "cls_token"}


@pytest.mark.parametrize(("pooling", "normalize"), WAYS)
@pytest.mark.parametrize("saver", SAVERS)
def test_vectors_and_embedding_are_those_of_transformers(saver: str, pooling: str, normalize: bool, tmp_path: Path):
    theirs = bert()
    folder = add_modules(SAVERS[saver](theirs, tmp_path), MODES[pooling], normalize=normalize)
    model = load_published("bert", folder)
    expected = theirs(torch.tensor([TEXT])).last_hidden_state[0]
    for length in (len(TEXT), 16):
        inputs = {name: torch.from_numpy(array) for name, array in padded(TEXT, length).items()}
        got = model(**inputs)
        torch.testing.assert_close(got["token_vectors"][0, : len(TEXT)], expected, atol=1e-5, rtol=1e-5)
        embedding = pooled(theirs, TEXT, pooling, normalize=normalize)
        torch.testing.assert_close(got["embedding"][0], embedding, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("scheme", "tolerance"), [("fp32", 1e-5), ("int8-channel", 0.1)])
@pytest.mark.parametrize(("pooling", "normalize"), [("mean", False), ("cls", True)])
def test_the_exported_file_gives_them_too(pooling: str, normalize: bool, scheme: str, tolerance: float, tmp_path: Path):
    theirs = bert()
    folder = add_modules(save(theirs, tmp_path), MODES[pooling], normalize=normalize)
    model, weights = sources("bert", folder)
    converted = Converter(model.signatures([10, 16])).convert(scheme=scheme, parameters=weights)
    session = Session(converted.export(tmp_path / "model.tflite"), threads=2)
    expected = pooled(theirs, TEXT, pooling, normalize=normalize).numpy()
    for length in (10, 16):
        got = session.run(f"encode_{length}", padded(TEXT, length))["embedding"][0]
        assert np.linalg.norm(got - expected) / np.linalg.norm(expected) < tolerance


def test_other_activations_are_known(tmp_path: Path):
    theirs = bert(hidden_act="gelu_new")
    got = load_published("bert", save(theirs, tmp_path))(torch.tensor([TEXT]), torch.ones(1, len(TEXT)))
    expected = theirs(torch.tensor([TEXT])).last_hidden_state
    torch.testing.assert_close(got["token_vectors"], expected, atol=1e-5, rtol=1e-5)


def test_pooling_that_no_file_states_is_no_difference(tmp_path: Path):
    stated = stated_config("bert", save(bert(), tmp_path))
    assert (stated.pooling, stated.normalize) == (None, None)
    own, other = config("bge-small-en-v1.5"), config("e5-small-v2")
    assert differences(own, own) == []
    assert [line.split()[0] for line in differences(own, other)] == ["pooling"]
    assert all(not line.startswith(("pooling", "normalize")) for line in differences(own, stated))


def test_the_newer_way_of_stating_pooling(tmp_path: Path):
    folder = add_modules(save(bert(), tmp_path), "none", normalize=False)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    assert stated_config("bert", folder).pooling == "cls"


@pytest.mark.parametrize("mode", ["max_tokens", "none"])
def test_pooling_that_is_not_known_is_refused(mode: str, tmp_path: Path):
    with pytest.raises(CheckpointError, match="in a way that this family does not know") as caught:
        stated_config("bert", add_modules(save(bert(), tmp_path), mode, normalize=True))
    assert caught.value.code == "EG207"


def test_a_layer_after_pooling_is_refused(tmp_path: Path):
    folder = add_modules(save(bert(), tmp_path), "mean_tokens", normalize=False)
    parts = json.loads((folder / "modules.json").read_text())
    parts.append({"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(parts))
    with pytest.raises(CheckpointError) as caught:
        stated_config("bert", folder)
    assert "Dense" in caught.value.details[0]


@pytest.mark.parametrize("path", ["../secrets", "/etc", "a/../b"])
def test_modules_outside_the_folder_are_refused(path: str, tmp_path: Path):
    folder = save(bert(), tmp_path)
    (folder / "modules.json").write_text(json.dumps([{"path": path, "type": "x.Pooling"}]))
    with pytest.raises(CheckpointError, match=r"modules\.json"):
        stated_config("bert", folder)


@pytest.mark.parametrize(
    "change",
    [
        {"position_embedding_type": "relative_key"},
        {"hidden_act": "tanh"},
        {"is_decoder": True},
        {"model_type": "roberta"},
        {"new_kind_of_attention": 3},
    ],
)
def test_what_the_family_does_not_know_is_refused(change: dict[str, object], tmp_path: Path):
    theirs = bert()
    save_tensors({"x": torch.zeros(1)}, tmp_path, {**theirs.config.to_dict(), **change})
    with pytest.raises(CheckpointError) as caught:
        stated_config("bert", tmp_path)
    assert caught.value.code == "EG207"
    assert next(iter(change)) in str(caught.value)


def test_weights_that_are_left_over_are_refused(tmp_path: Path):
    theirs = bert()
    save_tensors({**theirs.state_dict(), "adapter.weight": torch.zeros(2, 2)}, tmp_path, theirs.config.to_dict())
    with pytest.raises(CheckpointError, match=r"unexpected +adapter\.weight") as caught:
        sources("bert", tmp_path)
    assert caught.value.code == "EG204"


def test_a_text_longer_than_the_table_of_positions_is_refused(tmp_path: Path):
    model, _ = sources("bert", save(bert(), tmp_path))
    with pytest.raises(UsageError, match="16 positions"):
        model.signatures([8, 17])
