"""Opening a repository as a checkpoint: its files are fetched, then opened like any others."""

from __future__ import annotations

from pathlib import Path

from edgegen.weights import Checkpoint
from edgegen.weights import open_checkpoint as open_local
from edgegen_huggingface.hub.download import fetch
from edgegen_huggingface.hub.reference import parse
from edgegen_huggingface.hub.settings import Settings


def open_checkpoint(path: Path) -> Checkpoint:
    """Open the checkpoint of a reference, downloaded if need be; the format is that of the files.

    Raises:
        UsageError: it names no repository, or several weights could be meant.
        CheckpointError: the repository holds no weights, or damaged ones.
        ResourceError: no network and not in the cache, no right to read it, or no room.
    """
    return open_local(fetch(parse(path.as_posix()), Settings.read()))
