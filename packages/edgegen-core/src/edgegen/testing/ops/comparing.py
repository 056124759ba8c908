"""The comparison behind op cases: a function converted and run in LiteRT against the same in eager PyTorch.

The rules that took part are recorded with their dtypes; the table of operators is made of that.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import nn
from torch.export import exported_program
from torch.utils import _pytree as pytree

from edgegen.compile import lowering_rules
from edgegen.errors import UnsupportedError
from edgegen.graph import Program, Value, optimize
from edgegen.lowering import RuleTable, lower
from edgegen.plugins import load, registry
from edgegen.quantization.assign import plan_parameters
from edgegen.tflite.writer import write_model
from edgegen.tracing import Signature, Tracer
from edgegen.weights.module import module_weights

Tolerance = tuple[float, float]
"""Relative and absolute."""

TOLERANCES: dict[torch.dtype, Tolerance] = {
    torch.float32: (2e-5, 2e-5),
    torch.float16: (4e-3, 4e-3),
}
"""Floating-point dtype -> tolerance; integers and booleans have to be equal."""

Use = tuple[str, str]
"""A rule, and the dtype of its first tensor."""


class EmptyError(Exception):
    """Eager gives a tensor without elements, which a LiteRT file cannot give out."""


@dataclass
class Outcome:
    """The result of one case.

    Attributes:
        status: ``passed``, ``refused`` (as not supported, before anything is written), ``failed``, or ``empty`` where
            there is nothing to compare.
        reason: why, if it has not passed.
        uses: rules that took part.
        refused: rules that said no, with their reasons.
    """

    status: str
    reason: str = ""
    uses: set[Use] = field(default_factory=set)
    refused: dict[Use, str] = field(default_factory=dict)


class Wrapped(nn.Module):
    """A function as a module; of its results those that are tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        results = pytree.tree_leaves(self.function(*args, **kwargs))
        return tuple(leaf for leaf in results if isinstance(leaf, torch.Tensor))


class Recording(RuleTable):
    """A rule table that records which of its rules are called, and on which dtypes.

    Args:
        rules: of a plugin that may not be installed; with them go those of all plugins that are.

    Attributes:
        tracer: traces for these rules.
        uses: rules called since the last case began.
        refused: rules that raised NotImplementedError since then, with their reasons.
    """

    def __init__(self, rules: RuleTable | None = None) -> None:
        super().__init__()
        self.merge(lowering_rules())
        for operator, rule in (rules or {}).items():
            self.lowers(operator, override=True)(rule)
        self.uses: set[Use] = set()
        self.refused: dict[Use, str] = {}
        self.tracer = Tracer(self, places=False)

    def __getitem__(self, operator: str) -> Callable[..., Any]:
        rule = super().__getitem__(operator)

        def recorded(g: Any, *args: Any, **kwargs: Any) -> Any:
            leaves = pytree.tree_leaves((args, kwargs))
            use = (operator, next((leaf.dtype for leaf in leaves if isinstance(leaf, Value)), g.dtype))
            try:
                result = rule(g, *args, **kwargs)
            except NotImplementedError as error:
                self.refused[use] = str(error)
                raise
            self.uses.add(use)
            return result

        return recorded


def hurry() -> None:
    """Let this process trace thousands of small functions in minutes instead of half an hour.

    PyTorch looks through all of its operators at each decomposition, and prepares them for every kind of device. Once
    will do, and for the CPU.
    """
    module: Any = exported_program  # these are private
    module._collect_all_valid_cia_ops = functools.cache(module._collect_all_valid_cia_ops)
    for keys in (module._AUTOGRAD_ALIAS_BACKEND_KEYS_TO_OVERRIDE, module._BACKEND_KEYS_TO_OVERRIDE):
        keys[:] = [key for key in keys if key.name.endswith(("CPU", "Meta"))]


@functools.cache
def installed_rules() -> Recording:
    """The rules of all installed plugins, as :func:`compare` uses them by default."""
    return Recording()


@functools.cache
def _float32() -> Any:
    return load(registry().scheme("fp32").scheme)


def compare(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    tolerance: Tolerance | None = None,
    rules: Recording | None = None,
) -> Outcome:
    """Run ``function(*args, **kwargs)`` in eager PyTorch and, converted, in LiteRT.

    Args:
        function: of tensors and constants.
        args: example arguments, by which it is traced too.
        kwargs: likewise.
        tolerance: relative and absolute; default: by dtype, see :data:`TOLERANCES`.
        rules: default: those of all installed plugins.
    """
    rules = rules or installed_rules()
    rules.uses, rules.refused = set(), {}
    try:
        problem = _difference(Wrapped(function), args, kwargs or {}, tolerance, rules)
    except EmptyError:
        return Outcome("empty")
    except UnsupportedError as error:
        return Outcome("refused", " | ".join([str(error), *error.details]), refused=rules.refused)
    except Exception as error:
        return Outcome("failed", f"{type(error).__name__}: {error}".splitlines()[0][:300])
    return Outcome("failed", problem) if problem else Outcome("passed", uses=rules.uses)


def _difference(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    tolerance: Tolerance | None,
    rules: Recording,
) -> str:
    with torch.no_grad():
        # In-place operators must not change what LiteRT is given afterwards.
        copies = pytree.tree_map_only(torch.Tensor, torch.clone, (args, kwargs))
        expected = pytree.tree_leaves(module(*copies[0], **copies[1]))
    expected = [leaf for leaf in expected if isinstance(leaf, torch.Tensor)]
    if any(leaf.numel() == 0 for leaf in expected):
        raise EmptyError
    signature = Signature("case", module, args, kwargs)
    program = Program({"case": optimize(lower(signature, rules.tracer.trace(signature), rules))})
    inputs = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    outputs = run(program, module, dict(zip(signature.input_names, inputs, strict=True)))
    for number, (got, want) in enumerate(zip(outputs, expected, strict=True)):
        if problem := _mismatch(got, want, tolerance):
            return f"output {number}: {problem}"
    return ""


def run(program: Program, module: nn.Module, inputs: Mapping[str, torch.Tensor]) -> list[np.ndarray]:
    """The outputs of a program's only signature, in LiteRT's interpreter with XNNPACK."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = Path(folder) / "case.tflite"
        scheme = _float32()
        write_model(program, plan_parameters(program, module_weights(module), scheme), scheme, path)
        runner = Interpreter(str(path), num_threads=1).get_signature_runner("case")
        results = runner(**{name: tensor.resolve_conj().numpy(force=True) for name, tensor in inputs.items()})
        return [np.array(results[name]) for name in program.signatures["case"].outputs]


def _mismatch(got: np.ndarray, want: torch.Tensor, tolerance: Tolerance | None = None) -> str:
    result = torch.from_numpy(got)
    if (result.dtype, result.shape) != (want.dtype, want.shape):
        return f"is {result.dtype}{list(result.shape)} instead of {want.dtype}{list(want.shape)}"
    rtol, atol = (tolerance or TOLERANCES[want.dtype]) if want.is_floating_point() else (0.0, 0.0)
    try:
        torch.testing.assert_close(result, want.detach(), rtol=rtol, atol=atol, equal_nan=True)
    except AssertionError as error:
        return " ".join(str(error).split())[:200]
    return ""
