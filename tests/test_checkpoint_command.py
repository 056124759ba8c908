"""``edgegen checkpoint``: what is in a checkpoint, which model it may be, and how it differs from one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file


@pytest.fixture
def copied(checkpoint, tmp_path):
    """The tiny checkpoint as one file, to be changed."""
    folder = shutil.copytree(checkpoint, tmp_path / "checkpoint")
    tensors = {}
    for shard in folder.glob("*.safetensors"):
        tensors |= load_file(shard)
        shard.unlink()
    for index in folder.glob("*.index.json"):
        index.unlink()
    save_file(tensors, folder / "model.safetensors")
    return folder


def rewrite(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def candidates(result):
    assert result.code == 0, result.err
    return {one["variant"] or one["family"]: one for one in result.json["candidates"]}


def test_tensors_are_listed_with_shapes_and_types(edgegen, checkpoint):
    result = edgegen("checkpoint", checkpoint)
    assert "safetensors, huggingface naming, 20 tensors" in result.out
    rows = [line.split(maxsplit=3) for line in result.out.splitlines()]
    assert ["model.layers.*.self_attn.q_proj.weight", "2", "F32"] in [row[:3] for row in rows]
    document = edgegen("checkpoint", checkpoint, "--json").json
    assert document["tensors"]["model.norm.weight"] == {"shape": [64], "dtype": "F32", "bytes": 256}


def test_the_variant_is_recognised_by_its_configuration(edgegen, checkpoint):
    found = candidates(edgegen("checkpoint", checkpoint, "--json"))
    assert found["tiny-100k"]["exportable"]
    assert "tiny-wider" not in found
    out = edgegen("checkpoint", checkpoint).out
    assert "tiny-100k: every tensor matches" in out
    assert f"edgegen export tiny-100k --checkpoint {checkpoint}" in out


def test_without_a_configuration_it_is_recognised_by_shapes(edgegen, copied):
    (copied / "config.json").unlink()
    found = candidates(edgegen("checkpoint", copied, "--json"))
    assert next(iter(found)) == "tiny-100k"
    assert found["tiny-100k"]["exportable"]
    assert not any(one["exportable"] for name, one in found.items() if name != "tiny-100k")


def test_the_difference_from_a_variant_is_shown(edgegen, checkpoint):
    out = edgegen("checkpoint", checkpoint, "--variant", "tiny-wider").out
    assert "hidden_size   expected 96, the checkpoint says 64" in out
    assert "is [320, 64], expected [320, 96]" in out


def test_the_exit_code_says_whether_a_variant_fits(edgegen, checkpoint):
    assert edgegen("checkpoint", checkpoint, "--variant", "tiny-100k").code == 0
    assert edgegen("checkpoint", checkpoint, "--variant", "tiny-wider").code == 4


def test_a_size_that_no_table_lists(edgegen, copied):
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    rewrite(copied, lambda tensors: [tensors.pop(name) for name in list(tensors) if ".layers.1." in name])
    result = edgegen("checkpoint", copied)
    assert "llama: a size that no table lists; every tensor matches" in result.out
    assert edgegen("export", "llama", "--checkpoint", copied, "-o", copied / "out", "--dry-run").code == 0


def grow(tensors):
    table = tensors["model.embed_tokens.weight"]
    tensors["model.embed_tokens.weight"] = np.concatenate([table, table[:4]])


def test_a_fine_tune_with_more_tokens_is_exported_by_its_own_configuration(edgegen, copied):
    rewrite(copied, grow)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"vocab_size": 324}))
    refused = edgegen("export", "tiny-100k", "--checkpoint", copied, "-o", copied / "out")
    assert refused.code == 4
    assert "vocab_size   expected 320, the checkpoint says 324" in refused.err
    assert "edgegen export tiny takes the configuration from the checkpoint" in refused.err
    result = edgegen(
        "export", "llama", "--checkpoint", copied, "-o", copied / "out", "--cache-length", 48,
        "--prefill-lengths", 4, "--scheme", "fp32",
    )  # fmt: skip
    assert result.code == 0, result.err


def test_more_tokens_than_the_configuration_says_are_refused_with_the_reason(edgegen, copied):
    rewrite(copied, grow)
    (copied / "config.json").unlink()
    result = edgegen("export", "tiny-100k", "--checkpoint", copied, "-o", copied / "out")
    assert result.code == 4
    assert "is [324, 64], expected [320, 64]" in result.err
    assert "only the vocabulary differs" in result.err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("score.weight", "a classifier or a reward model"),
        ("v_head.summary.weight", "a classifier or a reward model"),
        ("model.layers.0.mlp.experts.0.w1.weight", "a mixture of experts"),
    ],
)
def test_an_extra_tensor_is_refused_with_the_reason(name, reason, edgegen, copied):
    rewrite(copied, lambda tensors: tensors.update({name: np.zeros((2, 2), np.float32)}))
    result = edgegen("export", "tiny-100k", "--checkpoint", copied, "-o", copied / "out")
    assert result.code == 4
    assert "unexpected" in result.err
    assert reason in result.err
    shown = edgegen("checkpoint", copied, "--variant", "tiny-100k").out
    assert "unexpected" in shown
    assert reason in shown


def test_a_checkpoint_of_no_known_architecture_says_why(edgegen, copied):
    (copied / "config.json").write_text(json.dumps({"model_type": "mamba"}))
    out = edgegen("checkpoint", copied).out
    assert "no installed family knows this checkpoint" in out
    assert "'mamba'" in out


def test_an_unknown_variant_is_a_usage_error(edgegen, checkpoint):
    result = edgegen("checkpoint", checkpoint, "--variant", "tiny-100")
    assert result.code == 2
    assert "did you mean tiny-100k" in result.err


@pytest.mark.real_weights
def test_real_weights_are_recognised(edgegen, smollm2):
    found = candidates(edgegen("checkpoint", smollm2, "--json"))
    assert found["smollm2-135m-instruct"]["exportable"]
    assert "smollm-135m" not in found
