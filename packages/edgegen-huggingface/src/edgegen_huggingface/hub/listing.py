"""What the hub says about a repository before anything is downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from huggingface_hub import HfApi, constants

from edgegen.errors import CheckpointError, ErrorCode
from edgegen_huggingface.hub.failures import UnreachableError, explained
from edgegen_huggingface.hub.reference import Reference
from edgegen_huggingface.hub.settings import Settings


@dataclass(frozen=True)
class File:
    """A file of a repository: its size in bytes, and the name of its contents in the cache."""

    size: int
    blob: str


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit, by their paths."""

    commit: str
    files: Mapping[str, File]


def read_listing(reference: Reference, settings: Settings) -> Listing:
    """Ask the hub.

    Raises:
        UsageError: it knows no such repository or revision.
        UnreachableError: nobody answers, or not as a hub does.
        ResourceError: the repository may not be read.
        CheckpointError: a file's path leads out of the repository.
    """
    api = HfApi(endpoint=settings.endpoint)
    with explained(reference, settings):
        try:
            info = api.model_info(
                reference.repository,
                revision=reference.revision,
                files_metadata=True,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
            )
        except (TypeError, KeyError, AttributeError) as error:  # JSON, but not what a hub sends
            raise _no_hub(settings) from error
    # The commit becomes the name of a folder, and the paths lie below it.
    if info.sha is None or not re.fullmatch("[0-9a-f]{40}", info.sha):
        raise _no_hub(settings)
    files = {sibling.rfilename: _file(sibling) for sibling in info.siblings or ()}
    for name in files:
        _check(name, reference)
    return Listing(info.sha, files)


def _file(sibling: Any) -> File:
    """Large files are named by their SHA-256, others by their Git object."""
    return File(size=sibling.size or 0, blob=(sibling.lfs.sha256 if sibling.lfs else sibling.blob_id) or "")


def _check(name: str, reference: Reference) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise CheckpointError(
            f"{reference} lists a file outside of the repository: {name!r}",
            code=ErrorCode.UNSAFE_PATH,
            hint="do not trust this repository, nor HF_ENDPOINT if it is set",
        )


def _no_hub(settings: Settings) -> UnreachableError:
    return UnreachableError(f"{settings.endpoint} does not answer like a hub", hint="check HF_ENDPOINT and the network")
