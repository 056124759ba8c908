"""Recipes on the command line: a scheme for each kind of weight."""

from __future__ import annotations

import json

import pytest

RECIPE = "embedding=int8-channel,blocks.*.attention=int4-block32,*=int4-channel"
FILE = """
[[rules]]
parameters = "embedding"
scheme = "dynamic_wi8_afp32"

[[rules]]
parameters = "blocks.*.attention"
scheme = "int4-block32"

[[rules]]
parameters = "*"
scheme = "int4-channel"
"""
STORAGES = {
    "embedding.weight": "int8-channel",
    "blocks.*.attention.qkv.weight": "int4-block32",
    "blocks.*.attention.output.weight": "int4-block32",
    "blocks.*.feed_forward.gate_up.weight": "int4-channel",
    "blocks.*.feed_forward.down.weight": "int4-channel",
}


@pytest.fixture
def export(checkpoint, edgegen, tmp_path, tiny_family):
    def export(scheme, name="tiny", *options):
        return edgegen(
            "export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / name, "--scheme", scheme,
            "--prefill-lengths", "4", "--cache-length", 48, *options,
        )  # fmt: skip

    return export


@pytest.mark.parametrize("given", ["line", "file"])
def test_a_recipe_is_exported_stored_and_can_be_repeated(given, export, tmp_path):
    file = tmp_path / "recipe.toml"
    file.write_text(FILE)
    result = export(file if given == "file" else RECIPE)
    assert result.code == 0, result.err
    stored = json.loads((tmp_path / "tiny" / "export.json").read_text())
    assert stored["options"]["scheme"] == RECIPE
    assert {row["pattern"]: row["storage"] for row in stored["weights"] if row["storage"] != "float32"} == STORAGES
    again = export(stored["options"]["scheme"], "again")
    assert again.code == 0, again.err
    assert (tmp_path / "again" / "model.tflite").read_bytes() == (tmp_path / "tiny" / "model.tflite").read_bytes()


def test_a_pattern_that_matches_nothing_stops_the_export(export, tmp_path):
    result = export("embed=int8-channel,*=int4-block32")
    assert result.code == 2
    assert "error[EG107]: no parameter matches embed" in result.err
    assert "close to: embedding" in result.err
    assert not (tmp_path / "tiny").exists()


def test_a_scheme_with_a_caution_is_warned_of(export):
    result = export("embedding=int8-weight-only,*=int8-channel", "tiny", "--dry-run")
    assert result.code == 0, result.err
    assert "int8-weight-only: the CPU runtime dequantizes the weights" in result.err.replace("\n", " ")
    assert "int8-channel:" not in export("int8-channel", "tiny", "--dry-run").err
