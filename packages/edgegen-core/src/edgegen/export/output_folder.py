"""The output folder of an export: it appears under its name only when all of it is there.

Work is done in a sibling with a random name. A lock, held while the export runs, keeps two exports to one folder apart,
and makes it certain that what an earlier one left beside the folder belongs to a process that was killed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from edgegen.errors import ErrorCode, ResourceError, UsageError
from edgegen.genai.provenance import is_export

_MARKER = "edgegen-work-folder"
"""A file in each work folder: what is without it was not made here."""


def check_output(output: Path) -> None:
    """Check that the folder is new, empty or an earlier export.

    Raises:
        UsageError: it holds something else, or is no folder.
    """
    if output.is_dir() and any(output.iterdir()) and not is_export(output):
        raise UsageError(
            f"output folder {output} exists and holds something else than an export",
            code=ErrorCode.OUTPUT_EXISTS,
            hint="name a folder that does not exist yet",
        )
    if output.exists() and not output.is_dir():
        raise UsageError(
            f"output {output} is a file, not a folder",
            code=ErrorCode.OUTPUT_EXISTS,
            hint="name a folder that does not exist yet",
        )


@contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """A folder beside ``output``, gone afterwards whatever happens; :func:`put_in_place` gives it its name.

    Raises:
        ResourceError: another export is writing to ``output``, or nothing can be written there.
    """
    with _locked(output):
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            _clean_up(output)
            folder = Path(tempfile.mkdtemp(prefix=_prefix(output), suffix=".partial", dir=output.parent))
            (folder / _MARKER).touch()
        except OSError as error:
            raise ResourceError(
                f"cannot write to {output.parent}: {error.strerror}",
                code=ErrorCode.FILE_SYSTEM,
                hint="name a folder that you may write to with -o",
            ) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def put_in_place(folder: Path, output: Path) -> None:
    """Give a work folder its name; an earlier export goes only once the new one is there."""
    (folder / _MARKER).unlink()
    folder.chmod(0o777 & ~_umask())  # mkdtemp makes folders for their owner alone
    previous = None
    if output.exists():
        previous = folder.with_name(folder.name.removesuffix(".partial") + ".previous")
        os.replace(output, previous)
    os.replace(folder, output)
    if previous is not None:
        shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def _locked(output: Path) -> Iterator[None]:
    name = hashlib.sha256(os.fsencode(output.resolve())).hexdigest()[:32]
    lock = Path(tempfile.gettempdir()) / f"edgegen-export-{name}.lock"
    try:
        with FileLock(lock, timeout=0):
            yield
    except Timeout:
        raise ResourceError(
            f"another export is writing to {output}",
            code=ErrorCode.OUTPUT_LOCKED,
            hint="wait for it, or name another folder with -o",
        ) from None


def _clean_up(output: Path) -> None:
    """Remove what a killed export left, and give back the export that it was about to replace. Needs the lock."""
    for folder in output.parent.glob(f"{_prefix(output)}*.previous"):
        if is_export(folder):
            if output.exists():
                shutil.rmtree(folder)
            else:
                os.replace(folder, output)
    for folder in output.parent.glob(f"{_prefix(output)}*.partial"):
        if (folder / _MARKER).is_file() or is_export(folder):
            shutil.rmtree(folder)


def _prefix(output: Path) -> str:
    return f".{output.name}."


def _umask() -> int:
    """The process's file mode mask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
