"""Download of a repository's files by reference: list the repository, choose, check for room, download."""

from __future__ import annotations

import glob
import logging
import re
from pathlib import Path, PurePosixPath

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download

from edgegen.errors import CheckpointError, ErrorCode, ResourceError
from edgegen_huggingface.hub import cache, progress_bars
from edgegen_huggingface.hub.failures import UnreachableError, explained, no_hub
from edgegen_huggingface.hub.reference import Reference
from edgegen_huggingface.hub.selection import beside, choose
from edgegen_huggingface.hub.settings import Settings

_log = logging.getLogger(__name__)


def fetch(reference: Reference, settings: Settings) -> Path:
    """Path of the file or folder to open, below ``snapshots/<commit>`` of the cache; downloaded where it is missing.

    Raises:
        UsageError: no such repository or revision, or several weights could be meant.
        CheckpointError: it holds no weights, or lists files outside of it.
        ResourceError: no network and not in the cache, no right to read it, no room, or the download broke off.
    """
    if settings.offline:
        return _cached(reference, settings)
    try:
        commit, files = _list_files(reference, settings)
    except UnreachableError as error:
        found = cache.find(reference, settings)
        if found is None:
            raise
        _log.warning("%s; going on with what the cache has of it", error.message)
        return found
    weights = choose(files, reference)
    entry = _download([*weights.files, *beside(weights, files)], commit, reference, settings) / weights.entry
    if not entry.exists():
        raise ResourceError(
            f"{reference} was changed while it was being downloaded",
            code=ErrorCode.REPOSITORY_CHANGED,
            hint="run it again",
        )
    return entry


def _cached(reference: Reference, settings: Settings) -> Path:
    found = cache.find(reference, settings)
    if found is None:
        raise ResourceError(
            f"HF_HUB_OFFLINE is set, and not all of {reference} is in {settings.cache}",
            code=ErrorCode.OFFLINE,
            hint="run it once without HF_HUB_OFFLINE, on a machine with a network",
        )
    return found


def _list_files(reference: Reference, settings: Settings) -> tuple[str, list[str]]:
    """Commit and paths of the repository's files at the revision."""
    with explained(reference, settings):
        try:
            info = HfApi(endpoint=settings.endpoint).model_info(
                reference.repository, revision=reference.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
        except (TypeError, KeyError, AttributeError) as error:  # JSON, but not what a hub sends
            raise no_hub(settings) from error
    # The commit becomes the name of a folder, and the paths lie below it.
    if info.sha is None or not re.fullmatch("[0-9a-f]{40}", info.sha):
        raise no_hub(settings)
    files = [sibling.rfilename for sibling in info.siblings or ()]
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
            raise CheckpointError(
                f"{reference} lists a file outside of the repository: {name!r}",
                code=ErrorCode.UNSAFE_PATH,
                hint="do not trust this repository, nor HF_ENDPOINT if it is set",
            )
    return info.sha, files


def _download(names: list[str], commit: str, reference: Reference, settings: Settings) -> Path:
    """The snapshot's folder, with these files in it."""
    repository, cache_dir, endpoint = reference.repository, settings.cache, settings.endpoint
    try:
        with explained(reference, settings):
            files = [
                hf_hub_download(repository, name, revision=commit, cache_dir=cache_dir, endpoint=endpoint, dry_run=True)
                for name in names
            ]
        size = sum(file.file_size or 0 for file in files if file.will_download)
        cache.check_room(size, reference, settings)
        with explained(reference, settings), progress_bars.shown(f"downloading {reference}", size) as bar:
            folder = snapshot_download(
                repository,
                # As it was named, so that the cache knows later what the name stood for.
                revision=reference.revision,
                cache_dir=cache_dir,
                endpoint=endpoint,
                allow_patterns=[glob.escape(name) for name in names],
                tqdm_class=bar,
            )
    except UnreachableError as error:
        raise ResourceError(
            f"the download of {reference} broke off",
            code=ErrorCode.DOWNLOAD_FAILED,
            details=error.details or [error.message],
            hint="run it again: files that are complete are kept",
        ) from error
    return Path(folder)
