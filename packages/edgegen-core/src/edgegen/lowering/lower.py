"""Lowering: a traced program to a graph of LiteRT operators, node by node, by the rules.

Nodes whose inputs are all constants (``arange``, inverse frequencies) are evaluated by PyTorch instead, so a rule is
needed only for what depends on an input or a parameter.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.export.graph_signature import ExportGraphSignature, InputKind, OutputKind
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from edgegen.errors import ErrorCode, UnsupportedError
from edgegen.graph import Graph, Value, validate
from edgegen.lowering.context import LoweringContext
from edgegen.lowering.hints import OPEN_SHAPE, hint_for
from edgegen.lowering.rules import RuleTable
from edgegen.tracing.trace import Signature, Trace, TracedCall

DTYPE_NAMES: dict[torch.dtype, str] = {
    torch.float32: "float32",
    torch.float16: "float16",
    torch.int64: "int64",
    torch.int32: "int32",
    torch.int8: "int8",
    torch.uint8: "uint8",
    torch.bool: "bool",
}


@dataclass
class Names:
    """Canonical names of parameters and modules: what is one object under several goes by the first."""

    model: nn.Module
    by_identity: dict[int, str] = field(init=False)

    def __post_init__(self) -> None:
        self.by_identity = {}
        named: list[tuple[str, torch.Tensor | nn.Module]] = [
            *self.model.named_parameters(remove_duplicate=False),
            *self.model.named_buffers(remove_duplicate=False),
            *self.model.named_modules(remove_duplicate=False),
        ]
        for name, each in named:
            self.by_identity.setdefault(id(each), name)

    def of(self, each: torch.Tensor | nn.Module) -> str:
        return self.by_identity[id(each)]


def lower(signature: Signature, trace: Trace, rules: RuleTable) -> Graph:
    """The graph of one signature.

    Raises:
        UnsupportedError: operators without a rule; all of them at once, with module path and source line.
    """
    graph = Graph(signature.name)
    context = LoweringContext(graph)
    given = dict(zip(signature.input_names, _user_inputs(trace), strict=True))
    for name, value in given.items():
        _refuse_empty(f"input {name!r} of signature {signature.name!r}", value.shape)
    inputs = [context.input(name, *_described(value)) for name, value in given.items()]
    lowering = _Lowering(context, rules, Names(signature.module))
    try:
        outputs = lowering.run(trace, trace.root, inputs)
    except _UnknownShapeError:
        outputs = []
    if lowering.unsupported:
        raise _unsupported_error(signature.name, lowering.unsupported)
    for name, output in zip(trace.output_names, outputs, strict=True):
        _refuse_empty(f"output {name!r} of signature {signature.name!r}", output.shape)
        graph.outputs[name] = output
    validate(graph, "lowering")
    return graph


@dataclass
class _Lowering:
    """Lowers traces into one graph; regions nest."""

    g: LoweringContext
    rules: RuleTable
    names: Names
    unsupported: dict[str, list[str]] = field(default_factory=dict)

    def run(self, trace: Trace, root: nn.Module, inputs: list[Value]) -> list[Any]:
        """Emit the operators of ``trace``; parameters are those of ``root``. Returns the outputs."""
        env: dict[fx.Node, Any] = {}
        pending = iter(inputs)
        specs = {spec.arg.name: spec for spec in trace.program.graph_signature.input_specs}
        for node in trace.program.graph.nodes:
            if node.op == "placeholder":
                spec = specs[node.name]
                user = spec.kind is InputKind.USER_INPUT
                env[node] = next(pending) if user else self._state(trace, root, spec)
            elif node.op == "output":
                kinds = [spec.kind for spec in trace.program.graph_signature.output_specs]
                _refuse_writes(trace.program.graph_signature)
                leaves = [
                    leaf for leaf, kind in zip(node.args[0], kinds, strict=True) if kind is OutputKind.USER_OUTPUT
                ]
                return [self._value(env.get(leaf, leaf)) for leaf in leaves]
            elif node.users:  # PyTorch's own assertions have none
                env[node] = self._call(node, env, trace, root)
        raise AssertionError("a traced graph ends with its outputs")

    def _state(self, trace: Trace, root: nn.Module, spec: Any) -> Any:
        """A parameter by its canonical name, or the contents of a tensor that the code closes over."""
        if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            path = spec.target.removeprefix("target.")
            owner, _, leaf = path.rpartition(".")
            tensor = getattr(root.get_submodule(owner), leaf)
            if spec.kind is InputKind.BUFFER and (spec.persistent is False or not tensor.is_floating_point()):
                if tensor.is_meta:
                    raise UnsupportedError(
                        f"buffer {path!r} has no contents on the meta device",
                        code=ErrorCode.BUFFER_WITHOUT_CONTENTS,
                        hint="compute it in forward (torch.arange and the like are folded), or make it persistent",
                    )
                return tensor
            parameter = self.g.parameter(self.names.of(tensor), tensor.shape)
            return self.g.half(parameter) if tensor.dtype == torch.float16 else parameter
        if spec.kind is InputKind.TOKEN:  # orders operators that have effects, none of which has a rule
            return None
        return trace.program.constants[spec.target]

    def _call(self, node: fx.Node, env: Mapping[fx.Node, Any], trace: Trace, root: nn.Module) -> Any:
        args, kwargs = _map((node.args, node.kwargs), lambda leaf: env[leaf] if isinstance(leaf, fx.Node) else leaf)
        if node.target is operator.getitem:
            return args[0][args[1]]
        name = str(node.target)
        if name == "edgegen.region.default":
            return self._region(trace, trace.regions[args[1]], root, args[0])
        if name not in self.rules and _is_random(node):
            return self._refuse(name, node)
        if not any(isinstance(leaf, Value) for leaf in _leaves((args, kwargs))):
            return _evaluate(node, args, kwargs)
        if _is_empty(node.meta["val"]):
            return torch.empty(node.meta["val"].shape, dtype=node.meta["val"].dtype)
        return self._lowered(name, node, args, kwargs) if name in self.rules else self._refuse(name, node)

    def _lowered(self, name: str, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """Result of the rule for ``name``, checked against PyTorch's shapes and dtypes."""
        if _depends_on_contents(node.meta["val"]):
            return self._refuse(f"{name}: {OPEN_SHAPE}", node)
        self.g.origin = _origin(node)
        first = next(leaf for leaf in _leaves(node.meta["val"]) if isinstance(leaf, torch.Tensor))
        self.g.shape, self.g.dtype = _described(first)
        try:
            args, kwargs = _map((args, kwargs), self._as_operand)
            result = self.rules[name](self.g, *args, **kwargs)
        except GuardOnDataDependentSymNode:
            return self._refuse(f"{name}: with a number that is the contents of a tensor", node)
        except NotImplementedError as error:
            return self._refuse(f"{name}: {error}", node)
        _check(node, result)
        return result

    def _refuse(self, what: str, node: fx.Node) -> Any:
        """Note that ``node`` cannot be lowered, and go on with stand-ins to find what else cannot."""
        self.unsupported.setdefault(what, []).append(_origin(node))
        if _depends_on_contents(node.meta["val"]):
            raise _UnknownShapeError
        return _map(
            node.meta["val"],
            lambda leaf: Value(node.name, *_described(leaf)) if isinstance(leaf, torch.Tensor) else leaf,
        )

    def _region(self, trace: Trace, traced: TracedCall, root: nn.Module, tensors: list[Any]) -> list[Any]:
        region = traced.call.region
        inputs = [self._value(tensor) for tensor in tensors]
        inside = traced.body.root
        if region.module is not None:
            # `trace` may be that of a sibling of `root`: go to the module at the same place in `root`.
            path = next(name for name, module in trace.root.named_modules() if module is region.module)
            inside = root.get_submodule(path)
        if region.composite is None:
            outputs = self.run(traced.body, inside, inputs)
            self.g.graph.debug_outputs[self.names.of(inside)] = outputs[0]
            return outputs
        body = Graph(f"{region.composite}.impl")
        inner = _Lowering(LoweringContext(body), self.rules, self.names, self.unsupported)
        parameters = [inner.g.input(f"input_{i}", v.shape, v.dtype) for i, v in enumerate(inputs)]
        for i, output in enumerate(inner.run(traced.body, inside, parameters)):
            body.outputs[f"output_{i}"] = output
        return list(self.g.composite(region.composite, inputs, body, region.attributes))

    def _value(self, x: Any) -> Value:
        value = self._as_operand(x)
        assert isinstance(value, Value)
        return value

    def _as_operand(self, x: Any) -> Any:
        """Constants become values when a rule sees them; numbers and the like stay what they are."""
        if not isinstance(x, torch.Tensor):
            return x
        if x.dtype == torch.float64:  # a number that meets float32 tensors, which win
            x = x.float()
        if x.dtype not in DTYPE_NAMES:
            raise NotImplementedError(f"with a constant of {x.dtype}")
        return self.g.constant(x.detach().cpu().resolve_neg().numpy())


class _UnknownShapeError(Exception):
    """An operator without a rule gives a shape that depends on contents, so that nothing after it can be looked at."""


def _refuse_writes(graph: ExportGraphSignature) -> None:
    state = [*graph.buffers_to_mutate.values(), *graph.parameters_to_mutate.values()]
    if names := [name.removeprefix("target.") for name in state]:
        raise UnsupportedError(
            f"forward writes to buffers or parameters of the module: {', '.join(names)}",
            code=ErrorCode.MUTATED_BUFFER,
            hint="call model.eval() before converting; what lives from one call to the next is passed in and returned",
        )


def _refuse_empty(what: str, shape: Sequence[int]) -> None:
    if 0 in shape:
        raise UnsupportedError(
            f"{what} has no elements: its shape is {list(shape)}",
            code=ErrorCode.EMPTY_TENSOR,
            hint="LiteRT keeps no empty tensors at its boundary; leave it out, or convert with a shape that has some",
        )


def _user_inputs(trace: Trace) -> list[torch.Tensor]:
    names = set(trace.program.graph_signature.user_inputs)
    return [n.meta["val"] for n in trace.program.graph.nodes if n.op == "placeholder" and n.name in names]


def _described(tensor: torch.Tensor) -> tuple[tuple[int, ...], str]:
    if tensor.dtype not in DTYPE_NAMES:
        raise UnsupportedError(
            f"LiteRT has no tensor of {tensor.dtype}",
            code=ErrorCode.UNSUPPORTED_DTYPE,
            hint="convert model.float(), with float32 inputs; --scheme fp16 or scheme='fp16' stores weights in 16 bits"
            if tensor.is_floating_point()
            else "keep real and imaginary parts in two tensors"
            if tensor.is_complex()
            else "cast it to int32",
        )
    return tuple(int(n) for n in tensor.shape), DTYPE_NAMES[tensor.dtype]


def _depends_on_contents(value: Any) -> bool:
    """True if a tensor's shape is known only when the module runs."""
    return any(not isinstance(n, int) for leaf in _leaves(value) for n in getattr(leaf, "shape", ()))


def _is_empty(value: Any) -> bool:
    """True for one tensor without elements, whose contents depend on nothing."""
    return isinstance(value, torch.Tensor) and any(isinstance(n, int) and n == 0 for n in value.shape)


def _is_random(node: fx.Node) -> bool:
    """True if PyTorch would draw other numbers each time; folding would draw them once and for all."""
    return torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())


def _evaluate(node: fx.Node, args: Any, kwargs: Mapping[str, Any]) -> Any:
    assert callable(node.target)
    on_cpu = {"device": torch.device("cpu")} if "device" in kwargs else {}
    return node.target(*args, **{**kwargs, **on_cpu})


def _check(node: fx.Node, result: Any) -> None:
    expected = _leaves(node.meta["val"])
    for got, want in zip(_leaves(result), expected, strict=True):
        if isinstance(want, torch.Tensor) and (got.shape, got.dtype) != _described(want):
            raise AssertionError(f"rule for {node.target} gave {got}, PyTorch says {want.dtype}{list(want.shape)}")


def _map(tree: Any, function: Callable[[Any], Any]) -> Any:
    """``tree`` of tuples, lists and dictionaries with every leaf replaced."""
    if isinstance(tree, tuple | list):
        return type(tree)(_map(branch, function) for branch in tree)
    if isinstance(tree, Mapping):
        return {key: _map(branch, function) for key, branch in tree.items()}
    return function(tree)


def _leaves(tree: Any) -> list[Any]:
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    return [leaf for branch in tree for leaf in _leaves(branch)] if isinstance(tree, tuple | list) else [tree]


def _origin(node: fx.Node) -> str:
    """``blocks.3.attention (model.py:87)``, as far as the trace knows."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    path = stack[-1][0].removeprefix("L['self'].").removeprefix("target.") if stack else ""
    frames = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines() if 'File "' in line]
    if not frames:
        return path or "?"
    file, line = frames[-1].split('"')[1], frames[-1].split("line ")[1].split(",")[0]
    return f"{path or 'forward'} ({file.rsplit('/', 1)[-1]}:{line})"


def _unsupported_error(signature: str, found: Mapping[str, list[str]]) -> UnsupportedError:
    lines = []
    for name, places in sorted(found.items()):
        distinct = list(dict.fromkeys(places))
        more = f" and {len(distinct) - 1} more" if len(distinct) > 1 else ""
        lines.append(f"{name:<40} {len(places)}x  {distinct[0]}{more}")
        if hint := hint_for(name):
            lines.append(f"    instead: {hint}")
    return UnsupportedError(
        f"signature {signature!r} uses {len(found)} operators that have no lowering",
        code=ErrorCode.NO_LOWERING,
        details=lines,
        hint="write the code with supported operators, or add rules in a plugin (hook edgegen_op_lowerings)",
    )
