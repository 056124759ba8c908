"""A fuzzer of the compiler: random modules, converted and compared with eager PyTorch.

A module is a list of steps, each an operator on earlier tensors; some are composites, some write in place. Its outputs
are some of the tensors, at times inputs, at times one of them twice. It is right, or refused with an error that says
why; anything else is a fault, for which the steps are printed.

``python -m edgegen.testing.fuzz --graphs 5000 --seed 1``. Needs torch.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from edgegen.testing.ops.comparing import Outcome, compare, hurry
from edgegen.testing.ops.processes import forked
from edgegen.tracing import composite

Tensor = torch.Tensor
Function = Callable[..., Any]

_SHAPES = ((), (1,), (5,), (1, 4), (3, 4), (2, 1, 4), (2, 3, 4), (1, 2, 4, 6), (2, 3, 4, 5), (1, 2, 1, 3, 2))
_LARGEST = 1e4
_TOLERANCE = (2e-4, 2e-4)
_BATCH = 10
"""Cases that one process runs."""


@dataclass(frozen=True)
class Step:
    """One operator of a module.

    Attributes:
        name: of the operator, with its settings, for people.
        function: of the tensors.
        operands: places of the tensors.
    """

    name: str
    function: Function
    operands: tuple[int, ...]


@dataclass
class Case:
    """A module and its inputs.

    Attributes:
        inputs: example inputs.
        steps: in order; each makes the next tensor after the inputs.
        outputs: places of the outputs.
        nested: True for outputs in a dict of lists rather than a tuple.
    """

    inputs: list[Tensor]
    steps: list[Step] = field(default_factory=list)
    outputs: tuple[int, ...] = ()
    nested: bool = False

    def __call__(self, *inputs: Tensor) -> Any:
        tensors = list(inputs)
        for step in self.steps:
            tensors.append(step.function(*(tensors[place] for place in step.operands)))
        found = [tensors[place] for place in self.outputs]
        rest = {str(place): each for place, each in enumerate(found[1:])}
        return {"first": found[:1], "rest": rest} if self.nested else found

    def __str__(self) -> str:
        lines = [f"t{i} = input {each.dtype} {list(each.shape)}" for i, each in enumerate(self.inputs)]
        for place, step in enumerate(self.steps, len(self.inputs)):
            lines.append(f"t{place} = {step.name}({', '.join(f't{operand}' for operand in step.operands)})")
        return "\n".join([*lines, f"outputs {', '.join(f't{place}' for place in self.outputs)}"])


class _Builder:
    """Draws a case; tensors are computed on the way, so that each step is one that makes sense.

    Attributes:
        exact: places of tensors that are the same to the last bit in any runtime: operators that jump take only those.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        torch.manual_seed(rng.randrange(1 << 30))
        self.tensors = [self._input() for _ in range(rng.randint(1, 3))]
        self.case = Case(list(self.tensors))
        self.exact = set(range(len(self.tensors)))

    def _input(self) -> Tensor:
        shape = self.rng.choice(_SHAPES)
        kind = self.rng.choice(("float", "float", "float", "int", "bool"))
        if kind == "float":
            return torch.rand(shape) * 4 - 2
        return torch.randint(-4, 5, shape, dtype=torch.int32) if kind == "int" else torch.rand(shape) > 0.5

    def pick(self, dtype: torch.dtype, *, rank: int | None = None, least: int = 0, exact: bool = False) -> int | None:
        """The place of a tensor of a type; None where there is none."""
        fitting = [
            place
            for place, each in enumerate(self.tensors)
            if each.dtype == dtype and each.dim() >= least and rank in (None, each.dim())
            and (place in self.exact or not exact)
        ]  # fmt: skip
        return self.rng.choice(fitting) if fitting else None

    def alike(self, place: int) -> int:
        """The place of a tensor that broadcasts with that one."""
        one = self.tensors[place]
        fitting = [i for i, each in enumerate(self.tensors) if each.dtype == one.dtype and _broadcasts(one, each)]
        return self.rng.choice(fitting)

    def add(self, name: str, function: Function, *operands: int, exact: bool = False) -> bool:
        """Add a step if its result is a tensor of ordinary size and numbers."""
        try:
            result = function(*(self.tensors[place] for place in operands))
        except (RuntimeError, IndexError, ValueError):
            return False
        if not isinstance(result, Tensor) or not 0 < result.numel() <= 4096 or result.dim() > 5:
            return False
        if result.dtype not in (torch.float32, torch.int32, torch.bool):
            return False
        if result.is_floating_point() and not (result.isfinite().all() and result.abs().max() < _LARGEST):
            return False
        self.case.steps.append(Step(name, function, operands))
        self.tensors.append(result)
        if exact and all(place in self.exact for place in operands):
            self.exact.add(len(self.tensors) - 1)
        return True


def _broadcasts(one: Tensor, other: Tensor) -> bool:
    try:
        return len(np.broadcast_shapes(one.shape, other.shape)) <= 5
    except ValueError:
        return False


OPERATORS: dict[str, Callable[[_Builder], bool]] = {}
"""Name -> adds a step, if there are tensors that it takes."""

_SMOOTH: dict[str, Function] = {
    "relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "sin": torch.sin, "cos": torch.cos,
    "neg": torch.neg, "abs": torch.abs, "square": torch.square, "gelu": nn.functional.gelu,
    "silu": nn.functional.silu, "softplus": nn.functional.softplus, "elu": nn.functional.elu,
    "hardswish": nn.functional.hardswish, "leaky_relu": nn.functional.leaky_relu, "mish": nn.functional.mish,
    "exp of clamped": lambda x: x.clamp(-3, 3).exp(), "sqrt of square": lambda x: (x.square() + 0.1).sqrt(),
    "rsqrt": lambda x: (x.square() + 0.1).rsqrt(), "log of square": lambda x: (x.square() + 0.5).log(),
    "reciprocal": lambda x: (x.square() + 0.5).reciprocal(), "clamp": lambda x: x.clamp(-1.5, 0.5),
    "x + 0": lambda x: x + 0, "x * 1": lambda x: x * 1, "x - 0": lambda x: x - 0, "clone": torch.clone,
    "x * 2.5": lambda x: x * 2.5, "1 - x": lambda x: 1 - x, "pow 2": lambda x: x**2, "pow 3": lambda x: x**3,
    "erf": torch.erf, "logsigmoid": nn.functional.logsigmoid,
}  # fmt: skip
_JUMPING: dict[str, Function] = {
    "floor": torch.floor, "ceil": torch.ceil, "round": torch.round, "sign": torch.sign, "trunc": torch.trunc,
    "x > 0": lambda x: x > 0, "x <= 1": lambda x: x <= 1, "to int32": lambda x: x.to(torch.int32),
    "heaviside by where": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
}  # fmt: skip
_PAIRS: dict[str, Function] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "maximum": torch.maximum, "minimum": torch.minimum,
    "div": lambda x, y: x / (y.square() + 0.5), "x + alpha y": lambda x, y: torch.add(x, y, alpha=0.5),
    "atan2": lambda x, y: torch.atan2(x, y.abs() + 0.5), "squared difference": lambda x, y: (x - y).square(),
}  # fmt: skip
_INTEGERS: dict[str, Function] = {
    "int add": torch.add, "int sub": torch.sub, "int mul": lambda x, y: x.clamp(-9, 9) * y.clamp(-9, 9),
    "int maximum": torch.maximum, "int minimum": torch.minimum, "int equal": torch.eq, "int less": torch.lt,
    "int floor divide": lambda x, y: torch.div(x, y.abs() + 1, rounding_mode="floor"),
    "int remainder": lambda x, y: torch.remainder(x, y.abs() + 1),
}  # fmt: skip
_BOOLEANS: dict[str, Function] = {
    "and": torch.logical_and, "or": torch.logical_or, "xor": torch.logical_xor,
}  # fmt: skip
_REDUCTIONS: dict[str, Function] = {
    "sum": torch.sum, "mean": torch.mean, "amax": torch.amax, "amin": torch.amin,
    "prod": lambda x, dim, keepdim: x.clamp(-1, 1).prod(dim, keepdim=keepdim),
    "var": lambda x, dim, keepdim: x.var(dim, unbiased=False, keepdim=keepdim),
    "logsumexp": lambda x, dim, keepdim: x.logsumexp(dim, keepdim=keepdim),
    "norm": lambda x, dim, keepdim: (x.square().sum(dim, keepdim=keepdim) + 0.1).sqrt(),
}  # fmt: skip


def _register() -> None:
    def unary(name: str, function: Function, dtype: torch.dtype, *, exact: bool, needs: bool = False) -> None:
        def step(b: _Builder) -> bool:
            place = b.pick(dtype, exact=needs)
            return place is not None and b.add(name, function, place, exact=exact)

        OPERATORS[name] = step

    def binary(name: str, function: Function, dtype: torch.dtype, *, exact: bool) -> None:
        def step(b: _Builder) -> bool:
            place = b.pick(dtype)
            return place is not None and b.add(name, function, place, b.alike(place), exact=exact)

        OPERATORS[name] = step

    for name, function in _SMOOTH.items():
        unary(name, function, torch.float32, exact=name in ("relu", "neg", "abs", "clone", "clamp", "x + 0"))
    for name, function in _JUMPING.items():
        unary(name, function, torch.float32, exact=True, needs=True)
    for name, function in _PAIRS.items():
        binary(name, function, torch.float32, exact=name in ("maximum", "minimum"))
    for name, function in _INTEGERS.items():
        binary(name, function, torch.int32, exact=True)
    for name, function in _BOOLEANS.items():
        binary(name, function, torch.bool, exact=True)
    unary("not", torch.logical_not, torch.bool, exact=True)
    unary("bool to float", lambda x: x.to(torch.float32), torch.bool, exact=True)
    unary("int to float", lambda x: x.to(torch.float32), torch.int32, exact=True)
    unary("int abs", torch.abs, torch.int32, exact=True)
    for name, function in _REDUCTIONS.items():
        OPERATORS[name] = _reduction(name, function)


def _reduction(name: str, function: Function) -> Callable[[_Builder], bool]:
    def step(b: _Builder) -> bool:
        place = b.pick(torch.float32, least=1)
        if place is None:
            return False
        axis, keep = b.rng.randrange(-b.tensors[place].dim(), b.tensors[place].dim()), b.rng.random() < 0.5
        return b.add(f"{name} over {axis}, keep {keep}", lambda x: function(x, axis, keepdim=keep), place)

    return step


def _operator(name: str) -> Callable[[Callable[[_Builder], bool]], Callable[[_Builder], bool]]:
    def register(step: Callable[[_Builder], bool]) -> Callable[[_Builder], bool]:
        OPERATORS[name] = step
        return step

    return register


def _any(b: _Builder, least: int = 0) -> int | None:
    kinds = [torch.float32, torch.float32, torch.int32, torch.bool]
    return b.pick(b.rng.choice(kinds), least=least)


@_operator("transpose")
def _transpose(b: _Builder) -> bool:
    place = _any(b, 2)
    if place is None:
        return False
    one, other = (b.rng.randrange(b.tensors[place].dim()) for _ in range(2))
    return b.add(f"transpose {one} {other}", lambda x: x.transpose(one, other), place, exact=True)


@_operator("permute")
def _permute(b: _Builder) -> bool:
    place = _any(b, 2)
    if place is None:
        return False
    order = b.rng.sample(range(b.tensors[place].dim()), b.tensors[place].dim())
    return b.add(f"permute {order}", lambda x: x.permute(order), place, exact=True)


@_operator("reshape")
def _reshape(b: _Builder) -> bool:
    place = _any(b)
    if place is None:
        return False
    shape = list(b.tensors[place].shape)
    forms = [[-1], [1, -1], [*shape, 1], [1, *shape], shape, shape[::-1], [-1, *shape[-1:]]]
    form = b.rng.choice(forms)
    return b.add(f"reshape {form}", lambda x: x.reshape(form), place, exact=True)


@_operator("unsqueeze")
def _unsqueeze(b: _Builder) -> bool:
    place = _any(b)
    if place is None:
        return False
    axis = b.rng.randint(-b.tensors[place].dim() - 1, b.tensors[place].dim())
    return b.add(f"unsqueeze {axis}", lambda x: x.unsqueeze(axis), place, exact=True)


@_operator("squeeze")
def _squeeze(b: _Builder) -> bool:
    place = _any(b, 1)
    return place is not None and b.add("squeeze", torch.squeeze, place, exact=True)


@_operator("expand")
def _expand(b: _Builder) -> bool:
    place = _any(b)
    if place is None:
        return False
    shape = [b.rng.choice((2, 3)) if n == 1 else n for n in b.tensors[place].shape]
    return b.add(f"expand {shape}", lambda x: x.expand(shape), place, exact=True)


@_operator("slice")
def _slice(b: _Builder) -> bool:
    place = _any(b, 1)
    if place is None:
        return False
    axis = b.rng.randrange(b.tensors[place].dim())
    size = b.tensors[place].shape[axis]
    start, step = b.rng.randrange(-size, size), b.rng.choice((1, 1, 2))
    index = (*[slice(None)] * axis, slice(start, b.rng.choice((None, size)), step))
    return b.add(f"slice {index}", lambda x: x[index], place, exact=True)


@_operator("select")
def _select(b: _Builder) -> bool:
    place = _any(b, 1)
    if place is None:
        return False
    axis = b.rng.randrange(b.tensors[place].dim())
    at = b.rng.randrange(b.tensors[place].shape[axis])
    return b.add(f"select {axis} {at}", lambda x: x.select(axis, at), place, exact=True)


@_operator("flip")
def _flip(b: _Builder) -> bool:
    place = _any(b, 1)
    if place is None:
        return False
    axis = b.rng.randrange(b.tensors[place].dim())
    return b.add(f"flip {axis}", lambda x: x.flip(axis), place, exact=True)


@_operator("roll")
def _roll(b: _Builder) -> bool:
    place = _any(b, 1)
    if place is None:
        return False
    axis = b.rng.randrange(b.tensors[place].dim())
    return b.add(f"roll {axis}", lambda x: x.roll(1, axis), place, exact=True)


@_operator("pad")
def _pad(b: _Builder) -> bool:
    place = b.pick(torch.float32, least=1)
    if place is None:
        return False
    widths, value = (b.rng.randint(0, 2), b.rng.randint(0, 2)), b.rng.choice((0.0, 1.5))
    return b.add(f"pad {widths}", lambda x: nn.functional.pad(x, widths, value=value), place, exact=True)


@_operator("cat")
def _cat(b: _Builder) -> bool:
    place = _any(b, 1)
    if place is None:
        return False
    axis, other = b.rng.randrange(b.tensors[place].dim()), b.alike(place)
    return b.add(f"cat {axis}", lambda x, y: torch.cat([x, y], axis), place, other, exact=True)


@_operator("stack")
def _stack(b: _Builder) -> bool:
    place = _any(b)
    if place is None:
        return False
    other, axis = b.alike(place), b.rng.randint(0, b.tensors[place].dim())
    return b.add(f"stack {axis}", lambda x, y: torch.stack([x, y], axis), place, other, exact=True)


@_operator("chunk")
def _chunk(b: _Builder) -> bool:
    place = _any(b, 1)
    if place is None:
        return False
    axis = b.rng.randrange(b.tensors[place].dim())
    return b.add(f"last chunk {axis}", lambda x: x.chunk(2, axis)[-1], place, exact=True)


@_operator("where")
def _where(b: _Builder) -> bool:
    place, mask = b.pick(torch.float32), b.pick(torch.bool)
    return (
        place is not None and mask is not None and b.add("where", torch.where, mask, place, b.alike(place), exact=True)
    )


@_operator("masked_fill")
def _masked_fill(b: _Builder) -> bool:
    place, mask = b.pick(torch.float32), b.pick(torch.bool)
    return place is not None and mask is not None and b.add(
        "masked_fill", lambda m, x: x.masked_fill(m, -3.0), mask, place, exact=True
    )  # fmt: skip


@_operator("softmax")
def _softmax(b: _Builder) -> bool:
    place = b.pick(torch.float32, least=1)
    if place is None:
        return False
    axis = b.rng.randrange(-b.tensors[place].dim(), b.tensors[place].dim())
    logs = b.rng.random() < 0.3
    function = torch.log_softmax if logs else torch.softmax
    return b.add(f"{'log_' if logs else ''}softmax {axis}", lambda x: function(x, axis), place)


@_operator("layer_norm")
def _layer_norm(b: _Builder) -> bool:
    place = b.pick(torch.float32, least=1)
    if place is None or b.tensors[place].shape[-1] < 2:
        return False
    width = b.tensors[place].shape[-1]
    return b.add("layer_norm", lambda x: nn.functional.layer_norm(x, (width,), eps=0.1), place)


@_operator("cumsum")
def _cumsum(b: _Builder) -> bool:
    place = b.pick(torch.float32, least=1)
    if place is None:
        return False
    axis = b.rng.randrange(b.tensors[place].dim())
    return b.add(f"cumsum {axis}", lambda x: x.cumsum(axis), place)


@_operator("matmul")
def _matmul(b: _Builder) -> bool:
    place, other = b.pick(torch.float32, least=1), b.pick(torch.float32, least=1)
    return place is not None and other is not None and b.add("matmul", torch.matmul, place, other)


@_operator("matmul with own transpose")
def _gram(b: _Builder) -> bool:
    place = b.pick(torch.float32, least=2)
    return place is not None and b.add("x @ x.mT", lambda x: x @ x.mT, place)


@_operator("linear")
def _linear(b: _Builder) -> bool:
    place = b.pick(torch.float32, least=1)
    if place is None:
        return False
    weight, bias = torch.rand(3, b.tensors[place].shape[-1]) - 0.5, torch.rand(3)
    kept = bias if b.rng.random() < 0.5 else None
    return b.add("linear to 3", lambda x: nn.functional.linear(x, weight, kept), place)


@_operator("conv2d")
def _conv2d(b: _Builder) -> bool:
    place = b.pick(torch.float32, rank=4)
    if place is None:
        return False
    weight, stride = torch.rand(3, b.tensors[place].shape[1], 3, 3) - 0.5, b.rng.choice((1, 2))
    return b.add(f"conv2d, stride {stride}", lambda x: nn.functional.conv2d(x, weight, stride=stride, padding=1), place)


@_operator("average pool")
def _pool(b: _Builder) -> bool:
    place = b.pick(torch.float32, rank=4)
    return place is not None and b.add("avg_pool2d", lambda x: nn.functional.avg_pool2d(x, 2), place)


@_operator("argmax")
def _argmax(b: _Builder) -> bool:
    place = b.pick(torch.float32, least=1, exact=True)
    if place is None or len(set(b.tensors[place].flatten().tolist())) != b.tensors[place].numel():
        return False
    return b.add("argmax", lambda x: x.argmax(-1).to(torch.int32), place, exact=True)


@_operator("index_select")
def _index(b: _Builder) -> bool:
    place = _any(b, 1)
    if place is None:
        return False
    axis = b.rng.randrange(b.tensors[place].dim())
    size = b.tensors[place].shape[axis]
    index = torch.tensor([b.rng.randrange(size) for _ in range(3)])
    return b.add(f"index_select {axis}", lambda x: x.index_select(axis, index), place, exact=True)


@_operator("gather by tensor")
def _gather(b: _Builder) -> bool:
    place, at = b.pick(torch.float32, least=1), b.pick(torch.int32)
    if place is None or at is None:
        return False
    size = b.tensors[place].shape[0]
    return b.add("x[i mod n]", lambda x, i: x[torch.remainder(i, size).long()], place, at, exact=True)


@_operator("any")
def _any_true(b: _Builder) -> bool:
    place = b.pick(torch.bool, least=1)
    return place is not None and b.add("any over -1", lambda x: x.any(-1), place, exact=True)


_WRITES: dict[str, Function] = {
    "add_": lambda x: x.add_(1), "mul_": lambda x: x.mul_(0.5), "neg_": lambda x: x.neg_(),
    "clamp_": lambda x: x.clamp_(-1, 1), "fill_": lambda x: x.fill_(2), "zero_": lambda x: x.zero_(),
    "relu_": lambda x: x.relu_(), "copy_ of flipped": lambda x: x.copy_(x.flip(0)),
}  # fmt: skip
_VIEWS: dict[str, Function] = {
    "itself": lambda x: x, "first": lambda x: x[0], "last along -1": lambda x: x[..., -1],
    "all but first": lambda x: x[1:], "every other": lambda x: x[..., ::2], "transposed": lambda x: x.mT,
    "flat": lambda x: x.view(-1), "last chunk": lambda x: x.chunk(2, -1)[-1], "unsqueezed": lambda x: x.unsqueeze(0),
}  # fmt: skip


@_operator("write in place")
def _write(b: _Builder) -> bool:
    """A write to a view of an earlier tensor, which others may be views of; inputs are left alone."""
    inputs = {each.untyped_storage()._cdata for each in b.case.inputs}
    own = [
        place
        for place, each in enumerate(b.tensors)
        if each.dtype == torch.float32 and each.dim() and each.untyped_storage()._cdata not in inputs
    ]
    if not own:
        return False
    place, view, write = b.rng.choice(own), b.rng.choice(sorted(_VIEWS)), b.rng.choice(sorted(_WRITES))

    def step(x: Tensor) -> Tensor:
        _WRITES[write](_VIEWS[view](x))
        return x * 1

    return b.add(f"write in place: {write} {view}", step, place, exact=True)


@_operator("copy into a part")
def _copy_into(b: _Builder) -> bool:
    """A copy of one tensor into a part of a fresh one."""
    place = b.pick(torch.float32, least=1)
    if place is None:
        return False
    axis = b.rng.randrange(b.tensors[place].dim())
    size = b.tensors[place].shape[axis]
    start = b.rng.randrange(size)

    def step(x: Tensor, y: Tensor) -> Tensor:
        fresh = torch.zeros(np.broadcast_shapes(x.shape, y.shape))
        fresh[:] = x
        fresh.narrow(axis - x.dim(), start, 1).copy_(y.narrow(axis - x.dim(), 0, 1))
        return fresh

    return b.add(f"copy into {start} of {axis}", step, place, b.alike(place), exact=True)


_register()


def draw(seed: int) -> Case:
    """The case of a seed, always the same."""
    rng = random.Random(seed)
    builder = _Builder(rng)
    wanted = rng.randint(1, 10)
    for _ in range(6 * wanted):
        if len(builder.case.steps) == wanted:
            break
        OPERATORS[rng.choice(sorted(OPERATORS))](builder)
    if rng.random() < 0.25:
        builder.case.steps = [
            Step(f"composite of {step.name}", composite(f"fuzz.step_{place}")(step.function), step.operands)
            if rng.random() < 0.6
            else step
            for place, step in enumerate(builder.case.steps)
        ]
    places = range(len(builder.tensors))
    chosen = [len(builder.tensors) - 1, *rng.choices(places, k=rng.choice((0, 0, 1, 2)))]
    builder.case.outputs, builder.case.nested = tuple(chosen), rng.random() < 0.2
    return builder.case


def run(seed: int) -> tuple[Outcome, list[str], str]:
    """What became of a case: the outcome, its operators, and the case for people."""
    case = draw(seed)
    outcome = compare(case, tuple(case.inputs), tolerance=_TOLERANCE)
    return outcome, [step.name for step in case.steps], str(case)


def fuzz(graphs: int, seed: int, workers: int = 2) -> Iterator[tuple[int, Outcome, list[str], str]]:
    """``graphs`` cases from ``seed`` on, in processes of their own; a crash is a fault of its case."""
    hurry()
    batches = [str(first) for first in range(seed, seed + graphs, _BATCH)]

    def work(first: str) -> list[tuple[int, Outcome, list[str], str]]:
        return [(each, *run(each)) for each in range(int(first), min(int(first) + _BATCH, seed + graphs))]

    for first, results in forked(batches, work, workers):
        if isinstance(results, Exception):
            yield int(first), Outcome("failed", f"{results} in one of the {_BATCH} from there on"), [], ""
        else:
            yield from results


def main() -> int:
    """Exit code 1 where a case is wrong."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--graphs", type=int, default=5000)
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    kinds: Counter[str] = Counter()
    operators: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for seed, outcome, names, text in fuzz(given.graphs, given.seed):
        kinds[outcome.status] += 1
        operators.update(name.split(" ")[0] for name in names)
        if outcome.status == "refused":
            reasons[outcome.reason.splitlines()[0][:160]] += 1
        elif outcome.status == "failed":
            print(f"WRONG, seed {seed}: {outcome.reason}\n{text}\n", flush=True)
    print(f"{sum(kinds.values())} graphs of {len(OPERATORS)} operators, {operators.total()} steps: {dict(kinds)}")
    for reason, count in reasons.most_common(20):
        print(f"  {count:5} {reason}")
    return 1 if kinds["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
