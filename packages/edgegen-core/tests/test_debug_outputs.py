"""Blocks' outputs, read out of a file."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import edgegen
from edgegen.errors import UsageError
from edgegen.litert.session import Session
from edgegen.tflite.debug_outputs import write_debug_outputs
from edgegen.tracing import RepeatedBlock


class Block(RepeatedBlock):
    def __init__(self) -> None:
        super().__init__()
        self.trace_key = 32
        self.linear = nn.Linear(32, 32)

    def forward(self, x):
        return x + self.linear(x).relu(), x


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(4))
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        for layer in self.layers:
            x, _ = layer(x)
        return self.head(x)


@pytest.fixture(params=["fp32", "fp16", "int8-channel"])
def model(request, tmp_path):
    torch.manual_seed(0)
    stack, x = Stack(), torch.rand(2, 32)
    edge = (
        edgegen.signature("one", stack, (x,))
        .signature("two", stack, (torch.rand(1, 32),))
        .convert(scheme=request.param)
    )
    return stack, x, edge.export(tmp_path / "model.tflite")


@torch.no_grad()
def test_the_copy_gives_out_every_block_and_the_same_result(model, tmp_path):
    stack, x, path = model
    names = write_debug_outputs(path, ["one"], tmp_path / "probe.tflite")["one"]
    assert names == [f"layers.{i}" for i in range(4)]
    outputs = Session(tmp_path / "probe.tflite").run("one", {"x": x.numpy()})
    assert set(outputs) == {"output", *names}
    assert (outputs["output"] == Session(path).run("one", {"x": x.numpy()})["output"]).all()
    for name, layer in zip(names, stack.layers, strict=True):
        x, _ = layer(x)
        torch.testing.assert_close(torch.from_numpy(outputs[name]), x, atol=0.05, rtol=0.05)


def test_other_signatures_stay_as_they_are(model, tmp_path):
    _, _, path = model
    write_debug_outputs(path, ["one"], tmp_path / "probe.tflite")
    session = Session(tmp_path / "probe.tflite")
    assert set(session.signatures["two"].outputs) == {"output"}
    x = torch.rand(1, 32).numpy()
    assert (session.run("two", {"x": x})["output"] == Session(path).run("two", {"x": x})["output"]).all()


def test_a_model_without_blocks_is_told(tmp_path):
    path = edgegen.convert(nn.Linear(4, 4), (torch.rand(1, 4),)).export(tmp_path / "model.tflite")
    with pytest.raises(UsageError, match="does not say where its blocks end"):
        write_debug_outputs(path, ["serving_default"], tmp_path / "probe.tflite")
    with pytest.raises(UsageError, match="no signature 'other'; the file has serving_default"):
        write_debug_outputs(path, ["other"], tmp_path / "probe.tflite")
    assert not (tmp_path / "probe.tflite").exists()
