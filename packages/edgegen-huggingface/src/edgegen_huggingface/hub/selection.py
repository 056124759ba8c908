"""Selection of one model among a repository's files: the format closest to what was published."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from edgegen.errors import CheckpointError, ErrorCode, UsageError
from edgegen.suggest import closest
from edgegen.weights.files import summarize
from edgegen_huggingface.find_weights import Weights, find_weights
from edgegen_huggingface.hub.reference import Reference
from edgegen_huggingface.repository_files import SIDECARS

KINDS = ("safetensors", "pytorch", "gguf")
"""Formats by preference: as published and safe to read, as published, quantized by someone."""

CONVENTIONAL = ("model", "pytorch_model")
"""Stems under which libraries look for a repository's weights; others beside them are variants and leftovers."""


def choose(names: Iterable[str], reference: Reference) -> Weights:
    """The model that a reference names.

    Args:
        names: paths of the repository's files.
        reference: with the path of a file or folder in the repository, if one was named.

    Raises:
        UsageError: several could be meant, or the path that was named holds no weights.
        CheckpointError: the repository holds no weights that edgegen reads.
    """
    names = list(names)
    found = find_weights(names)
    if reference.inside:
        return _inside(reference, reference.inside, found)
    chosen = _preferred(found, ".", reference)
    if chosen is None:
        raise CheckpointError(
            f"{reference} holds no weights that edgegen reads",
            code=ErrorCode.UNRECOGNIZED_CHECKPOINT,
            details=summarize(sorted(names)),
            hint="expected safetensors, PyTorch or GGUF files",
        )
    return chosen


def beside(weights: Weights, names: Iterable[str]) -> list[str]:
    """Configuration and tokenizer files of the weights; a GGUF has them inside."""
    if weights.kind == "gguf":
        return []
    known = {str(PurePosixPath(weights.folder, name)) for name in SIDECARS}
    return [name for name in names if name in known]


def _inside(reference: Reference, path: str, found: list[Weights]) -> Weights:
    """The model of a weight file, or the one in a folder."""
    for weights in found:
        if path in weights.files:
            return weights
    chosen = _preferred(
        [weights for weights in found if PurePosixPath(weights.folder).is_relative_to(path)], path, reference
    )
    if chosen is None:
        files = [file for weights in found for file in weights.files]
        meant = closest(path, files)
        raise UsageError(
            f"{reference} holds no weights at {path}",
            code=ErrorCode.CHECKPOINT_NOT_FOUND,
            details=summarize(files),
            hint=f"did you mean hf:{reference}/{meant}?" if meant else "name one of its model files",
        )
    return chosen


def _preferred(found: list[Weights], folder: str, reference: Reference) -> Weights | None:
    """The one set of weights of the first kind that is there. Published layouts keep them in one folder, but
    quantizers sort their GGUF files into several."""
    for kind in KINDS:
        candidates = [w for w in found if w.kind == kind and (w.folder == folder or kind == "gguf")]
        usual = [weights for weights in candidates if weights.stem in CONVENTIONAL]
        if usual:
            return max(usual, key=lambda weights: weights.indexed)
        if len(candidates) > 1:
            raise UsageError(
                f"{reference} holds {len(candidates)} {kind} models",
                code=ErrorCode.CHECKPOINT_AMBIGUOUS,
                details=summarize(weights.files[0] for weights in candidates),
                hint=f"name one: hf:{reference}/{candidates[0].files[0]}",
            )
        if candidates:
            return candidates[0]
    return None
