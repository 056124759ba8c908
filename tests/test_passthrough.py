"""``--scheme passthrough``: 4-bit blocks of a GGUF file reach the file bit for bit, and what cannot is explained."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tiny_gguf import write_gguf

from edgegen.weights import open_checkpoint

MATRICES = "blk.*.attn_[qkvo]*.weight", "blk.*.ffn_[gud]*.weight"
DOWN = "blocks.{}.feed_forward.down.weight"


@pytest.fixture(scope="module", params=["Q4_0", "Q4_1"])
def quantized(request, checkpoint, tmp_path_factory):
    kinds = dict.fromkeys(MATRICES, request.param) | {"token_embd.weight": "Q8_0"}
    return write_gguf(checkpoint, tmp_path_factory.mktemp("gguf") / "tiny.gguf", kinds)


@pytest.fixture(scope="module")
def kept(quantized, edgegen, tmp_path_factory):
    output = tmp_path_factory.mktemp("kept") / "tiny"
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", quantized, "-o", output, "--scheme", "passthrough",
        "--prefill-lengths", "4", "--cache-length", 48,
    )  # fmt: skip
    assert result.code == 0, result.err
    return output, result


def numbers(path, name):
    """What the file's blocks mean, offsets included: ``[rows, columns]`` in float64."""
    contents = path.read_bytes()
    model = schema.Model.GetRootAs(contents, 0)
    graph = model.Subgraphs(model.SubgraphsLength() - 1)  # decode, which uses every weight
    tensors = {graph.Tensors(i).Name().decode(): graph.Tensors(i) for i in range(graph.TensorsLength())}

    def array(tensor, dtype):
        buffer = model.Buffers(tensor.Buffer())
        return np.frombuffer(contents, dtype, buffer.Size() // np.dtype(dtype).itemsize, buffer.Offset())

    rows, columns = tensors[name].ShapeAsNumpy()
    data = array(tensors[name], np.uint8)
    nibbles = np.stack([data & 15, data >> 4], axis=-1).astype(np.int8).reshape(rows, -1, 32)
    scales = array(tensors[f"{name}#scales"], "<f2").reshape(rows, -1, 1).astype(np.float64)
    offsets = tensors[f"{name}#offsets"]
    kind = "<f2" if offsets.Type() == schema.TensorType.FLOAT16 else "<f4"
    added = array(offsets, kind).reshape(rows, -1, 1).astype(np.float64)
    return (np.where(nibbles > 7, nibbles - 16, nibbles) * scales + added).reshape(rows, columns)


def test_the_file_holds_the_checkpoints_numbers(kept, quantized):
    output, _ = kept
    tensors = open_checkpoint(quantized).tensors
    for layer in range(2):
        expected = tensors[f"blk.{layer}.ffn_down.weight"]
        found = numbers(output / "model.tflite", DOWN.format(layer))
        tolerance = 0 if expected.dtype == "Q4_0" else 1e-7  # of a float32 sum
        np.testing.assert_allclose(found, expected.read(), rtol=0, atol=tolerance)


def test_so_does_a_weight_made_of_several_with_rows_in_another_order(kept, quantized):
    output, _ = kept
    tensors = open_checkpoint(quantized).tensors
    fused = numbers(output / "model.tflite", "blocks.1.attention.qkv.weight")
    for name, part in {"attn_q": fused[:64], "attn_k": fused[64:96], "attn_v": fused[96:]}.items():
        expected = tensors[f"blk.1.{name}.weight"].read()
        heads = len(expected) // 16
        if name != "attn_v":
            expected = expected.reshape(heads, 8, 2, 64).swapaxes(1, 2).reshape(-1, 64)
        np.testing.assert_allclose(part, expected, rtol=0, atol=1e-7)


def test_recipe_card_inspect_and_terminal_say_what_happened(kept, quantized, edgegen):
    output, result = kept
    kind = open_checkpoint(quantized).tensors["blk.0.ffn_down.weight"].dtype
    rows = {row["pattern"]: row for row in json.loads((output / "export.json").read_text())["weights"]}
    assert rows["blocks.*.feed_forward.down.weight"]["conversion"] == "kept"
    assert rows["blocks.*.feed_forward.down.weight"]["source"] == kind
    assert rows["embedding.weight"]["conversion"] == "requantized"
    assert "Q8_0" in rows["embedding.weight"]["reason"]
    assert rows["final_norm.weight"]["conversion"] == "exact"
    assert f"8 of {kind} -> int4-block32+offsets: kept" in result.out
    assert "1 of Q8_0 -> int8-channel: requantized (LiteRT has no storage that holds Q8_0 exactly)" in result.out
    card = (output / "README.md").read_text()
    assert f"| `blocks.*.feed_forward.down.weight` | 2 | {kind} | int4-block32+offsets |" in card
    assert "bit for bit" in card
    inspected = edgegen("inspect", output)
    assert "int4-block32" in inspected.out
    assert "requantized" in inspected.out


def test_a_weight_of_several_types_is_not_kept(checkpoint, edgegen, tmp_path):
    kinds = {"*attn_v*": "Q8_0", **dict.fromkeys(MATRICES, "Q4_0")}
    mixed = write_gguf(checkpoint, tmp_path / "mixed.gguf", kinds)
    result = edgegen(
        "export", "tiny-100k", "--checkpoint", mixed, "-o", tmp_path / "x", "--scheme", "passthrough", "--dry-run"
    )
    assert result.code == 0, result.err
    assert "2 of Q4_0+Q8_0 -> int8-channel: requantized (made of several types)" in result.out


def test_another_scheme_says_what_keep_would_do(quantized, edgegen, tmp_path):
    result = edgegen("export", "tiny-100k", "--checkpoint", quantized, "-o", tmp_path / "x", "--dry-run")
    assert "--scheme passthrough would keep it" in result.out


def test_what_is_kept_computes_what_the_checkpoint_says(kept):
    output, _ = kept
    verification = json.loads((output / "export.json").read_text())["verification"]
    assert verification["logits_error"] < 0.1
