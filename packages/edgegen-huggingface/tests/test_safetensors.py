"""safetensors checkpoints: laziness, storage types, shards, damage, and the files beside the weights."""

from __future__ import annotations

import contextlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgegen.errors import CheckpointError, UnsupportedError, UsageError
from edgegen_huggingface.safetensors import detect, open_checkpoint

WEIGHT = np.arange(24, dtype=np.float32).reshape(6, 4)


def write_raw(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    """A safetensors file written by hand, for types numpy lacks."""
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    head = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)
    return path


def write_shards(folder: Path, index: dict[str, str] | None = None) -> Path:
    save_file({"a": WEIGHT}, folder / "model-00001-of-00002.safetensors")
    save_file({"b": WEIGHT + 100}, folder / "model-00002-of-00002.safetensors")
    path = folder / "model.safetensors.index.json"
    mapping = index or {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    path.write_text(json.dumps({"metadata": {}, "weight_map": mapping}))
    return path


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_file_and_the_folder_that_holds_it_open_alike(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"w": WEIGHT}, file)
    for path in (file, tmp_path):
        checkpoint = open_checkpoint(path)
        assert checkpoint.path == path
        assert checkpoint.files == (file,)
        assert (checkpoint.format, checkpoint.naming) == ("safetensors", "huggingface")
        assert checkpoint.tensors["w"].shape == (6, 4)
        np.testing.assert_array_equal(checkpoint.tensors["w"].read(), WEIGHT)


def test_rows_are_read_as_float32_slices(tmp_path: Path) -> None:
    save_file({"w": WEIGHT, "s": np.array(3, np.float32)}, tmp_path / "model.safetensors")
    tensors = open_checkpoint(tmp_path).tensors
    np.testing.assert_array_equal(tensors["w"].read_rows(2, 5), WEIGHT[2:5])
    assert tensors["w"].read_rows(3, 3).shape == (0, 4)
    assert tensors["s"].rows == 1
    np.testing.assert_array_equal(tensors["s"].read_rows(0, 1), [3.0])
    with pytest.raises(ValueError, match="which has 6"):
        tensors["w"].read_rows(4, 7)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i2", "i4", "i8", "?"])
def test_numpy_storage_types_become_float32(tmp_path: Path, dtype: str) -> None:
    values = np.array([[0, 1], [3, 100]]).astype(dtype)
    save_file({"w": values}, tmp_path / "model.safetensors")
    rows = open_checkpoint(tmp_path).tensors["w"].read_rows(0, 2)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, values.astype(np.float32))


def test_bfloat16_is_widened_exactly(tmp_path: Path) -> None:
    values = np.array([[1.0, -2.5], [np.inf, 3.140625], [1e-38, -0.0]], np.float32)
    raw = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    write_raw(tmp_path / "model.safetensors", {"w": ("BF16", [3, 2], raw)})
    tensor = open_checkpoint(tmp_path).tensors["w"]
    expected = (values.view(np.uint32) & 0xFFFF0000).view(np.float32)
    np.testing.assert_array_equal(tensor.read_rows(1, 3), expected[1:])
    assert (tensor.dtype, tensor.nbytes) == ("BF16", 12)


def test_an_unreadable_storage_type_is_refused_when_read_not_when_listed(tmp_path: Path) -> None:
    write_raw(tmp_path / "model.safetensors", {"w": ("F8_E4M3", [2, 2], bytes(4))})
    tensor = open_checkpoint(tmp_path).tensors["w"]
    with pytest.raises(UnsupportedError, match="F8_E4M3") as caught:
        tensor.read_rows(0, 0)
    assert caught.value.hint


def test_shards_open_from_folder_and_index(tmp_path: Path) -> None:
    index = write_shards(tmp_path)
    for path in (tmp_path, index):
        checkpoint = open_checkpoint(path)
        assert set(checkpoint.tensors) == {"a", "b"}
        assert len(checkpoint.files) == 3
        np.testing.assert_array_equal(checkpoint.tensors["b"].read_rows(0, 1), WEIGHT[:1] + 100)


def test_missing_shards_are_all_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(CheckpointError, match="2 of 2 shards") as caught:
        open_checkpoint(tmp_path)
    assert len(caught.value.details) == 2


def test_a_listed_tensor_that_its_shard_lacks_is_an_error(tmp_path: Path) -> None:
    write_shards(tmp_path, {"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"})
    with pytest.raises(CheckpointError, match="not in their shards") as caught:
        open_checkpoint(tmp_path)
    assert caught.value.details == ("c (in model-00002-of-00002.safetensors)",)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "..\\x", "a/b.safetensors", "C:x", "..", ""])
def test_an_index_cannot_reach_outside_its_folder(tmp_path: Path, name: str) -> None:
    write_shards(tmp_path, {"a": name})
    with pytest.raises(CheckpointError, match="outside its folder"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": 1}}',
        "[" * 100_000,
    ],
)
def test_a_damaged_index_is_an_error(tmp_path: Path, text: str) -> None:
    write_shards(tmp_path).write_text(text)
    with pytest.raises(CheckpointError, match=r"index.json"):
        open_checkpoint(tmp_path)


def test_several_files_without_index_need_a_choice(tmp_path: Path) -> None:
    save_file({"w": WEIGHT}, tmp_path / "a.safetensors")
    save_file({"w": WEIGHT}, tmp_path / "b.safetensors")
    with pytest.raises(UsageError, match=r"no model.safetensors.index.json"):
        open_checkpoint(tmp_path)


def test_every_truncation_is_a_checkpoint_error(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"w": WEIGHT, "v": WEIGHT}, file)
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"model.safetensors") as caught:
            open_checkpoint(file)
        assert caught.value.hint


def test_bit_flips_in_the_header_never_escape(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"w": WEIGHT, "v": WEIGHT}, file)
    whole = file.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[random.integers(0, len(whole) - 2 * WEIGHT.nbytes)] ^= 1 << random.integers(0, 8)
        file.write_bytes(damaged)
        with contextlib.suppress(CheckpointError, UnsupportedError):
            for tensor in open_checkpoint(file).tensors.values():
                tensor.read()


def test_a_file_that_shrinks_after_opening_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"w": WEIGHT}, file)
    tensor = open_checkpoint(file).tensors["w"]
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="changed after it was opened"):
        tensor.read()


def test_detect_looks_at_names_and_first_bytes(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    save_file({"w": WEIGHT}, file)
    assert detect(file)
    assert not detect(tmp_path)
    write_shards(tmp_path)
    assert detect(tmp_path)
    (tmp_path / "note.txt").write_text("hello")
    assert not detect(tmp_path / "note.txt")
    assert not detect(tmp_path / "absent")


def test_opening_and_reading_import_no_torch(tmp_path: Path) -> None:
    save_file({"w": WEIGHT}, tmp_path / "model.safetensors")
    code = (
        "import sys; from pathlib import Path; from edgegen_huggingface.safetensors import open_checkpoint;"
        f"open_checkpoint(Path({str(tmp_path)!r})).tensors['w'].read(); print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


# --- the files beside the weights ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"w": WEIGHT}, tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", {"hidden_size": 4, "bos_token_id": 1, "eos_token_id": 2})
    flags = {"special": True, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    write_json(
        tmp_path / "tokenizer.json",
        {
            "added_tokens": [{"id": 7, "content": "<bos>", **flags}, {"id": 8, "content": "<end>", **flags}],
            "model": {
                "type": "BPE",
                "vocab": {"a": 0, "</s>": 2, "b": 1, "c": 3, "d": 4, "e": 5, "f": 6},
                "merges": [],
            },
            "post_processor": None,
        },
    )
    return tmp_path


def assets(folder: Path) -> Any:
    found = open_checkpoint(folder).tokenizer()
    assert found is not None
    return found


def test_config_is_read_and_hashed_with_the_rest(folder: Path) -> None:
    checkpoint = open_checkpoint(folder)
    assert checkpoint.config["hidden_size"] == 4
    assert {file.name for file in checkpoint.files} == {"model.safetensors", "config.json", "tokenizer.json"}


def test_no_tokenizer_files_means_none(tmp_path: Path) -> None:
    save_file({"w": WEIGHT}, tmp_path / "model.safetensors")
    assert open_checkpoint(tmp_path).tokenizer() is None
    assert open_checkpoint(tmp_path).config == {}


def test_token_ids_fall_back_to_the_model_config(folder: Path) -> None:
    found = assets(folder)
    assert (found.bos_token_id, found.eos_token_ids, found.add_bos) == (1, (2,), False)


def test_generation_config_and_tokenizer_config_both_end_an_answer(folder: Path) -> None:
    write_json(folder / "generation_config.json", {"eos_token_id": [2, 5]})
    write_json(folder / "tokenizer_config.json", {"eos_token": {"content": "<end>"}, "bos_token": "<bos>"})
    found = assets(folder)
    assert found.eos_token_ids == (2, 5, 8)
    assert found.bos_token_id == 7


def test_a_null_start_token_means_none(folder: Path) -> None:
    write_json(folder / "tokenizer_config.json", {"bos_token": None, "add_bos_token": True})
    found = assets(folder)
    assert (found.bos_token_id, found.add_bos) == (None, False)


def test_the_start_token_rule_comes_from_the_post_processor_whatever_the_config_says(folder: Path) -> None:
    write_json(folder / "tokenizer_config.json", {"bos_token": "<bos>", "add_bos_token": True})
    assert not assets(folder).add_bos
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    template = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [7], "tokens": ["<bos>"]}},
    }
    tokenizer["post_processor"] = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]}
    write_json(folder / "tokenizer.json", tokenizer)
    assert assets(folder).add_bos
    write_json(folder / "tokenizer_config.json", {"bos_token": "<bos>", "add_bos_token": False})
    assert assets(folder).add_bos


def test_chat_templates_are_found_wherever_they_are_kept(folder: Path) -> None:
    assert assets(folder).chat_template is None
    write_json(folder / "chat_template.json", {"chat_template": "json"})
    assert assets(folder).chat_template == "json"
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    write_json(folder / "tokenizer_config.json", {"chat_template": named})
    assert assets(folder).chat_template == "plain"
    (folder / "chat_template.jinja").write_text("file", encoding="utf-8")
    assert assets(folder).chat_template == "file"


def test_damaged_sidecars_are_checkpoint_errors(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tokenizer_config.json"):
        assets(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(CheckpointError, match=r"config.json"):
        open_checkpoint(folder)


def test_an_end_token_that_only_special_tokens_map_names_ends_an_answer(folder: Path) -> None:
    write_json(folder / "special_tokens_map.json", {"eos_token": {"content": "<end>"}, "pad_token": "a"})
    found = assets(folder)
    assert found.eos_token_ids == (2, 8)
    assert found.special_tokens == {"eos_token": "<end>", "pad_token": "a"}
    assert found.special_ids["<end>"] == 8
    # As in transformers, the file does not count where tokenizer_config.json lists the added tokens.
    write_json(folder / "tokenizer_config.json", {"added_tokens_decoder": {}})
    assert assets(folder).eos_token_ids == (2,)
