"""Tasks: how models of one kind are exported, verified and described."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from edgegen.errors import ErrorCode, UsageError
from edgegen.export.options import ExportOptions
from edgegen.export.oracle import OracleModel
from edgegen.export.records import ExportPlan
from edgegen.export.reference import Reference
from edgegen.export.results import OracleVerification, VerificationResult
from edgegen.export.verify import Array
from edgegen.litert.session import Session
from edgegen.tracing import Signature


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task of models, such as text generation.

    Attributes:
        name: one of :data:`edgegen.descriptors.TASKS`, which are the names of model hubs.
        title: a model of the task in words, with its article, for messages.
        protocol: protocol of :mod:`edgegen.modeling` that the family's module must fulfil.
        command: command that runs an exported folder, typed in it.
        rejected: fields of :class:`ExportOptions` that have no effect on such models.
        encode_lengths: default of that option; those beyond what a model was trained for are left out.
        defaults: defaults of ``edgegen export`` for other options, where they differ from those of
            :class:`ExportOptions`.
        signatures: ``(module, options) -> signatures`` of the file.
        verify: ``(session, reference) -> figures`` of the file against the float model.
        against: ``(session, reference, oracle) -> figures`` of the file and the float model against an oracle.
        debug_signatures: ``(signature names) -> names`` of those that run all of the model's blocks.
        debug_run: ``(session, reference) -> outputs, eager``: outputs of those signatures for a short text, and a
            function that runs the float model on the same text, called while its weights can be read.
        manifest: ``(plan) -> fields`` of ``manifest.json`` besides those that all tasks share.
        card: ``(plan) -> rows`` of the model card, title -> text.
    """

    name: str
    title: str
    protocol: type[Any]
    command: str
    rejected: tuple[str, ...] = ()
    encode_lengths: tuple[int, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    signatures: Callable[[nn.Module, ExportOptions], list[Signature]]
    verify: Callable[[Session, Reference], VerificationResult]
    against: Callable[[Session, Reference, OracleModel], OracleVerification]
    debug_signatures: Callable[[Iterable[str]], Sequence[str]]
    debug_run: Callable[[Session, Reference], tuple[Mapping[str, Array], Callable[[], object]]]
    manifest: Callable[[ExportPlan], Mapping[str, Any]]
    card: Callable[[ExportPlan], Mapping[str, str]]

    def check(self, options: ExportOptions) -> None:
        """Refuse options that have no effect on models of this task.

        Raises:
            UsageError: one of them was given.
        """
        defaults = ExportOptions(variant=options.variant, checkpoint=options.checkpoint, output=options.output)
        given = [name for name in self.rejected if getattr(options, name) != getattr(defaults, name)]
        if given:
            option = "--layer" if given[0] == "layers" else "--" + given[0].replace("_", "-")
            raise UsageError(
                f"{option} means nothing to {options.variant}, which is {self.title}",
                code=ErrorCode.OPTION_NOT_APPLICABLE,
                hint=f"leave out {option}",
            )

    def with_encode_lengths(self, options: ExportOptions, context_length: int) -> ExportOptions:
        """``options`` with the task's own encode lengths where none were given.

        Raises:
            UsageError: those that were given make no sense.
        """
        lengths = options.encode_lengths
        if lengths is None:
            fitting = tuple(length for length in self.encode_lengths if length <= context_length)
            return replace(options, encode_lengths=fitting or ((context_length,) if self.encode_lengths else ()))
        if not lengths or min(lengths) < 1 or len(set(lengths)) != len(lengths):
            raise UsageError(
                f"encode lengths must be positive and distinct, not {list(lengths)}",
                code=ErrorCode.INVALID_LENGTHS,
                hint=f"--encode-lengths {','.join(map(str, self.encode_lengths))}",
            )
        return options


def listed(lengths: tuple[int, ...] | None, name: str) -> str:
    """Names of the signatures of these lengths, for the model card."""
    return ", ".join(f"`{name}_{length}`" for length in lengths or ())
