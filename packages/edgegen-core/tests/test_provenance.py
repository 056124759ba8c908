"""``export.json`` is read back, and so is what the first schema version wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgegen.errors import ErrorCode, UsageError
from edgegen.export.reproduce import reproduce
from edgegen.genai.provenance import is_export, read_provenance

FIRST = {
    "schema_version": 1,
    "checkpoint": {"path": "weights.gguf"},
    "equalization": {"text": "built-in", "tokens": 255, "scaled": {"norm.weight": 2}},
    "calibration": None,
    "text": None,
    "weights": [{"kind": "norm.weight", "count": 1, "how": "exact", "why": ""}],
    "options": {
        "variant": "tiny",
        "scheme": "keep",
        "encode_lengths": None,
        "prefill_lengths": [8, 64],
        "cache_length": 48,
        "short_caches": [16],
        "speculate": [4],
        "target": "tflite",
        "composites": "none",
        "lora": None,
        "lora_rank": None,
        "layers": {},
        "calibration": None,
        "calibrate": False,
        "equalize": True,
    },
}


def test_options_of_the_first_schema_version_have_todays_names(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(FIRST))
    assert is_export(tmp_path)
    options = reproduce(tmp_path)
    assert (options.cache_buckets, options.verify_lengths, options.prefill_lengths) == ((16,), (4,), (8, 64))
    assert options.weight_passes == {"smoothquant": True, "gptq": False}
    assert (options.scheme, options.checkpoint) == ("passthrough", Path("weights.gguf"))
    assert read_provenance(tmp_path)["weights"] == [
        {"pattern": "norm.weight", "count": 1, "conversion": "exact", "reason": ""}
    ]
    passes = read_provenance(tmp_path)["passes"]
    assert passes == {"smoothquant": {"transforms_weights": True, "report": FIRST["equalization"]}}


def test_the_newer_file_wins(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(FIRST))
    (tmp_path / "export.json").write_text(json.dumps({"schema_version": 2, "passes": {}}))
    assert read_provenance(tmp_path / "model.tflite")["schema_version"] == 2


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 1}', "[" * 100_000])
def test_a_damaged_file_is_a_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "export.json").write_text(content)
    with pytest.raises(UsageError) as caught:
        reproduce(tmp_path)
    assert caught.value.code == ErrorCode.EXPORT_RECORD_UNREADABLE


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file or folder: .*missing") as caught:
        read_provenance(tmp_path / "missing")
    assert caught.value.code == ErrorCode.NOT_AN_EXPORT
    with pytest.raises(UsageError, match=r"it has no export\.json") as caught:
        read_provenance(tmp_path)
    assert caught.value.code == ErrorCode.EXPORT_RECORD_UNREADABLE


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("variant", 3), ("cache_length", "abc"), ("cache_length", True), ("prefill_lengths", "8"),
        ("prefill_lengths", [8, "x"]), ("cache_buckets", None), ("layers", 5), ("layers", {"mlp": 1}),
        ("weight_passes", [1]), ("weight_passes", {"gptq": "yes"}), ("lora_rank", "8"), ("target", None), ("own", 1),
    ],
)  # fmt: skip
def test_an_option_of_another_type_is_named(tmp_path: Path, name: str, value: object) -> None:
    document = {"schema_version": 2, "checkpoint": {"path": "there"}, "options": {"variant": "acme", name: value}}
    (tmp_path / "export.json").write_text(json.dumps(document))
    with pytest.raises(UsageError, match=name) as caught:
        reproduce(tmp_path)
    assert caught.value.code == ErrorCode.EXPORT_RECORD_UNREADABLE


def test_a_record_of_a_later_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "export.json").write_text('{"schema_version": 99}')
    with pytest.raises(UsageError, match="schema_version is 99"):
        read_provenance(tmp_path)
