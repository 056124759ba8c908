"""Weights read back from a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import edgegen
from edgegen.tflite.weights import read_weights

SCHEMES = ["fp32", "fp16", "int8-channel", "int8-weight-only", "int4-channel", "int4-block32", "int2-channel"]
ERRORS = {"float32": 0.0, "float16": 1e-3, "int8": 0.01, "int4": 0.2, "int2": 0.8}
"""Relative, of what is rounded to so many bits."""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_are_those_of_the_module_but_for_rounding(scheme, tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(50, 128), nn.Linear(128, 24), nn.LayerNorm(24)).eval()
    edge = edgegen.convert(model, (torch.zeros(1, 4, dtype=torch.int32),), scheme=scheme)
    weights = read_weights(edge.export(tmp_path / "model.tflite"))
    assert set(weights) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        read, wanted = weights[name].read(), parameter.detach().numpy()
        assert read.shape == wanted.shape
        error = np.linalg.norm(read - wanted) / np.linalg.norm(wanted) if wanted.any() else np.abs(read).max()
        assert error <= ERRORS[weights[name].dtype.partition("-")[0]]
        np.testing.assert_array_equal(weights[name].read_rows(1, 3), read[1:3])
