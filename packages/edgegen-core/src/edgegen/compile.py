"""Compilation of signatures to a program of LiteRT operators: trace, lower, rewrite. Needs torch.

:func:`build_program` is the compiler; :func:`edgegen.quantization.assign.plan_parameters` then says what each weight is
stored as, and :mod:`edgegen.tflite.writer` writes both.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgegen.errors import EdgegenError, ErrorCode, UnsupportedError, UsageError
from edgegen.graph import FixedSizeError, Graph, Program, optimize, with_dynamic_shapes
from edgegen.lowering import RuleTable, lower
from edgegen.plugins import load, registry
from edgegen.plugins.calls import returned
from edgegen.plugins.records import CORE
from edgegen.tracing import Composites, Signature, Tracer


def lowering_rules() -> RuleTable:
    """The rules of all plugins, in one table."""
    return merged_rules()[0]


def merged_rules() -> tuple[RuleTable, dict[str, EdgegenError]]:
    """The rules of all plugins in one table, and why those of some plugins are not in it: package -> error."""
    rules, failed = RuleTable(), {}
    for provided in registry().lowering_rules.values():
        try:
            own = returned(load(provided.descriptor.rules), RuleTable, provided.distribution, "rules")
        except EdgegenError as error:
            if provided.distribution == CORE:
                raise
            failed[provided.distribution] = error
            continue
        rules.merge(own, provided.distribution)
    return rules, failed


def build_program(
    signatures: Sequence[Signature], composites: Composites | None = None, rules: RuleTable | None = None
) -> Program:
    """Trace, lower and optimize every signature.

    Raises:
        UsageError: two signatures have one name, arguments do not fit, or composites are named that the model lacks.
        UnsupportedError: an operator has no lowering.
    """
    names = [signature.name for signature in signatures]
    if len(set(names)) != len(names):
        raise UsageError(f"signature names must differ; got {', '.join(names)}", code=ErrorCode.INVALID_ARGUMENT)
    failed: dict[str, EdgegenError] = {}
    if rules is None:
        rules, failed = merged_rules()
    if any(signature.dynamic for signature in signatures):
        if composites is not None and composites.names != frozenset():
            raise UsageError(
                "composites cannot be kept beside dynamic dimensions: their bodies have sizes of their own",
                code=ErrorCode.INVALID_ARGUMENT,
                hint="leave composites out, or make one signature for each of some sizes: Converter.buckets",
            )
        composites = Composites.parse("none")
    try:
        return _build(signatures, Tracer(rules, composites, places=False), rules)
    except UnsupportedError:
        # Once more, slower, to say on which lines.
        try:
            return _build(signatures, Tracer(rules, composites, places=True), rules)
        except UnsupportedError as error:
            if not failed:
                raise
            lost = [f"rules of {owner} cannot be loaded: {cause.message}" for owner, cause in failed.items()]
            raise UnsupportedError(
                error.message, code=error.code, details=[*error.details, *lost], hint=error.hint
            ) from error


def _build(signatures: Sequence[Signature], tracer: Tracer, rules: RuleTable) -> Program:
    program = Program({s.name: _graph(s, tracer, rules) for s in signatures})
    tracer.check_composites()
    return program


def _graph(signature: Signature, tracer: Tracer, rules: RuleTable) -> Graph:
    def of(sized: Signature) -> Graph:
        return optimize(lower(sized, tracer.trace(sized), rules))

    if not signature.dynamic:
        return of(signature)
    twice = {name: 2 * n for name, n in signature.sizes.items()}
    try:
        return with_dynamic_shapes(of(signature), of(signature.resized(twice)))
    except FixedSizeError as error:
        raise UnsupportedError(
            f"signature {signature.name!r} cannot leave {', '.join(twice)} open: {error}",
            code=ErrorCode.DIMENSION_NOT_DYNAMIC,
            hint="make one signature for each of some sizes: Converter.buckets, with the same arguments",
        ) from error
