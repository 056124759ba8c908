"""``edgegen verify``: an export once more against its checkpoint, and block by block."""

from __future__ import annotations

import shutil

import pytest
from safetensors.torch import load_file, save_file

SMALL = ("--prefill-lengths", "8", "--cache-length", "48", "--cache-buckets", "none")


@pytest.fixture(scope="module", params=["fp32", "int8-channel"])
def made(request, checkpoint, edgegen, tmp_path_factory):
    output = tmp_path_factory.mktemp("made") / request.param
    result = edgegen("export", "tiny-100k", "--checkpoint", checkpoint, "-o", output, "--scheme", request.param, *SMALL)
    assert result.code == 0, result.err
    return output


def changed(checkpoint, folder, pattern: str):
    """The checkpoint with other weights where a name has ``pattern`` in it."""
    shutil.copytree(checkpoint, folder)
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        save_file(
            {n: t.flip(0).contiguous() if pattern in n else t for n, t in tensors.items()}, file, {"format": "pt"}
        )
    return folder


def test_an_export_passes_again(made, edgegen):
    before = {file.name: file.stat().st_mtime_ns for file in made.iterdir()}
    out = edgegen("verify", made)
    assert out.code == 0, out.err
    assert out.out.startswith("passed: logits error")
    assert {file.name: file.stat().st_mtime_ns for file in made.iterdir()} == before


def test_every_block_is_compared(made, edgegen):
    out = edgegen("verify", made, "--layers", "--json")
    assert out.code == 0, out.err
    assert [block["path"] for block in out.json["blocks"]] == ["blocks.0", "blocks.1"]
    assert all(0 <= block["error"] <= out.json["limit"] for block in out.json["blocks"])
    assert out.json["first_diverging"] is None
    exact = made.name == "fp32"
    assert (max(block["error"] for block in out.json["blocks"]) < 1e-5) == exact


@pytest.mark.parametrize("layer", [0, 1])
def test_the_first_block_that_diverges_is_named(layer, made, checkpoint, edgegen, tmp_path):
    other = changed(checkpoint, tmp_path / "other", f"layers.{layer}.mlp.down_proj")
    out = edgegen("verify", made, "--checkpoint", other, "--layers")
    assert out.code == 5
    assert "FAILED" in out.out
    (line,) = [line for line in out.out.splitlines() if "the first beyond" in line]
    assert line.split()[0] == f"blocks.{layer}"


def test_a_folder_without_a_recipe_is_told(made, edgegen, tmp_path):
    shutil.copytree(made, tmp_path / "moved")
    (tmp_path / "moved" / "export.json").unlink()
    out = edgegen("verify", tmp_path / "moved")
    assert out.code == 2
    assert "EG123" in out.err


def test_weights_that_have_gone_are_told(made, edgegen, tmp_path):
    out = edgegen("verify", made, "--checkpoint", tmp_path / "nowhere")
    assert out.code == 2
    assert "nowhere" in out.err
