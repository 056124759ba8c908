"""Static quantization by ai-edge-quantizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import edgegen
from edgegen.errors import UnsupportedError, UsageError
from edgegen.litert.session import Session
from edgegen.tflite.reader import read_model
from edgegen_quant import static_quantize


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.up, self.down = nn.Linear(64, 128), nn.Linear(128, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(torch.relu(self.up(x)))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("float") / "model.tflite"
    return edgegen.convert(Encoder(), (torch.zeros(4, 64),)).export(path)


def samples(count=16):
    generator = np.random.default_rng(0)
    return [{"x": generator.standard_normal((4, 64)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize(("scheme", "error"), [("a8w8", 0.08), ("static_wi8_ai8", 0.08), ("a16w8", 0.03)])
def test_it_agrees_with_the_float_model_and_takes_and_gives_floats(scheme: str, error: float, file, tmp_path):
    output = static_quantize(file, tmp_path / "static.tflite", samples(), scheme)
    x = torch.from_numpy(samples()[-1]["x"])
    (got,) = Session(output).run("serving_default", {"x": x.numpy()}).values()
    expected = Encoder()(x).detach().numpy()
    assert got.dtype == np.float32
    assert np.linalg.norm(got - expected) <= error * np.linalg.norm(expected)
    assert read_model(output).weight_tensors["int8-channel"] == 2
    assert list(tmp_path.iterdir()) == [output]


def test_a_file_of_several_signatures_is_refused(tmp_path):
    model = Encoder()
    edge = edgegen.signature("a", model, (torch.zeros(4, 64),)).signature("b", model, (torch.zeros(1, 64),)).convert()
    with pytest.raises(UnsupportedError, match="has 2 signatures"):
        static_quantize(edge.export(tmp_path / "model.tflite"), tmp_path / "static.tflite", samples())


def test_a_file_that_is_quantized_already_is_refused(tmp_path):
    edge = edgegen.convert(Encoder(), (torch.zeros(4, 64),), scheme="int8-channel")
    with pytest.raises(UnsupportedError, match="int8-channel"):
        static_quantize(edge.export(tmp_path / "model.tflite"), tmp_path / "static.tflite", samples())


@pytest.mark.parametrize(
    ("given", "scheme", "message"),
    [
        ([], "a8w8", "needs sample inputs"),
        (samples(1), "a4w4", "no static scheme 'a4w4'"),
        ([{"y": np.zeros((4, 64), np.float32)}], "a8w8", "samples do not fit"),
    ],
)
def test_what_makes_no_sense_is_refused(given, scheme: str, message: str, file, tmp_path):
    with pytest.raises(UsageError, match=message):
        static_quantize(file, tmp_path / "static.tflite", given, scheme)
    assert not list(tmp_path.iterdir())
