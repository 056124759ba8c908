"""Assignment of a storage to each parameter of a program: quantization as a property of storage."""

from __future__ import annotations

from collections.abc import Mapping

from edgegen.graph import Program
from edgegen.quantization.recipe import Recipe
from edgegen.tflite.writer import Parameter
from edgegen.weights.folded import source_of
from edgegen.weights.storage import ParameterInfo, Scheme, Storage, scheme_for
from edgegen.weights.tensors import LazyTensor


def plan_parameters(program: Program, sources: Mapping[str, LazyTensor], scheme: Scheme) -> dict[str, Parameter]:
    """Storage of each parameter that the program uses, in the order of ``sources``; folded ones at the end.

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
    return Parameter(source, chosen.storage(info), chosen, info.role)


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
