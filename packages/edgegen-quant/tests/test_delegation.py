"""XNNPACK takes the matrix products of every scheme, and they come out right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import edgegen
from edgegen.testing.delegation import left_to_litert
from edgegen_quant.plugin import edgegen_quant_schemes

NAMES = [listed.name for listed in edgegen_quant_schemes()]
BITS = {"int2-channel": 2, "int4": 4, "int8": 8, "fp": 16, "passthrough": 8}
ERROR = {2: 0.8, 4: 0.2, 8: 0.03, 16: 1e-3}
"""Bits of the weights -> largest error of a product relative to its size, for random weights."""


def allowed(scheme: str) -> float:
    return ERROR[next(bits for start, bits in BITS.items() if scheme.startswith(start))]


@pytest.mark.parametrize("rows", [1, 9])
@pytest.mark.parametrize("scheme", NAMES)
def test_a_matrix_product_is_xnnpacks_and_right(scheme: str, rows: int, tmp_path):
    torch.manual_seed(0)
    layer = nn.Linear(256, 64)
    x = torch.randn(rows, 256)
    edge = edgegen.convert(layer, (x,), scheme=scheme)
    expected = layer(x).detach()
    error = float((edge(x)["output"] - expected).norm() / expected.norm())
    assert error <= allowed(scheme)
    assert left_to_litert(edge.export(tmp_path / "model.tflite")) == set()


@pytest.mark.parametrize("scheme", NAMES)
def test_a_tied_table_is_looked_up_and_multiplied_with(scheme: str):
    torch.manual_seed(0)

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(96, 256)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.embedding(tokens) @ self.embedding.weight.T

    model, tokens = Tied(), torch.tensor([[3, 95, 0]], dtype=torch.int32)
    expected = model(tokens).detach()
    got = edgegen.convert(model, (tokens,), scheme=scheme)(tokens)["output"]
    assert float((got - expected).norm() / expected.norm()) <= allowed(scheme)


@pytest.mark.parametrize("scheme", ["int4-block32", "int4-block64", "int4-channel", "int2-channel"])
def test_the_kernels_multiply_with_the_numbers_in_the_file(scheme: str):
    """What is left is the rounding of activations to 8 bits: the same whatever the weights are stored as."""
    from edgegen.quantization.recipe import choose
    from edgegen.weights.storage import ParameterInfo

    torch.manual_seed(0)
    layer = nn.Linear(256, 64, bias=False)
    x = torch.randn(33, 256)
    chosen = choose(scheme).scheme
    rows = layer.weight.detach().numpy()
    storage = chosen.storage(ParameterInfo("weight", rows.shape, "linear"))
    encoded = chosen.encode(rows, storage)
    bits = {"int4": 4, "int2": 2}[storage.dtype]
    codes = np.stack([encoded.data >> (bits * i) for i in range(8 // bits)], axis=-1).reshape(rows.shape)
    codes = (codes & (2**bits - 1)).astype(np.int8)
    integers = np.where(codes >= 2 ** (bits - 1), codes - 2**bits, codes)
    scales = encoded.scales.astype(np.float32).reshape(len(rows), -1, 1)
    meant = (integers.reshape(len(rows), scales.shape[1], -1) * scales).reshape(rows.shape)
    expected = x @ torch.from_numpy(meant.astype(np.float32)).T
    got = edgegen.convert(layer, (x,), scheme=scheme)(x)["output"]
    assert float((got - expected).norm() / expected.norm()) <= 0.012
