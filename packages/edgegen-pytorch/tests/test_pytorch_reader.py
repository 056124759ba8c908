"""PyTorch checkpoints: values as torch reads them, types, views, shards, and where the state dict is."""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_files import as_float32, little_memory, save, write_shards
from sentencepiece import sentencepiece_model_pb2

from edgegen.errors import CheckpointError, UnsupportedError, UsageError
from edgegen_pytorch.dtypes import DECODERS
from edgegen_pytorch.reader import detect, open_checkpoint

WEIGHT = torch.arange(24.0).reshape(6, 4)

DTYPES = ["bfloat16", "float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64", "bool"]

both_formats = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])


def check(path: Path) -> None:
    """Every tensor, as a whole and row by row, against what torch loads."""
    tensors = open_checkpoint(path).tensors
    expected = torch.load(path, weights_only=True)
    assert list(tensors) == list(expected)
    for name, tensor in tensors.items():
        values = as_float32(expected[name])
        assert tensor.shape == values.shape
        np.testing.assert_array_equal(tensor.read(), values)
        rows = [tensor.read_rows(row, row + 1) for row in range(tensor.rows)]
        if rows:
            np.testing.assert_array_equal(np.concatenate(rows).reshape(values.shape), values)


@both_formats
def test_a_state_dict_of_a_module_reads_as_torch_reads_it(legacy: bool, tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))  # has a counter without dimensions
    check(save(tmp_path / "m.pt", module.state_dict(), legacy))


@both_formats
@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt"])
def test_a_file_and_the_folder_that_holds_it_open_alike(suffix: str, legacy: bool, tmp_path: Path) -> None:
    file = save(tmp_path / f"weights{suffix}", {"w": WEIGHT}, legacy)
    for path in (file, tmp_path):
        assert detect(path)
        checkpoint = open_checkpoint(path)
        assert (checkpoint.path, checkpoint.files) == (path, (file,))
        assert (checkpoint.format, checkpoint.naming) == ("pytorch", "huggingface")
        np.testing.assert_array_equal(checkpoint.tensors["w"].read_rows(2, 5), WEIGHT[2:5])
    with pytest.raises(ValueError, match="which has 6"):
        checkpoint.tensors["w"].read_rows(4, 7)


@both_formats
@pytest.mark.parametrize("dtype", DTYPES)
def test_storage_types_become_float32(dtype: str, legacy: bool, tmp_path: Path) -> None:
    values = torch.tensor([[0.0, 1.0], [-3.5, 100.25]]).to(getattr(torch, dtype))
    check(save(tmp_path / "m.bin", {"w": values}, legacy))


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64"])
def test_wide_unsigned_integers_become_float32(dtype: str, tmp_path: Path) -> None:
    file = save(tmp_path / "m.bin", {"w": torch.tensor([1, 2, 60_000]).to(getattr(torch, dtype))})
    np.testing.assert_array_equal(open_checkpoint(file).tensors["w"].read(), [1, 2, 60_000])


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_each_number_of_eight_bits_is_that_of_torch(dtype: torch.dtype, tmp_path: Path) -> None:
    check(save(tmp_path / "m.bin", {"w": torch.arange(256, dtype=torch.uint8).view(dtype)}))


@pytest.mark.parametrize("dtype", ["complex64", "complex32", "complex128", "float8_e5m2fnuz"])
def test_other_types_are_refused_when_read_not_when_listed(dtype: str, tmp_path: Path) -> None:
    file = save(tmp_path / "m.bin", {"w": WEIGHT, "c": torch.zeros(3, 2, dtype=getattr(torch, dtype))})
    tensors = open_checkpoint(file).tensors
    assert tensors["w"].read().sum() == 276
    assert tensors["c"].shape == (3, 2)
    with pytest.raises(UnsupportedError, match="cannot read") as caught:
        tensors["c"].read_rows(0, 0)
    assert ", ".join(DECODERS) in caught.value.details[0]


def test_sparse_tensors_are_explained(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="sparse"):
        open_checkpoint(save(tmp_path / "m.bin", {"w": torch.eye(3).to_sparse()}))


VIEWS = {
    "transposed": WEIGHT.t(),
    "columns": WEIGHT[:, 1:3],
    "every other row": WEIGHT[::2],
    "rows from the middle": WEIGHT[2:4],
    "permuted": torch.arange(60.0).reshape(3, 4, 5).permute(2, 0, 1),
    "repeated": torch.arange(4.0).expand(3, 4),
    "scalar": WEIGHT[1, 2],
    "empty": torch.empty(0, 4),
    "no columns": torch.empty(3, 0),
    "one": torch.tensor(3.0),
    "parameter": torch.nn.Parameter(WEIGHT),
}


@both_formats
@pytest.mark.parametrize("name", VIEWS)
def test_views_read_as_torch_reads_them(name: str, legacy: bool, tmp_path: Path) -> None:
    check(save(tmp_path / "m.bin", {"w": VIEWS[name]}, legacy))


@both_formats
def test_views_that_share_a_storage_are_stored_once(legacy: bool, tmp_path: Path) -> None:
    big = torch.arange(20_000.0).reshape(100, 200)
    file = save(tmp_path / "m.bin", {"all": big, "same": big, "half": big[50:], "turned": big.t()}, legacy)
    assert file.stat().st_size < 90_000
    check(file)


@pytest.mark.parametrize("scattered", [False, True])
def test_large_views_are_read_in_parts(scattered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgegen_pytorch.views._BLOCK_BYTES", 64)
    big = torch.arange(7 * 11 * 13.0).reshape(7, 11, 13).permute(2, 1, 0)
    check(save(tmp_path / "m.bin", {"w": big[::2, :, 1:5] if scattered else big}))


def test_a_tensor_with_attributes_of_its_own_is_a_tensor(tmp_path: Path) -> None:
    weight = WEIGHT.clone()
    weight.note = "kept"  # type: ignore[attr-defined]
    check(save(tmp_path / "m.bin", {"w": weight}))


def test_reading_a_slice_of_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    file = save(tmp_path / "m.bin", {"w": torch.zeros(16_384, 1024), "t": torch.zeros(4, 1024).t()})
    assert file.stat().st_size > 64 * 2**20
    with little_memory(2 * 2**20):
        tensors = open_checkpoint(file).tensors
        tensors["w"].read_rows(8000, 8100)
        tensors["t"].read_rows(100, 200)


# --- where the state dict is ------------------------------------------------------------------------------------


@both_formats
@pytest.mark.parametrize("key", ["model_state_dict", "state_dict", "model", "module", "anything"])
def test_a_state_dict_is_found_one_level_down(key: str, legacy: bool, tmp_path: Path) -> None:
    optimizer = {"state": {0: {"exp_avg": WEIGHT}}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.95)}]}
    company = {"epoch": 3, "loss": 0.5, "optimizer": optimizer, "tags": {"a"}, "seen": Counter("aab"), "none": None}
    file = save(tmp_path / "m.ckpt", {**company, key: OrderedDict(w=WEIGHT, step=7)}, legacy)
    tensors = open_checkpoint(file).tensors
    assert list(tensors) == ["w"]
    np.testing.assert_array_equal(tensors["w"].read(), WEIGHT)


def test_of_several_the_usual_key_is_the_models(tmp_path: Path) -> None:
    content: dict[str, Any] = {"ema": {"w": WEIGHT}, "model": {"w": WEIGHT + 1}, "step": torch.tensor(3)}
    tensors = open_checkpoint(save(tmp_path / "m.pt", content)).tensors
    np.testing.assert_array_equal(tensors["w"].read(), WEIGHT + 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"ema": {"w": WEIGHT}, "other": {"w": WEIGHT}}, "holds 2 dicts of tensors"),
        ({"epoch": 3}, "holds no tensors"),
        ({}, "holds no tensors"),
        ([WEIGHT], "no state dict"),
        (WEIGHT, "no state dict"),
    ],
    ids=["two", "none", "empty", "list", "tensor"],
)
def test_what_has_no_state_dict_is_explained(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        open_checkpoint(save(tmp_path / "m.pt", content))
    assert "state_dict" in str(caught.value.hint)


# --- folders ----------------------------------------------------------------------------------------------------


def test_shards_open_from_folder_and_index(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    for path in (tmp_path, index):
        assert detect(path)
        checkpoint = open_checkpoint(path)
        assert set(checkpoint.tensors) == {"a", "b"}
        assert len(checkpoint.files) == 3
        np.testing.assert_array_equal(checkpoint.tensors["b"].read_rows(0, 1), [[100, 101]])


def test_shards_that_are_missing_or_elsewhere_are_named(tmp_path: Path) -> None:
    index = write_shards(tmp_path, {"a": "pytorch_model-00001-of-00002.bin", "c": "pytorch_model-00002-of-00002.bin"})
    with pytest.raises(CheckpointError, match="not in their shards"):
        open_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../secret.bin"}}))
    with pytest.raises(CheckpointError, match="outside its folder"):
        open_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "gone-1.bin", "b": "gone-2.bin"}}))
    with pytest.raises(CheckpointError, match="2 of 2 shards") as caught:
        open_checkpoint(tmp_path)
    assert caught.value.details == ("gone-1.bin", "gone-2.bin")


def test_what_trainers_leave_beside_the_weights_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path / "model.bin", {"w": WEIGHT})
    for name in ("training_args.bin", "optimizer.pt", "rng_state_0.pth"):
        save(tmp_path / name, {"x": WEIGHT})
    assert open_checkpoint(tmp_path).files == (tmp_path / "model.bin",)
    save(tmp_path / "other.pt", {"w": WEIGHT})
    with pytest.raises(UsageError, match="holds 2"):
        open_checkpoint(tmp_path)
    save(tmp_path / "pytorch_model.bin", {"w": WEIGHT})
    assert open_checkpoint(tmp_path).files == (tmp_path / "pytorch_model.bin",)


def test_config_and_tokenizer_come_from_the_files_beside(tmp_path: Path) -> None:
    save(tmp_path / "pytorch_model.bin", {"w": WEIGHT})
    (tmp_path / "config.json").write_text('{"hidden_size": 4, "bos_token_id": 1}')
    pieces = sentencepiece_model_pb2.ModelProto()
    for text, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3), ("\u2581a", 1)):
        pieces.pieces.add(piece=text, score=0.0, type=kind)
    (tmp_path / "tokenizer.model").write_bytes(pieces.SerializeToString())
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config["hidden_size"] == 4
    assert {file.name for file in checkpoint.files} == {"pytorch_model.bin", "config.json", "tokenizer.model"}
    found = checkpoint.tokenizer()
    assert found is not None
    assert found.files["tokenizer.model"] == pieces.SerializeToString()
    assert found.bos_token_id == 1


# --- detection --------------------------------------------------------------------------------------------------


def test_safetensors_beside_it_win(tmp_path: Path) -> None:
    file = save(tmp_path / "pytorch_model.bin", {"w": WEIGHT})
    (tmp_path / "model.safetensors").touch()
    assert not detect(tmp_path)
    assert detect(file)


@both_formats
def test_detection_looks_at_names_and_first_bytes(legacy: bool, tmp_path: Path) -> None:
    file = save(tmp_path / "weights", {"w": WEIGHT}, legacy)
    assert detect(file)  # whatever it is called
    assert not detect(tmp_path)
    file.rename(tmp_path / "weights.pt")
    assert detect(tmp_path)


def test_other_files_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"ggml" * 100)
    (tmp_path / "bundle.task").write_bytes(b"PK\x03\x04" * 100)
    for path in (tmp_path, tmp_path / "weights.bin", tmp_path / "bundle.task", tmp_path / "absent.pt"):
        assert not detect(path)
    (tmp_path / "weights.bin").write_bytes(b"PK\x03\x04" * 100)
    assert detect(tmp_path)  # damaged, but called like a checkpoint: opening it says what is wrong
