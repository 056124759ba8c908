"""From signatures to a file, step by step; each step is usable alone. Needs torch.

``build_program`` traces and lowers, ``plan_parameters`` decides what each weight is stored as, and
:func:`edgegen.tflite.writer.write_model` writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from edgegen.errors import ErrorCode, UnsupportedError, UsageError
from edgegen.graph import FixedSizeError, Graph, Program, generalize, optimize
from edgegen.lowering import RuleTable, lower
from edgegen.plugins import load, registry
from edgegen.quantization.recipe import Recipe
from edgegen.tflite.writer import Parameter
from edgegen.tracing import Composites, Signature, Tracer
from edgegen.weights.folded import source_of
from edgegen.weights.storage import ParameterInfo, Scheme, Storage, scheme_for
from edgegen.weights.tensors import LazyTensor


def lowering_rules() -> RuleTable:
    """The rules of all plugins, in one table."""
    rules = RuleTable()
    for provided in registry().lowering_rules.values():
        rules.merge(load(provided.descriptor.rules))
    return rules


def build_program(
    signatures: Sequence[Signature], composites: Composites | None = None, rules: RuleTable | None = None
) -> Program:
    """Trace, lower and optimize every signature.

    Raises:
        UsageError: two signatures have one name, or arguments do not fit.
        UnsupportedError: an operator has no lowering.
    """
    names = [signature.name for signature in signatures]
    if len(set(names)) != len(names):
        raise UsageError(f"signature names must differ; got {', '.join(names)}", code=ErrorCode.INVALID_ARGUMENT)
    rules = lowering_rules() if rules is None else rules
    if any(signature.dynamic for signature in signatures):
        composites = Composites.parse("none")  # their bodies have sizes of their own
    try:
        return _build(signatures, Tracer(rules, composites, places=False), rules)
    except UnsupportedError:
        # Once more, slower, to say on which lines.
        return _build(signatures, Tracer(rules, composites, places=True), rules)


def _build(signatures: Sequence[Signature], tracer: Tracer, rules: RuleTable) -> Program:
    return Program({s.name: _graph(s, tracer, rules) for s in signatures})


def _graph(signature: Signature, tracer: Tracer, rules: RuleTable) -> Graph:
    def of(sized: Signature) -> Graph:
        return optimize(lower(sized, tracer.trace(sized), rules))

    if not signature.dynamic:
        return of(signature)
    twice = {name: 2 * n for name, n in signature.sizes.items()}
    try:
        return generalize(of(signature), of(signature.resized(twice)))
    except FixedSizeError as error:
        raise UnsupportedError(
            f"signature {signature.name!r} cannot leave {', '.join(twice)} open: {error}",
            code=ErrorCode.DIMENSION_NOT_DYNAMIC,
            hint="make one signature for each of some sizes: Converter.buckets, with the same arguments",
        ) from error


def plan_parameters(program: Program, sources: Mapping[str, LazyTensor], scheme: Scheme) -> dict[str, Parameter]:
    """What each parameter that the program uses is stored as; in the order of ``sources``, derived ones at the end.

    Raises:
        UsageError: a recipe does not fit the parameters.
    """
    roles = _roles(program)
    used = {value.parameter: value for graph in program.graphs() for value in graph.values() if value.parameter}
    names = [*(name for name in sources if name in used), *(name for name in used if name not in sources)]
    tensors = {name: source_of(used[name], sources) for name in names}
    infos = {name: ParameterInfo(name, source.shape, roles[name], _packed(source)) for name, source in tensors.items()}
    if isinstance(scheme, Recipe):
        scheme.check(infos.values())
    return {name: _planned(infos[name], source, scheme) for name, source in tensors.items()}


def _planned(info: ParameterInfo, source: LazyTensor, scheme: Scheme) -> Parameter:
    chosen = scheme_for(scheme, info)
    return Parameter(source, chosen.storage(info), chosen)


def _packed(source: LazyTensor) -> Storage | None:
    return None if source.packed is None else source.packed.storage


def _roles(program: Program) -> dict[str, str]:
    """``linear``, ``embedding`` or ``other`` for each parameter, by the operators that take it."""
    uses: dict[str, set[str]] = {}
    for graph in program.graphs():
        for op in graph.ops:
            for position, value in enumerate(op.inputs):
                if value is not None and value.parameter is not None:
                    uses.setdefault(value.parameter, set()).add(_use(op.kind, position))
    order = ("other", "embedding", "linear")
    return {name: min(found, key=order.index) for name, found in uses.items()}


def _use(kind: str, position: int) -> str:
    return {("FULLY_CONNECTED", 1): "linear", ("EMBEDDING_LOOKUP", 1): "embedding"}.get((kind, position), "other")


def parameter_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Canonical name -> shape of everything that must come from a checkpoint; tied parameters once."""
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    persistent = module.state_dict().keys()
    shapes.update({n: tuple(b.shape) for n, b in module.named_buffers() if n in persistent})
    return shapes


def module_weights(module: nn.Module) -> dict[str, LazyTensor]:
    """A module's own weights as sources, by canonical name; nothing is copied until rows are asked for.

    Raises:
        UsageError: the module has no weights, being on the meta device.
    """
    state = module.state_dict()
    tensors = {name: state[name].detach() for name in parameter_shapes(module)}
    if any(tensor.is_meta for tensor in tensors.values()):
        raise UsageError(
            "the module is on the meta device and has no weights",
            code=ErrorCode.WEIGHTS_NOT_LOADED,
            hint="pass parameters=..., a mapping from parameter names to lazy tensors",
        )
    return {name: _lazy(name, tensor) for name, tensor in tensors.items()}


def _lazy(name: str, tensor: torch.Tensor) -> LazyTensor:
    rows = tensor if tensor.dim() else tensor[None]
    return LazyTensor(
        name,
        tuple(tensor.shape),
        str(tensor.dtype).removeprefix("torch."),
        tensor.nbytes,
        lambda start, stop: rows[start:stop].float().numpy(force=True),
    )
