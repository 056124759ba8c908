"""Opening a checkpoint whatever its format."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgegen.checkpoints.tensors import Checkpoint
from edgegen.descriptors import CheckpointFormat
from edgegen.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from edgegen.plugins import Registry

_log = logging.getLogger(__name__)


def open_checkpoint(path: str | Path, format: str | None = None) -> Checkpoint:
    """Open a checkpoint with the format that recognises it, or with the one named.

    Args:
        path: a file or a folder.
        format: name of a checkpoint format; None asks each installed one.

    Raises:
        UsageError: the path does not exist, the format is unknown, or several formats recognise the path.
        CheckpointError: no format recognises it, or the checkpoint is damaged.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(f"no such checkpoint: {path}", hint="name a file or folder that exists")
    chosen = _registry().checkpoint_format(format) if format else _detect(path)
    opener: Callable[[Path], Checkpoint] = _load(chosen.open)
    return opener(path)


def _detect(path: Path) -> CheckpointFormat:
    formats = [provided.descriptor for provided in _registry().checkpoint_formats.values()]
    found = [format for format in formats if _recognises(format, path)]
    if not found:
        raise CheckpointError(
            f"{path} is not a checkpoint of any installed format",
            details=[f"tried  {format.name}: {format.summary}" for format in formats],
            hint="name the file that holds the weights, or install the package that reads it",
        )
    if len(found) > 1:
        names = ", ".join(format.name for format in found)
        raise UsageError(
            f"{path} holds checkpoints of several formats: {names}",
            hint=f"add --checkpoint-format {found[0].name}, or name one file",
        )
    return found[0]


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
