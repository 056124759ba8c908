"""Running a model whose weights are somewhere else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgegen.export import offloaded
from edgegen.export.offloaded import streamed_weights
from edgegen.weights.module import module_weights


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.norm = nn.LayerNorm(6)
        self.up = nn.Linear(6, 9)
        self.down = nn.Linear(9, 6, bias=False)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        x = self.embedding(ids)
        return self.head(x + self.down(self.up(self.norm(x))))


@pytest.fixture
def real():
    torch.manual_seed(0)
    return Model().requires_grad_(False)


@pytest.fixture
def blank():
    with torch.device("meta"):
        return Model().requires_grad_(False)


IDS = torch.tensor([[3, 1, 10], [0, 0, 7]])


@pytest.mark.parametrize("slice_bytes", [1, 50, 1 << 20])
def test_the_result_is_that_of_the_real_weights(real, blank, monkeypatch, slice_bytes):
    monkeypatch.setattr(offloaded, "SLICE_BYTES", slice_bytes)
    with streamed_weights(blank, module_weights(real)):
        torch.testing.assert_close(blank(IDS), real(IDS))


def test_afterwards_the_model_is_blank_again(real, blank):
    with streamed_weights(blank, module_weights(real)):
        blank(IDS)
    assert all(parameter.is_meta for parameter in blank.parameters())
    assert blank.head.weight is blank.embedding.weight
    assert blank(IDS.to("meta")).is_meta


def test_a_failure_inside_leaves_the_model_blank(real, blank):
    with pytest.raises(RuntimeError), streamed_weights(blank, module_weights(real)):
        blank(torch.tensor([[99]]))
    assert all(parameter.is_meta for parameter in blank.parameters())


def test_no_more_than_a_slice_is_read_at_once(real, blank, monkeypatch):
    monkeypatch.setattr(offloaded, "SLICE_BYTES", 4 * 6 * 2)
    read = []
    sources = module_weights(real)

    def watched(source):
        def rows(start, stop):
            read.append((source.name, stop - start))
            return source.read_rows(start, stop)

        return type(source)(source.name, source.shape, source.dtype, source.nbytes, rows)

    with streamed_weights(blank, {name: watched(source) for name, source in sources.items()}):
        blank(IDS)
    assert max(count for name, count in read if name == "embedding.weight") == 2
    assert {name for name, _ in read} == set(sources)
