"""What each scheme makes of a model's parameters, from the plan to the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import edgegen
from edgegen.compile import build_program
from edgegen.plugins import load, registry
from edgegen.quantization.assign import plan_parameters
from edgegen.tflite.reader import read_model
from edgegen.tracing import Signature
from edgegen.weights.module import module_weights
from edgegen.weights.storage import ParameterInfo

WIDTH, ROWS = 128, 24
MATRIX = {
    "fp32": "float32",
    "fp16": "float16",
    "int8-channel": "int8-channel",
    "int8-weight-only": "int8-channel+dequantized",
    "int4-channel": "int4-channel",
    "int4-block32": "int4-block32",
    "int4-block64": "int4-block64",
    "int4-block128": "int4-block128",
    "int2-channel": "int2-channel",
}


class Model(nn.Module):
    """An embedding, a norm, a layer with a bias and a head."""

    def __init__(self, *, tied: bool):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(ROWS, WIDTH)
        self.norm = nn.RMSNorm(WIDTH)
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, ROWS, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.norm(self.embedding(tokens))))


TOKENS = torch.tensor([[1, 2, 3]], dtype=torch.int32)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("scheme", MATRIX)
def test_matrices_take_the_storage_of_the_scheme_and_the_rest_is_float32(scheme: str, tied: bool):
    model = Model(tied=tied)
    chosen = load(registry().scheme(scheme).scheme)
    program = build_program([Signature("run", model, (TOKENS,))])
    plan = plan_parameters(program, module_weights(model), chosen)
    matrices = ["embedding.weight", "layer.weight", *([] if tied else ["head.weight"])]
    assert {name: str(parameter.storage) for name, parameter in plan.items()} == {
        **dict.fromkeys(matrices, MATRIX[scheme]),
        "norm.weight": "float32",
        "layer.bias": "float32",
    }


@pytest.mark.parametrize("tied", [False, True])
def test_an_8_bit_embedding_is_stored_once_even_if_it_is_the_head_too(tied: bool, tmp_path: Path):
    model = Model(tied=tied)
    edge = (
        edgegen.signature("long", model, (TOKENS,))
        .signature("short", model, (TOKENS[:, :1],))
        .convert(scheme="int8-channel")
    )
    summary = read_model(edge.export(tmp_path / "model.tflite"))
    tables = 1 if tied else 2
    assert summary.weight_tensors["int8-channel"] == tables + 1
    assert summary.weights["int8-channel"] == tables * ROWS * WIDTH + WIDTH * WIDTH


@pytest.mark.parametrize("scheme", MATRIX)
def test_the_file_is_within_the_schemes_tolerance(scheme: str):
    model = Model(tied=True)
    expected = model(TOKENS).detach()
    error = edgegen.convert(model, (TOKENS,), scheme=scheme)(TOKENS)["output"] - expected
    relative = float(error.norm() / expected.norm())
    assert relative <= load(registry().scheme(scheme).scheme).tolerance.logits


@pytest.mark.parametrize("role", ["linear", "embedding", "other"])
@pytest.mark.parametrize("shape", [(8,), (8, 4), (2, 3, 4)])
def test_int8_takes_matrices_only(role: str, shape: tuple[int, ...]):
    scheme = load(registry().scheme("int8-channel").scheme)
    storage = scheme.storage(ParameterInfo("p", shape, role))
    assert str(storage) == ("int8-channel" if role != "other" and len(shape) == 2 else "float32")


def test_a_weight_that_lies_column_by_column_is_written_row_by_row():
    torch.manual_seed(0)
    layer = nn.Linear(8, 5, bias=False)
    layer.weight = nn.Parameter(torch.randn(8, 5).t())
    x = torch.randn(1, 8)
    expected = layer(x).detach()
    for scheme in ("fp32", "fp16", "int8-channel"):
        got = edgegen.convert(layer, (x,), scheme=scheme)(x)["output"]
        torch.testing.assert_close(got, expected, atol=0.05, rtol=0)
