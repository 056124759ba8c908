"""From a reference to files on disk: choose, make sure that there is room, download what is missing."""

from __future__ import annotations

import glob
import logging
from pathlib import Path

from huggingface_hub import snapshot_download

from edgegen.errors import ErrorCode, ResourceError
from edgegen_huggingface.hub import cache, progress_bars
from edgegen_huggingface.hub.failures import UnreachableError, explained
from edgegen_huggingface.hub.listing import Listing, read_listing
from edgegen_huggingface.hub.reference import Reference
from edgegen_huggingface.hub.selection import beside, choose
from edgegen_huggingface.hub.settings import Settings

_log = logging.getLogger(__name__)


def fetch(reference: Reference, settings: Settings) -> Path:
    """The file or folder to open, below ``snapshots/<commit>`` of the cache.

    Raises:
        UsageError: no such repository or revision, or several weights could be meant.
        CheckpointError: it holds no weights, or lists files that it should not.
        ResourceError: no network and not in the cache, no right to read it, no room, or the download broke off.
    """
    if settings.offline:
        return _cached(reference, settings)
    try:
        listing = read_listing(reference, settings)
    except UnreachableError as error:
        found = cache.find(reference, settings)
        if found is None:
            raise
        _log.warning("%s; going on with what the cache has of it", error.message)
        return found
    weights = choose(listing.files, reference)
    names = [*weights.files, *beside(weights, listing.files)]
    entry = _download(names, listing, reference, settings) / weights.entry
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


def _download(names: list[str], listing: Listing, reference: Reference, settings: Settings) -> Path:
    """The folder of the snapshot, with these files in it."""
    absent = cache.missing(names, listing, reference, settings)
    size = sum(listing.files[name].size for name in absent)
    cache.check_room(size, reference, settings)
    try:
        with explained(reference, settings), progress_bars.shown(f"downloading {reference}", size) as bar:
            folder = snapshot_download(
                reference.repository,
                # As it was named, for the cache to know later what the name stood for.
                revision=reference.revision,
                cache_dir=settings.cache,
                endpoint=settings.endpoint,
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
