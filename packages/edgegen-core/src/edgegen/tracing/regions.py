"""Named boundaries around ordinary PyTorch code that the tracer keeps whole.

Two kinds. A *composite* is a function or a module with a name that a delegate may know; it becomes one operator in the
file with its code as the fallback. A *repeated block* is one of many alike (a decoder's layers); it is traced once for
all of them and expanded when lowered, so tracing takes as long for 2 layers as for 80.

In a trace a boundary is a single call of ``edgegen::region``; outside one it is not there at all. How a tracer knows
the shapes that come out: the module runs first on its (meta) tensors while boundaries are recorded (of equal ones only
the first really runs), then under ``torch.export`` the same calls are answered from the record.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.utils import _pytree as pytree

from edgegen.errors import ErrorCode, UnsupportedError, UsageError
from edgegen.tracing.operators import LIBRARY


@dataclass(frozen=True)
class Composites:
    """The composites that a conversion keeps.

    Attributes:
        names: their names; None for all of them.
    """

    names: frozenset[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Composites:
        """From the command line: ``all``, ``none``, or names separated by commas.

        Raises:
            UsageError: it is something else.
        """
        if text in ("all", "none"):
            return cls(None if text == "all" else frozenset())
        names = [name.strip() for name in text.split(",")] if isinstance(text, str) else []
        if not names or not all(names) or not {"all", "none"}.isdisjoint(names):
            raise UsageError(
                f"composites are named by {text!r}",
                code=ErrorCode.INVALID_ARGUMENT,
                hint="give none, all, or names such as odml.rms_norm,odml.swiglu",
            )
        return cls(frozenset(names))

    def check_used(self, met: Collection[str]) -> None:
        """Refuse names that no composite of the model has.

        Args:
            met: names of the model's composites.

        Raises:
            UsageError: there are some.
        """
        unused = sorted(name for name in self.names or () if name not in met)
        if unused:
            raise UsageError(
                f"the model has no composite {', '.join(unused)}",
                code=ErrorCode.INVALID_ARGUMENT,
                hint=f"it has {', '.join(sorted(met)) or 'none at all'}",
            )

    def __contains__(self, name: object) -> bool:
        return self.names is None or name in self.names


@dataclass(frozen=True)
class Region:
    """A boundary: code that is traced as one call.

    Attributes:
        body: the code inside.
        key: regions with equal keys have equal bodies, but for the parameters' names.
        module: the module whose code it is; None for a function.
        composite: the composite's name; None for a module that is just repeated.
        attributes: what the composite's operator states.
    """

    body: Callable[..., Any]
    key: Hashable
    module: nn.Module | None = None
    composite: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def written(self, problem: str) -> UnsupportedError:
        """An error about in-place writes that would cross the boundary."""
        what = type(self.module).__name__ if self.composite is None else f"composite {self.composite}"
        hint = "" if self.composite is None else f"; --composites without {self.composite} takes it as it is"
        return UnsupportedError(
            f"{what} {problem}, and what is traced as one call cannot",
            code=ErrorCode.MUTATED_ARGUMENT,
            hint=f"return the new value instead{hint}",
        )


@dataclass(frozen=True)
class Call:
    """One call of a region: its inputs and outputs, tensors without contents.

    Attributes:
        key: calls with equal keys have equal traces.
    """

    region: Region
    key: Hashable
    leaves: tuple[Any, ...]
    in_spec: pytree.TreeSpec
    outputs: tuple[torch.Tensor, ...]
    out_spec: pytree.TreeSpec


def _call_key(region: Region, leaves: Sequence[Any], in_spec: pytree.TreeSpec) -> Hashable:
    # With their types, as 1, 1.0 and True are equal.
    described = tuple(
        (tuple(leaf.shape), leaf.dtype) if isinstance(leaf, torch.Tensor) else (type(leaf), leaf) for leaf in leaves
    )
    return (region.key, region.composite, described, str(in_spec))


class Recorder:
    """Recorder of one trace: records the calls of regions on the first run, and replays them on the second.

    Args:
        entered: module whose inside is traced; None for a call from outside.
        composites: which to keep.
        met: takes the names of all composites that were called, kept or not.
    """

    def __init__(self, entered: nn.Module | None, composites: Composites, met: set[str]) -> None:
        self.calls: list[Call] = []
        self._entered = entered
        self._composites = composites
        self._met = met
        self._results: dict[Hashable, tuple[tuple[Any, ...], pytree.TreeSpec]] = {}
        self._aliases: dict[Hashable, bool] = {}
        self._shared: list[tuple[Region, torch.Tensor, int]] = []
        self._replaying = False
        self._next = 0

    def applies_to(self, region: Region) -> bool:
        if region.module is not None and region.module is self._entered:
            return False  # its inside is what is being traced
        if region.composite is not None:
            self._met.add(region.composite)
        return region.composite is None or region.composite in self._composites

    @contextmanager
    def replay(self) -> Iterator[None]:
        """Answer from the record; meanwhile the modules in it are empty, so that nobody looks at their parameters."""
        modules = {call.region.module: None for call in self.calls if call.region.module is not None}
        contents = {module: (module._parameters, module._modules) for module in modules}
        self._replaying = True
        try:
            for module in modules:
                module._parameters, module._modules = {}, {}
            yield
        finally:
            for module, (parameters, children) in contents.items():
                module._parameters, module._modules = parameters, children

    def call(self, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._answer(args, kwargs) if self._replaying else self._record(region, args, kwargs)

    def _record(self, region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves, in_spec = pytree.tree_flatten((args, kwargs))
        key = _call_key(region, leaves, in_spec)
        if key not in self._results:
            with recording(None):
                result, spec = pytree.tree_flatten(region.body(*args, **kwargs))
            self._aliases[key] = _shares_memory(result, leaves)
            self._results[key] = (tuple(map(_blank, result)), spec)
        outputs, out_spec = self._results[key]
        if self._aliases[key]:
            tensors = [each for each in (*leaves, *outputs) if isinstance(each, torch.Tensor)]
            if any(each.is_inference() for each in tensors):
                raise region.written("returns a view of an argument in inference mode, where writes are not counted")
            self._shared += [(region, each, each._version) for each in tensors]
        self.calls.append(Call(region, key, tuple(map(_blank, leaves)), in_spec, outputs, out_spec))
        return pytree.tree_unflatten(outputs, out_spec)

    def refuse_written_aliases(self) -> None:
        """Refuse writes to tensors that share memory with another across a boundary, where the trace has two.

        Raises:
            UnsupportedError: there were some in the recorded run.
        """
        for region, tensor, version in self._shared:
            if tensor._version != version:
                raise region.written("returns a view of an argument that is written to later")

    def _answer(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        index = self._next % len(self.calls)  # torch.export may run the module more than once
        self._next += 1
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        outputs = torch.ops.edgegen.region(tensors, index)
        return pytree.tree_unflatten(outputs, self.calls[index].out_spec)


_recorder: ContextVar[Recorder | None] = ContextVar("edgegen_recorder", default=None)


@contextmanager
def recording(recorder: Recorder | None) -> Iterator[None]:
    """Make ``recorder`` the current one in the block."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


def enter(region: Region, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a region, or record it where a tracer is at work."""
    recorder = _recorder.get()
    if recorder is None or not recorder.applies_to(region):
        return region.body(*args, **kwargs)
    return recorder.call(region, args, kwargs)


def _region_shapes(inputs: Sequence[torch.Tensor], index: int) -> list[torch.Tensor]:
    recorder = _recorder.get()
    assert recorder is not None, "edgegen::region exists only while a tracer is at work"
    return [
        torch.empty(output.shape, dtype=output.dtype, device=inputs[0].device)
        for output in recorder.calls[index].outputs
    ]


LIBRARY.define("region(Tensor[] inputs, int index) -> Tensor[]")
torch.library.register_fake("edgegen::region", _region_shapes)


def _blank(leaf: Any) -> Any:
    """A tensor's shape, dtype and device without its history; zeros, since integers may be used as indices."""
    return torch.zeros_like(leaf) if isinstance(leaf, torch.Tensor) else leaf


def _shares_memory(outputs: Iterable[Any], inputs: Iterable[Any]) -> bool:
    """True if an output lies in the memory of an input or of another output."""
    given, made = (
        [leaf.untyped_storage()._cdata for leaf in leaves if isinstance(leaf, torch.Tensor)]
        for leaves in (inputs, outputs)
    )
    return len(set(made) - set(given)) < len(made)


Attributes = Collection[str] | Callable[..., Mapping[str, Any]]
"""Attributes of a composite's operator: names of keyword arguments or of a module's fields; or a function of all
arguments (preceded by the module, if there is one) that returns them."""

T = TypeVar("T", bound=Callable[..., Any])


def composite(name: str, attributes: Attributes = ()) -> Callable[[T], T]:
    """Make a function or a class of modules a composite: one operator of that name, its code as the fallback.

    Args:
        name: as delegates know it, ``vendor.name``.
        attributes: names of keyword arguments (for a module: of its fields) that the operator states as attributes; or
            a function that gets what is called with, and says what is stated, where a delegate expects others. Values
            are numbers, strings, booleans, lists, mappings.

    A function takes tensors by position, returns a tensor or several, and must not depend on anything but its
    arguments; parameters go in as such. A module's own parameters are in the fallback, not among the operator's
    inputs. Composites may contain others. Switched off, it is as if the decorator were not there.

    Example::

        @composite("odml.rms_norm", attributes=("epsilon",))
        def rms_norm(x, weight, *, epsilon): ...

        @composite("vendor.feed_forward", attributes=("width",))
        class FeedForward(nn.Module): ...
    """

    if isinstance(attributes, str):
        attributes = (attributes,)

    def decorate(target: T) -> T:
        if isinstance(target, type) and issubclass(target, nn.Module):
            target.__call__ = _composite_call(target, name, attributes)  # type: ignore[method-assign]
            return target

        named = bool(attributes) and not callable(attributes)
        signature = inspect.signature(target) if named else inspect.Signature()  # builtin functions have none
        unknown = [key for key in cast(Collection[str], attributes) if key not in signature.parameters] if named else []
        if unknown:
            raise UsageError(
                f"composite {name}: {target.__qualname__} has no argument {unknown[0]}",
                code=ErrorCode.INVALID_ARGUMENT,
                hint=f"it has {', '.join(signature.parameters)}",
            )

        @functools.wraps(target)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            stated: dict[str, Any] = dict(attributes(*args, **kwargs)) if callable(attributes) else {}
            if named:
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                keys = cast(Collection[str], attributes)
                stated = {key: bound.arguments[key] for key in keys if bound.arguments[key] is not None}
            return enter(Region(target, cast(Hashable, target), composite=name, attributes=stated), args, kwargs)

        return cast(T, wrapper)

    return decorate


def _composite_call(cls: type[nn.Module], name: str, attributes: Attributes) -> Callable[..., Any]:
    call = cls.__call__

    @functools.wraps(call)
    def wrapper(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if callable(attributes):
            stated = dict(attributes(self, *args, **kwargs))
        else:
            stated = {key: getattr(self, key) for key in attributes if getattr(self, key) is not None}
        trace_key = self.trace_key if isinstance(self, RepeatedBlock) else id(self)
        body = functools.partial(call, self)
        return enter(Region(body, (cls, trace_key), module=self, composite=name, attributes=stated), args, kwargs)

    return wrapper


class RepeatedBlock(nn.Module):
    """Base of repeated blocks, such as a decoder's layers: traced once and expanded for each of them.

    Attributes:
        trace_key: all that the block's code depends on besides the inputs' shapes, usually its configuration. Set in
            ``__init__``; blocks of one class with equal keys must trace to the same operators, whatever their weights.
    """

    trace_key: Hashable = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.trace_key is None:
            raise NotImplementedError(f"{type(self).__name__} must have a trace_key")
        region = Region(super().__call__, (type(self), self.trace_key), module=self)
        return enter(region, args, kwargs)
