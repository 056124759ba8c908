from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgegen.errors import UnsupportedError, UsageError
from edgegen_runtime.bundle import ExportedModel

Export = Callable[..., Path]


def test_a_folder_its_model_and_its_manifest_open_alike(export: Export) -> None:
    folder = export()
    exported = ExportedModel.open(folder)
    assert exported == ExportedModel.open(folder / "model.tflite") == ExportedModel.open(folder / "manifest.json")
    assert exported.name == "toy-1m"
    assert exported.prefill_lengths == (4, 16)
    assert exported.stop_token_ids == (2,)
    assert exported.tokenizer is not None
    assert exported.tokenizer.file == folder / "tokenizer.json"
    assert exported.chat_template == folder / "chat_template.jinja"


def test_tokenizer_and_template_are_optional(export: Export) -> None:
    exported = ExportedModel.open(export(tokenizer=None, chat_template=None))
    assert exported.tokenizer is None
    assert exported.chat_template is None


def test_another_model_file_beside_the_manifest_is_taken(export: Export) -> None:
    folder = export()
    other = folder / "other.tflite"
    other.write_bytes(b"")
    assert ExportedModel.open(other).model == other


def test_a_bundle_for_another_program_says_which(tmp_path: Path) -> None:
    bundle = tmp_path / "toy.litertlm"
    bundle.write_bytes(b"LITERTLM")
    for path in (bundle, tmp_path):
        with pytest.raises(UnsupportedError, match="LiteRT-LM") as caught:
            ExportedModel.open(path)
        assert f"litert-lm run {bundle}" in str(caught.value.hint)


@pytest.mark.parametrize("missing", ["model.tflite", "tokenizer.json", "chat_template.jinja"])
def test_a_missing_file_is_named(export: Export, missing: str) -> None:
    folder = export()
    (folder / missing).unlink()
    with pytest.raises(UsageError, match=missing) as caught:
        ExportedModel.open(folder)
    assert caught.value.code == "EG703"


def test_a_missing_folder_or_manifest_says_how_to_get_one(export: Export, tmp_path: Path) -> None:
    folder = export()
    (folder / "manifest.json").unlink()
    (folder / "weights.gguf").write_bytes(b"")
    for path in (tmp_path / "nowhere", folder, folder / "model.tflite", folder / "weights.gguf"):
        with pytest.raises(UsageError) as caught:
            ExportedModel.open(path)
        assert caught.value.code == "EG701"
        assert caught.value.hint


def test_a_later_schema_version_is_unsupported(export: Export) -> None:
    with pytest.raises(UnsupportedError, match="schema version 3"):
        ExportedModel.open(export(schema_version=3))


@pytest.mark.parametrize(
    ("kind", "task", "fields"),
    [
        (None, "text-generation", {}),  # the first exports did not say
        ("decoder", "text-generation", {}),
        ("encoder", "feature-extraction", {"embedding": {"dimensions": 2, "pooling": "cls", "normalized": False}}),
        ("encoder-decoder", "text2text-generation", {"start_token_id": 0}),
    ],
)
def test_folders_of_the_first_schema_version_are_read(
    kind: str | None, task: str, fields: dict[str, Any], export: Export
) -> None:
    exported = ExportedModel.open(export(schema_version=1, task=None, kind=kind, rewindable_tokens=7, **fields))
    assert (exported.task, exported.max_rollback_tokens, exported.stop_token_ids) == (task, 7, (2,))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"cache_length": "1280"}, "cache_length should be of type int"),
        ({"cache_length": 0}, "cache_length should be positive"),
        ({"cache_length": True}, "cache_length should be of type int"),
        ({"stop_token_ids": ["</s>"]}, "stop_token_ids should be a list of integers"),
        ({"stop_tokens": [2]}, "stop_tokens should hold strings"),
        ({"max_rollback_tokens": -3}, "max_rollback_tokens should be 0 or more"),
        ({"name": None}, "name should be of type str"),
        ({"tokenizer": {"bos_token_id": 1}}, r"tokenizer\.file is missing"),
        ({"tokenizer": {"file": "tokenizer.json", "add_bos": True}}, "bos_token_id is missing"),
        ({"model": "../model.tflite"}, "plain file name"),
        ({"chat_template": "/etc/passwd"}, "plain file name"),
    ],
)
def test_a_damaged_field_is_named(export: Export, fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        ExportedModel.open(export(**fields))
    assert caught.value.code == "EG702"


@pytest.mark.parametrize("content", ["", "{", "[1]", "\udcff"])
def test_a_manifest_that_is_no_json_object_is_refused(export: Export, content: str) -> None:
    folder = export()
    (folder / "manifest.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UsageError) as caught:
        ExportedModel.open(folder)
    assert caught.value.code == "EG702"


def test_a_field_that_is_missing_is_named(export: Export) -> None:
    folder = export()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["scheme"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="scheme is missing"):
        ExportedModel.open(folder)
