"""Signatures, and tracing them with ``torch.export``."""

from __future__ import annotations

import functools
import inspect
import operator
import warnings
from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch._decomp import decomposition_table
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, OutputKind
from torch.utils import _pytree as pytree

from edgegen.errors import EdgegenError, ErrorCode, UnsupportedError, UsageError
from edgegen.plugins.calls import origin
from edgegen.tracing.regions import Call, Composites, Recorder, recording
from edgegen.tracing.trial import tensors_of, undone

Dynamic = Mapping[str, Mapping[int, str]]
"""Input -> axis -> name of a dynamic dimension, see ``torch.export.Dim``."""


@dataclass(frozen=True)
class Signature:
    """An entry point of the exported file: a module called in one particular way.

    Attributes:
        name: e.g. ``decode``.
        module: usually the same for all signatures of a file; weights are shared by identity.
        args: example arguments; their shapes and dtypes become the signature's. ``meta`` tensors will do.
        kwargs: further arguments. Those that are no tensors are constants.
        dynamic: input -> axis -> name of a dynamic dimension, e.g. ``{"tokens": {1: "length"}}``; its size in the
            example is 2 or more.
    """

    name: str
    module: nn.Module
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    dynamic: Dynamic = field(default_factory=dict)

    @property
    def input_names(self) -> tuple[str, ...]:
        """One name per input tensor: the parameter of ``forward``, then the way into it (``kv_cache_k_0``)."""
        names = tuple(name for name, leaf in _named_leaves(self.bind()) if isinstance(leaf, torch.Tensor))
        _check_names(names, f"inputs of signature {self.name!r}")
        return names

    def bind(self) -> dict[str, Any]:
        """The arguments by the names of the parameters of ``forward``.

        Raises:
            UsageError: they do not fit, or the signature is no sound one.
        """
        self._check()
        try:
            return inspect.signature(self.module.forward).bind(*self.args, **self.kwargs).arguments
        except TypeError as error:
            raise UsageError(
                f"example arguments of signature {self.name!r} do not fit: {error}", code=ErrorCode.INVALID_EXAMPLE_ARGS
            ) from error

    def checked(self) -> Signature:
        """Itself, if it is a sound one.

        Raises:
            UsageError: it is not.
        """
        self._check()
        return self

    def _check(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise UsageError(f"a signature's name is a string, not {self.name!r}", code=ErrorCode.INVALID_ARGUMENT)
        if not isinstance(self.module, nn.Module):
            raise UsageError(
                f"signature {self.name!r} has a {type(self.module).__name__} where a torch.nn.Module belongs",
                code=ErrorCode.INVALID_ARGUMENT,
                hint="make a module whose forward does it",
            )
        if not isinstance(self.args, (tuple, list)):
            raise UsageError(
                f"example arguments of signature {self.name!r} are a {type(self.args).__name__}, not a tuple",
                code=ErrorCode.INVALID_EXAMPLE_ARGS,
                hint="write (x,) for a single one",
            )
        leaves = pytree.tree_leaves((list(self.args), dict(self.kwargs)))
        if any(isinstance(leaf, np.ndarray) for leaf in leaves):
            raise UsageError(
                f"example arguments of signature {self.name!r} hold a NumPy array, which a module does not take",
                code=ErrorCode.INVALID_EXAMPLE_ARGS,
                hint="give tensors: torch.from_numpy(array)",
            )
        if not isinstance(self.dynamic, Mapping) or not all(isinstance(one, Mapping) for one in self.dynamic.values()):
            raise UsageError(
                f"dynamic dimensions of signature {self.name!r} are {self.dynamic!r}",
                code=ErrorCode.INVALID_DYNAMIC_SHAPES,
                hint='name them by input and axis: {"tokens": {1: "length"}}',
            )

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each dynamic dimension in the example inputs.

        Raises:
            UsageError: there is no such input or axis; inputs disagree on a size; or one is below 2.
        """
        shapes = {name: leaf.shape for name, leaf in _named_leaves(self.bind()) if isinstance(leaf, torch.Tensor)}
        sizes: dict[str, int] = {}
        for name, axes in self.dynamic.items():
            if name not in shapes:
                raise UsageError(
                    f"signature {self.name!r} has no input {name!r}; there are {', '.join(shapes)}",
                    code=ErrorCode.INVALID_DYNAMIC_SHAPES,
                )
            for axis, size in axes.items():
                if not 0 <= axis < len(shapes[name]):
                    raise UsageError(
                        f"input {name!r} has no axis {axis}; its shape is {list(shapes[name])}",
                        code=ErrorCode.INVALID_DYNAMIC_SHAPES,
                    )
                length = shapes[name][axis]
                if sizes.setdefault(size, length) != length:
                    raise UsageError(
                        f"size {size!r} is {sizes[size]} of one input and {length} of {name!r}",
                        code=ErrorCode.INVALID_DYNAMIC_SHAPES,
                    )
                if length < 2:
                    raise UsageError(
                        f"the example of {name!r} has length {length} along axis {axis}, which is to be dynamic",
                        code=ErrorCode.INVALID_DYNAMIC_SHAPES,
                        hint="give an example of 2 or more: 1 broadcasts, and other code runs",
                    )
        return sizes

    def resized(self, sizes: Mapping[str, int]) -> Signature:
        """The same entry point with example inputs of zeros, of these sizes in the dynamic dimensions."""
        names = iter(self.input_names)

        def change(leaf: torch.Tensor) -> torch.Tensor:
            dynamic_axes = self.dynamic.get(next(names), {})
            shape = [sizes[dynamic_axes[axis]] if axis in dynamic_axes else n for axis, n in enumerate(leaf.shape)]
            return leaf.new_zeros(shape) if dynamic_axes else leaf

        args, kwargs = pytree.tree_map_only(torch.Tensor, change, (self.args, dict(self.kwargs)))
        return replace(self, args=args, kwargs=kwargs)


@dataclass(frozen=True)
class Trace:
    """ATen operators of a module, with its regions whole.

    Attributes:
        program: inputs are the tensors among the arguments, in order; ``edgegen.region(tensors, i)`` stands for
            ``regions[i]``.
        root: the module that parameter names in ``program`` start from.
        output_names: one for each output tensor.
        regions: calls of regions, each with its own trace.
    """

    program: ExportedProgram
    root: nn.Module
    output_names: tuple[str, ...]
    regions: tuple[TracedCall, ...]


@dataclass(frozen=True)
class TracedCall:
    """A call of a region together with the trace of its body."""

    call: Call
    body: Trace


_KEPT = ("aten._native_batch_norm_legit.default", "aten._native_batch_norm_legit_functional.default")
"""Training, which is better called by its name in messages than taken apart."""


class Tracer:
    """Traces the signatures of one conversion, each distinct region once for each shape that it meets.

    Args:
        known: names of operators (``aten.linear.default``) that are wanted whole. A graph of nothing else is taken as
            ``torch.export`` gives it; otherwise the rest is decomposed by PyTorch's own table, and mutation with it.
        composites: which to keep; default: all.
        places: note the source line of each operator, for messages; costs a quarter of the time.
    """

    def __init__(self, known: Container[str], composites: Composites | None = None, *, places: bool = True) -> None:
        self._known = known
        self._composites = composites or Composites()
        self._met: set[str] = set()
        self._places = places
        self._bodies: dict[Hashable, Trace] = {}

    def check_composites(self) -> None:
        """Refuse composites to keep that no signature traced so far has; raises UsageError."""
        self._composites.check_used(self._met)

    def trace(self, signature: Signature) -> Trace:
        """The operators of one signature.

        Raises:
            UsageError: the example arguments do not fit the module.
            UnsupportedError: PyTorch itself cannot export the module.
        """
        signature.bind()
        try:
            traced = self._trace(signature.module, signature.args, dict(signature.kwargs))
        except (EdgegenError, MemoryError):
            raise
        except Exception as error:
            raise UnsupportedError(
                f"cannot trace signature {signature.name!r}: {error}",
                code=ErrorCode.TRACE_FAILED,
                details=[origin(error)],
                hint="does it run in PyTorch on these arguments? If so, control flow on tensor values and unsupported "
                "Python objects are the usual reasons",
            ) from error
        self._warn_of_overwritten_inputs(signature, traced.program)
        specs = traced.program.graph_signature.output_specs
        if not any(spec.kind is OutputKind.USER_OUTPUT for spec in specs):
            raise UsageError(
                f"signature {signature.name!r} returns nothing",
                code=ErrorCode.INVALID_ARGUMENT,
                hint="return a tensor, or a tuple or dict of tensors",
            )
        for output in (spec.arg for spec in specs if spec.kind is OutputKind.USER_OUTPUT):
            if isinstance(output, ConstantArgument):
                raise UsageError(
                    f"signature {signature.name!r} returns {output.value!r} where a tensor belongs",
                    code=ErrorCode.INVALID_ARGUMENT,
                    hint="return a tensor, or a tuple or dict of tensors",
                )
        return traced

    @staticmethod
    def _warn_of_overwritten_inputs(signature: Signature, program: ExportedProgram) -> None:
        """Warn of inputs that forward writes to without returning what it wrote: a file leaves its inputs alone."""
        graph = program.graph_signature
        names = dict(zip(graph.user_inputs, signature.input_names, strict=True))
        lost = [names[name] for new, name in graph.user_inputs_to_mutate.items() if new not in graph.user_outputs]
        if lost:
            warnings.warn(
                f"forward of signature {signature.name!r} writes to its input {', '.join(lost)}, which the file leaves "
                "alone: return the new value if it is wanted",
                stacklevel=2,
            )

    def _trace(
        self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any], entered: nn.Module | None = None
    ) -> Trace:
        """``entered`` is the module whose inside is wanted, rather than a call of it."""
        recorder = Recorder(entered, self._composites, self._met)
        flat = _Flat(target, args, kwargs)
        with torch.no_grad(), recording(recorder):
            with undone([*tensors_of(target), *flat.tensors]):
                result = target(*args, **kwargs)
            recorder.refuse_written_aliases()
            with recorder.replay(), stack_traces(self._places):
                program = torch.export.export(flat, flat.tensors, strict=False)
                if not self._is_plain(program):
                    program = program.run_decompositions(dict(self._decompositions))
        names = tuple(name for name, _ in _named_leaves(result if isinstance(result, dict) else {"output": result}))
        if entered is None:
            _check_names(names, "outputs")
        return Trace(program, target, names, tuple(map(self._trace_call, recorder.calls)))

    def _is_plain(self, program: ExportedProgram) -> bool:
        """True if no operator overwrites anything, and all that depend on an input or parameter are known."""
        return not any(map(_overwrites, program.graph.nodes)) and all(
            node.target is operator.getitem
            or node.target is torch.ops.edgegen.region.default
            or str(node.target) in self._known
            for node in _dependent(program.graph)
        )

    @functools.cached_property
    def _decompositions(self) -> dict[Any, Any]:
        """PyTorch's decompositions of operators without a rule: its export table, then all others."""
        others = {
            target: body
            for target, body in decomposition_table.items()
            # Those written for its compiler end in ``prims``, which would only make messages harder to read.
            if not body.__module__.startswith("torch._refs") and str(target) not in _KEPT
        }
        table: dict[Any, Any] = {**others, **torch.export.default_decompositions()}
        return {target: body for target, body in table.items() if str(target) not in self._known}

    def _trace_call(self, call: Call) -> TracedCall:
        if call.key not in self._bodies:
            args, kwargs = pytree.tree_unflatten(call.leaves, call.in_spec)
            region = call.region
            target = region.module if region.module is not None else _Function(region.body)
            body = self._trace(target, args, kwargs, entered=region.module)
            if body.program.graph_signature.user_inputs_to_mutate:
                raise region.written("writes to its arguments")
            self._bodies[call.key] = body
        return TracedCall(call, self._bodies[call.key])


@contextmanager
def stack_traces(wanted: bool) -> Iterator[None]:
    """Turn FX's record of source lines on each node on or off in the block."""
    before = fx.config.do_not_emit_stack_traces
    fx.config.do_not_emit_stack_traces = not wanted
    try:
        yield
    finally:
        fx.config.do_not_emit_stack_traces = before


class _Flat(nn.Module):
    """A module that takes the tensors of nested arguments and calls another with the whole."""

    def __init__(self, target: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.target = target
        self._leaves, self._spec = pytree.tree_flatten((args, kwargs))

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        return tuple(leaf for leaf in self._leaves if isinstance(leaf, torch.Tensor))

    def forward(self, *tensors: torch.Tensor) -> tuple[Any, ...]:
        given = iter(tensors)
        leaves = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in self._leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self._spec)
        return tuple(pytree.tree_leaves(self.target(*args, **kwargs)))


class _Function(nn.Module):
    """A composite's body as a module, which is what ``torch.export`` takes."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)


def _overwrites(node: fx.Node) -> bool:
    """True for operators that write to an argument, whether or not their own result is used."""
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _dependent(graph: fx.Graph) -> list[Any]:
    """The calls whose result is used and not the same at every run."""
    varying: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or varying.intersection(node.all_input_nodes):
            varying.add(node)
    return [node for node in graph.nodes if node in varying and node.op == "call_function" and node.users]


def _check_names(names: Sequence[str], what: str) -> None:
    """Refuse names that a file cannot hold, or that two tensors would have.

    Raises:
        UsageError: there are some.
    """
    for name in names:
        if not name or "\0" in name or names.count(name) > 1:
            problem = f"two of them are {name!r}" if names.count(name) > 1 else f"{name!r} is no name"
            raise UsageError(
                f"the {what} have names that cannot be told apart: {problem}",
                code=ErrorCode.INVALID_ARGUMENT,
                hint="names are made of the keys on the way to a tensor, joined by _; choose keys that differ then",
            )


def _named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """``kv_cache_k_0`` for ``{"kv_cache": KVCache(k=[tensor])}``."""
    leaves, _ = pytree.tree_flatten_with_path(dict(tree))
    return [("_".join(_key_text(key) for key in path), leaf) for path, leaf in leaves]


def _key_text(key: Any) -> str:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)
