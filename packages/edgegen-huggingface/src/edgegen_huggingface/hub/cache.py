"""The cache of ``huggingface_hub``: weights that are in it already, and room for those that are not."""

from __future__ import annotations

import shutil
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

from edgegen.cli.output import format_bytes
from edgegen.errors import CheckpointError, ErrorCode, ResourceError, UsageError
from edgegen_huggingface.hub.reference import Reference
from edgegen_huggingface.hub.selection import choose
from edgegen_huggingface.hub.settings import Settings


def find(reference: Reference, settings: Settings) -> Path | None:
    """Path of the weights in the cache, None unless all of them are there. Uses no network.

    Raises:
        UsageError: several weights are there, and none was named.
    """
    try:
        snapshot = Path(
            snapshot_download(
                reference.repository,
                revision=reference.revision,
                cache_dir=settings.cache,
                local_files_only=True,
                allow_patterns=[],  # any part of it will do: edgegen never downloads all of a repository
            )
        )
    except LocalEntryNotFoundError:
        return None
    names = [file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()]
    try:
        weights = choose(names, reference)
    except (CheckpointError, UsageError) as error:
        if isinstance(error, UsageError) and not reference.inside:
            raise  # several are there
        return None
    return snapshot / weights.entry if weights.complete else None


def check_room(needed: int, reference: Reference, settings: Settings) -> None:
    """Refuse a download that the disk has no room for.

    Raises:
        ResourceError: the disk that the cache is on has less than ``needed`` bytes free.
    """
    folder = next(folder for folder in (settings.cache, *settings.cache.parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ResourceError(
            f"{reference} needs {format_bytes(needed)} and {settings.cache} has {format_bytes(free)} free",
            code=ErrorCode.DISK_TOO_SMALL,
            hint="make room, or keep the cache on another disk: HF_HUB_CACHE=/path",
        )
