"""Writes in place: to views of intermediate tensors, to arguments, to a module's state, across boundaries of regions.

Right is what eager PyTorch gives; ``edgegen.testing.fuzz`` draws such writes at random."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import edgegen
from edgegen.errors import UnsupportedError
from edgegen.tracing import RepeatedBlock, composite


def module(function) -> nn.Module:
    class Written(nn.Module):
        def forward(self, x):
            return function(x)

    return Written()


def column(x):
    y = x * 3
    y[:, 0] = x[:, 1]
    return x + y


def added_to_a_column(x):
    y = x * 3
    y[:, 0].add_(1)
    return y


def a_view_of_a_view(x):
    y = x * 2
    y.t()[1:].neg_()
    return y + x


def chunks_that_are_exchanged(x):
    y = x * 2
    left, right = y.chunk(2, 1)
    left.copy_(right)
    return y


def a_constant(x):
    table = torch.arange(4.0)
    table[1:3].mul_(2)
    return x + table


def out_of_another(x):
    y = torch.empty(2, 4)
    torch.add(x, 1, out=y)
    return y


def diagonal(x):
    y = x * 2
    y.diagonal().zero_()
    return y


@pytest.mark.parametrize(
    "function",
    [column, added_to_a_column, a_view_of_a_view, chunks_that_are_exchanged, a_constant, out_of_another, diagonal],
    ids=lambda function: function.__name__,
)
def test_writes_to_views_are_kept(function):
    x = torch.arange(8.0).reshape(2, 4) + 1
    torch.testing.assert_close(edgegen.convert(module(function), (x,))(x)["output"], function(x))


def test_example_arguments_are_left_as_they_are_and_what_is_lost_is_said():
    x, cache = torch.ones(2, 1), torch.zeros(2, 4)

    class Scratch(nn.Module):
        def forward(self, x, cache):
            cache[:, 1:2] = x
            return cache.sum() + x

    with pytest.warns(UserWarning, match="writes to its input cache"):
        edge = edgegen.convert(Scratch(), (x, cache))
    assert not cache.any()
    torch.testing.assert_close(edge(x, cache)["output"], Scratch()(x, cache.clone()))

    class Returned(nn.Module):
        def forward(self, x, cache):
            cache[:, 1:2] = x
            return cache

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        edgegen.convert(Returned(), (x, cache))


class Parameter(nn.Module):
    def __init__(self):
        super().__init__()
        self.state = nn.Parameter(torch.ones(3))

    @torch.no_grad()
    def forward(self, x):
        return x * self.state.mul_(2)


class Buffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("state", torch.ones(3))

    def forward(self, x):
        self.state[0] = x[0, 0]
        return x * self.state


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.state = torch.ones(3)

    def forward(self, x):
        self.state[0] = x[0, 0]
        return x * self.state


@pytest.mark.parametrize("kind", [Parameter, Buffer, Plain])
def test_a_module_that_changes_itself_is_refused_and_is_as_it_was(kind):
    written = kind()
    with pytest.raises(UnsupportedError, match="state"):
        edgegen.convert(written, (torch.zeros(2, 3),))
    assert written.state.tolist() == [1, 1, 1]


@composite("acme.doubled_in_place")
def doubled_in_place(x):
    return x.mul_(2).sum(-1)


@composite("acme.flat")
def flat(x):
    return x.view(-1)


def read_later(x):
    y = x + 1
    return doubled_in_place(y) + y.sum(-1)


def written_later(x):
    y = x + 1
    flat(y)[0] = 5
    return y


def not_written(x):
    y = x + 1
    return flat(y) * 2


@pytest.mark.parametrize(
    ("function", "says"),
    [(read_later, "doubled_in_place writes to its arguments"), (written_later, "flat returns a view of an argument")],
    ids=["argument", "view"],
)
def test_a_composite_that_writes_across_its_boundary_is_refused(function, says):
    x = torch.arange(8.0).reshape(2, 4)
    with pytest.raises(UnsupportedError, match=says) as caught:
        edgegen.convert(module(function), (x,), composites="all")
    assert "return the new value" in str(caught.value.hint)
    torch.testing.assert_close(edgegen.convert(module(function), (x,))(x)["output"], function(x))


def test_a_composite_may_return_a_view():
    x = torch.arange(8.0).reshape(2, 4)
    edge = edgegen.convert(module(not_written), (x,), composites="all")
    torch.testing.assert_close(edge(x)["output"], not_written(x))


def test_a_repeated_block_that_writes_to_its_argument_is_refused():
    class Block(RepeatedBlock):
        trace_key = "one"

        def forward(self, x):
            return x.add_(1) * 2

    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Block(), Block()

        def forward(self, x):
            y = x * 1.5
            return self.first(y) + self.second(y)

    with pytest.raises(UnsupportedError, match="Block writes to its arguments"):
        edgegen.convert(Blocks(), (torch.ones(2, 3),))


def test_converting_in_inference_mode():
    with torch.inference_mode():
        x = torch.arange(8.0).reshape(2, 4)
        edge = edgegen.convert(module(not_written), (x,))
        torch.testing.assert_close(edge(x)["output"], not_written(x))
        with pytest.raises(UnsupportedError, match="in inference mode"):
            edgegen.convert(module(not_written), (x,), composites="all")
