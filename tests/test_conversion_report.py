"""What an export says of its weights is true of the file: which numbers are the checkpoint's, and which are not."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import edgegen as package
from edgegen.tflite.weights import read_weights
from edgegen.weights import open_checkpoint


@pytest.fixture
def export(edgegen, checkpoint, tmp_path):
    def run(scheme, *options):
        lengths = ("--prefill-lengths", 4, "--cache-length", 48, "--verify-against", "none")
        command = ("export", "tiny-100k", "--checkpoint", checkpoint, "-o", tmp_path / "out", "--scheme", scheme)
        result = edgegen(*command, *lengths, *options)
        assert result.code == 0, result.err
        rows = json.loads((tmp_path / "out" / "export.json").read_text())["weights"]
        return result, {row["pattern"]: row for row in rows}, tmp_path / "out"

    return run


def test_scaled_norms_are_not_the_checkpoint_s_and_an_added_parameter_is_named_as_such(export):
    result, rows, out = export("int8-channel", "--weight-pass", "smoothquant")
    assert rows["blocks.*.attention_norm.weight"]["conversion"] == "computed"
    assert rows["embedding_scales"]["conversion"] == "added"
    assert rows["embedding_scales"]["source"] == "none"
    assert "exact" not in result.out
    assert "*added*" in (out / "README.md").read_text()


@pytest.mark.parametrize("options", [("--no-weight-pass", "smoothquant"), ()])
@pytest.mark.parametrize("scheme", ["fp32", "fp16", "int8-channel"])
def test_what_is_called_exact_is_in_the_file_bit_for_bit(scheme, options, export, checkpoint):
    _, rows, out = export(scheme, *options)
    published, stored = open_checkpoint(checkpoint).tensors, read_weights(out / "model.tflite")
    names = {"final_norm.weight": "model.norm.weight", "embedding.weight": "model.embed_tokens.weight"}
    checked = 0
    for ours, theirs in names.items():
        if rows[ours]["conversion"] == "exact":
            checked += 1
            np.testing.assert_array_equal(stored[ours].read(), published[theirs].read())
    assert checked or scheme != "fp32"


def test_a_model_that_falls_back_as_a_whole_is_a_warning():
    with pytest.warns(UserWarning, match="none of the 1 matrices fits int4-block32: they are stored as int8-channel"):
        package.convert(nn.Linear(16, 4), (torch.ones(1, 16),), scheme="int4-block32")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        package.convert(nn.Linear(64, 4), (torch.ones(1, 64),), scheme="int4-block32")
