"""Reading slices of files, and the checks that every checkpoint format shares."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgegen.errors import CheckpointError, ErrorCode

DOWNLOAD_AGAIN = "download the file again; it is incomplete or damaged"

_LARGEST_JSON = 24 * 2**20
"""The index of a trillion weights is near 15 MB. Parsed, JSON takes many times its size in memory."""

LARGEST_TOKENIZER = 64 * 2**20
"""The largest in the wild are near 40 MB."""


class SlicedFile:
    """A file whose bytes are read where asked for; the handle opens on first use and is shared by threads.

    Slices are read rather than mapped: pages of a map count as the process's resident memory until the kernel
    takes them back, so a conversion would seem to need the whole checkpoint in RAM, and a file that shrinks
    while mapped kills the process instead of raising.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = regular_file_size(path)
        self._lock = threading.Lock()
        self._handle: Any = None

    def read(self, offset: int, nbytes: int) -> npt.NDArray[np.uint8]:
        """``nbytes`` from ``offset`` as a fresh, writable uint8 array.

        Raises:
            CheckpointError: the file ends before, or can no longer be read.
        """
        out = np.empty(nbytes, np.uint8)
        if not nbytes:
            return out
        view = out.data
        filled = 0
        try:
            with self._lock:
                if self._handle is None:
                    self._handle = self.path.open("rb", buffering=0)
                self._handle.seek(offset)
                while filled < nbytes:
                    count = self._handle.readinto(view[filled:])
                    if not count:
                        break
                    filled += count
        except OSError as error:
            raise CheckpointError(
                f"{self.path.name} cannot be read: {error.strerror or error}",
                code=ErrorCode.CHECKPOINT_UNREADABLE,
                hint="check that the file is still there, readable and on a healthy disk",
            ) from error
        if filled < nbytes:
            raise CheckpointError(
                f"{self.path.name} ends before byte {offset + nbytes:,}; it changed after it was opened",
                code=ErrorCode.CHECKPOINT_DAMAGED,
                hint="leave the checkpoint alone while it is being converted",
            )
        return out

    def __del__(self) -> None:
        handle = getattr(self, "_handle", None)
        if handle is not None:
            handle.close()


def regular_file_size(path: Path) -> int:
    """Size in bytes.

    Raises:
        CheckpointError: not a regular file (a pipe would block, a device never ends), empty, or out of reach.
    """
    try:
        regular, size = path.is_file(), path.stat().st_size
        if regular:
            path.open("rb").close()  # permissions show up here, not in the middle of an export
    except OSError as error:
        raise CheckpointError(
            f"{path.name} cannot be opened: {error.strerror or error}",
            code=ErrorCode.CHECKPOINT_UNREADABLE,
            hint="check the path and its permissions",
        ) from error
    if not regular:
        raise CheckpointError(
            f"{path.name} is not a regular file",
            code=ErrorCode.CHECKPOINT_UNREADABLE,
            hint="name a checkpoint file or its folder",
        )
    if size == 0:
        raise CheckpointError(f"{path.name} is empty", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN)
    return size


def read_json_object(path: Path, largest: int = _LARGEST_JSON) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        CheckpointError: not JSON, not an object, or implausibly large.
    """
    content = _read_json(path, largest)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path.name} does not hold a JSON object", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        )
    return content


def read_json_list(path: Path) -> list[Any]:
    """The JSON list in a file.

    Raises:
        CheckpointError: not JSON, not a list, or implausibly large.
    """
    content = _read_json(path, _LARGEST_JSON)
    if not isinstance(content, list):
        raise CheckpointError(
            f"{path.name} does not hold a JSON list", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        )
    return content


def _read_json(path: Path, largest: int) -> Any:
    if regular_file_size(path) > largest:
        raise CheckpointError(
            f"{path.name} is too large to be what its name says", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        )
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
        if b"\\ud" in raw.lower():  # half of a character, which JSON can spell and no file or terminal takes
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path.name} is not valid JSON: {error}", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        ) from error
    return content


def check_rows(name: str, start: int, stop: int, rows: int) -> None:
    """A slice outside a tensor is a mistake of the caller, not of the checkpoint.

    Raises:
        ValueError: unless ``0 <= start <= stop <= rows``.
    """
    if not 0 <= start <= stop <= rows:
        raise ValueError(f"rows {start}:{stop} of {name}, which has {rows}")


def summarize(names: Iterable[str], limit: int = 8) -> tuple[str, ...]:
    """Names as detail lines, shortened when there are many."""
    ordered = list(names)
    rest = len(ordered) - limit
    return (*ordered[:limit], f"... and {rest} more") if rest > 0 else tuple(ordered)
