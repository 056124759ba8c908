"""Sizes that are left open, and what is offered where they cannot be."""

from __future__ import annotations

import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn

import edgegen
from edgegen.errors import UnsupportedError, UsageError
from edgegen.tflite.reader import read_model


class Attention(nn.Module):
    """Self-attention over a text of any length, then its last vector."""

    def __init__(self, dim: int = 16, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x, mask):
        _, length, dim = x.shape
        mask = mask[None, :, None].squeeze((0, 2))
        q, k, v = self.qkv(self.norm(x)).reshape(1, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) + mask[:, None]).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(1, length, dim))
        return x, x[:, -1], x[:, 1:]


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 5),
        )

    def forward(self, x):
        return self.layers(x)


def check(edge, model, *inputs):
    for got, want in zip(edge(*inputs).values(), torch.utils._pytree.tree_leaves(model(*inputs)), strict=True):
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_text_may_have_any_length(tmp_path):
    torch.manual_seed(0)
    model = Attention().eval()
    length = {"x": {1: "length"}, "mask": {1: "length", 2: "length"}}
    edge = edgegen.convert(model, (torch.randn(1, 8, 16), torch.zeros(1, 8, 8)), dynamic=length)
    for n in (8, 2, 31, 1, 100, 8):
        check(edge, model, torch.randn(1, n, 16), torch.randn(1, n, n))
    (signature,) = read_model(edge.export(tmp_path / "model.tflite")).signatures
    assert [tensor.shape for tensor in signature.inputs] == [(1, -1, 16), (1, -1, -1)]
    assert [tensor.shape for tensor in signature.outputs] == [(1, -1, 16), (1, 16), (1, -1, 16)]


@torch.no_grad()
@pytest.mark.parametrize("scheme", ["fp32", "fp16"])
def test_a_batch_may_have_any_size(scheme):
    torch.manual_seed(0)
    model = Classifier().eval()
    edge = edgegen.convert(model, (torch.randn(2, 3, 8, 8),), dynamic={"x": {0: "batch"}}, scheme=scheme)
    for n in (2, 1, 7):
        x = torch.randn(n, 3, 8, 8)
        torch.testing.assert_close(edge(x)["output"], model(x), atol=1e-2, rtol=1e-2)


def test_what_runs_on_xnnpack_with_a_fixed_size_does_so_with_an_open_one(tmp_path):
    edge = edgegen.convert(Classifier().eval(), (torch.randn(2, 3, 8, 8),), dynamic={"x": {0: "batch"}})
    interpreter = Interpreter(str(edge.export(tmp_path / "model.tflite")), num_threads=1)
    interpreter.allocate_tensors()
    assert [op["op_name"] for op in interpreter._get_ops_details()].count("DELEGATE") == 1


class Positions(nn.Module):
    """Adds a table's first rows: which ones depends on the length."""

    def forward(self, x):
        return x + torch.arange(x.shape[1])[:, None]


class Halves(nn.Module):
    def forward(self, x):
        return x[:, : x.shape[1] // 2]


@pytest.mark.parametrize(("model", "reason"), [(Positions(), "ADD takes a constant"), (Halves(), "SLICE at a place")])
def test_what_cannot_be_left_open_is_said_at_once_with_the_way_out(model, reason):
    with pytest.raises(UnsupportedError, match=f"cannot leave length open: {reason}") as caught:
        edgegen.convert(model, (torch.randn(1, 4, 3),), dynamic={"x": {1: "length"}})
    assert "Converter.buckets" in str(caught.value)
    assert "test_dynamic.py" in str(caught.value)


def test_two_dynamic_axes_of_a_reshape_are_refused():
    class Folded(nn.Module):
        def forward(self, x):
            return x.reshape(x.shape[0], x.shape[1], 2, 3)

    with pytest.raises(UnsupportedError, match="RESHAPE to a shape with 2 dynamic axes"):
        edgegen.convert(Folded(), (torch.randn(2, 4, 6),), dynamic={"x": {0: "batch", 1: "length"}})


def test_buckets_are_a_signature_each():
    model = Positions()
    edge = (
        edgegen.signature("first", model, (torch.randn(1, 2, 3),))
        .buckets("add", model, (torch.randn(1, 2, 3),), dynamic={"x": {1: "length"}}, sizes=(4, 16))
        .convert()
    )
    for n in (4, 16):
        x = torch.randn(1, n, 3)
        torch.testing.assert_close(edge(x, signature=f"add_{n}")["output"], model(x))


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        ({"y": {1: "length"}}, "no input 'y'; there are x"),
        ({"x": {5: "length"}}, "no axis 5"),
        ({"x": {0: "batch"}}, "example of 2 or more"),
        ({"x": {1: "size", 2: "size"}}, "size 'size' is 4 of one input and 3"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(dynamic, message):
    with pytest.raises(UsageError) as caught:
        edgegen.convert(Positions(), (torch.randn(1, 4, 3),), dynamic=dynamic)
    assert message in str(caught.value)


def test_an_input_that_does_not_fit_is_refused():
    edge = edgegen.convert(Classifier().eval(), (torch.randn(2, 3, 8, 8),), dynamic={"x": {0: "batch"}})
    with pytest.raises(UsageError, match="does not take"):
        edge(torch.randn(2, 4, 8, 8))
