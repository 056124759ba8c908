"""How models of one kind are exported, verified and described."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgegen.errors import ErrorCode, UsageError
from edgegen.export.job import ExportOptions, Job
from edgegen.export.verify import Array, Verified
from edgegen.litert.session import Session
from edgegen.tracing import Signature


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of model.

    Attributes:
        name: one of :data:`edgegen.descriptors.KINDS`.
        title: for messages, with its article.
        pipeline: the hub's name for what such models do.
        command: what runs an exported folder, typed in it.
        without: fields of :class:`ExportOptions` that mean nothing to such models.
        encode_lengths: default of that option; those beyond what a model was trained for are left out.
        defaults: what ``edgegen export`` takes for other options that are not given, where not what
            :class:`ExportOptions` has.
        signatures: ``(model, options) -> signatures`` of the file.
        verify: ``(job, file) -> figures``: the file against the eager float model.
        probed: ``(job) -> signatures`` that show all of the model's blocks.
        read: ``(job, session) -> outputs, eager``: a text read by those signatures, what they gave, and what reads the
            same with the eager model.
        manifest: ``(job) -> fields`` that ``manifest.json`` has besides those that all kinds share.
        card: ``(job) -> rows`` of the model card, title -> text.
    """

    name: str
    title: str
    pipeline: str
    command: str
    without: tuple[str, ...] = ()
    encode_lengths: tuple[int, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    signatures: Callable[[Any, ExportOptions], list[Signature]]
    verify: Callable[[Job, Path], Verified]
    probed: Callable[[Job], Sequence[str]]
    read: Callable[[Job, Session], tuple[Mapping[str, Array], Callable[[], Any]]]
    manifest: Callable[[Job], Mapping[str, Any]]
    card: Callable[[Job], Mapping[str, str]]

    def check(self, options: ExportOptions) -> None:
        """Refuse options that would have no effect.

        Raises:
            UsageError: one of them was given.
        """
        defaults = ExportOptions(variant=options.variant, checkpoint=options.checkpoint, output=options.output)
        given = [name for name in self.without if getattr(options, name) != getattr(defaults, name)]
        if given:
            option = "--layer" if given[0] == "layers" else "--" + given[0].replace("_", "-")
            raise UsageError(
                f"{option} means nothing to {options.variant}, which is {self.title}",
                code=ErrorCode.OPTION_NOT_APPLICABLE,
                hint=f"leave out {option}",
            )

    def settled(self, options: ExportOptions, context_length: int) -> ExportOptions:
        """``options`` with the kind's own lengths where none were given.

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
    """Signatures of these lengths for the model card."""
    return ", ".join(f"`{name}_{length}`" for length in lengths or ())
