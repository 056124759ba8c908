"""The output folder of an export: it appears under its name only when all of it is there.

Work is done in a sibling with a random name. A lock, held while the export runs, keeps two exports to one folder apart,
and makes it certain that what an earlier one left beside the folder belongs to a process that was killed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from edgegen.errors import ErrorCode, ResourceError, UsageError
from edgegen.export.folder import write_json
from edgegen.genai.provenance import EXPORT_FILE, is_export, read_provenance

_MARKER = "edgegen-work-folder"
"""A file in each work folder: what is without it was not made here."""

_CONTENTS = "contents"
"""The folder beside it that becomes the output."""


def check_output(output: Path) -> None:
    """Check that the folder is new, empty or an earlier export and nothing else, and can be replaced.

    Raises:
        UsageError: it holds something else, is no folder, or is one that cannot be replaced.
    """
    folder = output.resolve()
    if folder.exists() and not folder.is_dir():
        problem = "is a file, not a folder"
    elif folder.is_dir() and (folder in (Path.cwd(), *Path.cwd().parents) or os.path.ismount(folder)):
        problem = "is the current folder, a parent of it or a mount, which a new export cannot replace"
    elif folder.is_dir() and (others := _other_files(folder)):
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        problem = f"exists and holds something else than an export: {others[0]}{more}"
    else:
        return
    raise UsageError(
        f"output folder {output} {problem}",
        code=ErrorCode.OUTPUT_EXISTS,
        hint="name a folder that does not exist yet",
    )


def list_files(folder: Path) -> None:
    """Write into ``export.json`` which files the export consists of; others are never replaced."""
    record = folder / EXPORT_FILE
    if record.is_file():  # a target that leaves it out makes folders that are never replaced
        document = json.loads(record.read_text(encoding="utf-8"))
        write_json(record, document | {"files": _files(folder)})


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _other_files(folder: Path) -> list[str]:
    """Files that an export did not write; those of older exports, which do not list them, all count as written."""
    found = _files(folder)
    try:
        own = read_provenance(folder).get("files", found) if found else []
    except UsageError:
        return found
    return [name for name in found if not isinstance(own, list) or name not in own]


@contextmanager
def work_folder(output: Path) -> Iterator[Path]:
    """An empty folder, in one beside ``output`` that is gone afterwards; :func:`put_in_place` gives it its name.

    Where ``output`` is a symbolic link, the folder that it names is the one that is replaced.

    Raises:
        ResourceError: another export is writing to ``output``, or nothing can be written there.
    """
    output = output.resolve()
    with _locked(output):
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            _clean_up(output)
            folder = Path(tempfile.mkdtemp(prefix=_prefix(output), suffix=".partial", dir=output.parent))
            (folder / _MARKER).touch()
            contents = folder / _CONTENTS
            contents.mkdir()
        except OSError as error:
            raise ResourceError(
                f"cannot write to {output.parent}: {error.strerror or error}",
                code=ErrorCode.FILE_SYSTEM,
                hint="name a folder that you may write to with -o",
            ) from error
        try:
            yield contents
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def put_in_place(folder: Path, output: Path) -> None:
    """Give a work folder its name; an earlier export goes only once the new one is there, else it comes back."""
    output = output.resolve()
    if not output.exists():
        os.replace(folder, output)
        return
    work = folder.parent
    previous = work.with_name(work.name.removesuffix(".partial") + ".previous")
    os.replace(output, previous)
    try:
        os.replace(folder, output)
    except BaseException:
        os.replace(previous, output)
        raise
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
    for folder in _left_over(output, "previous"):
        if is_export(folder):
            if output.exists():
                shutil.rmtree(folder)
            else:
                os.replace(folder, output)
    for folder in _left_over(output, "partial"):
        if (folder / _MARKER).is_file() or is_export(folder):
            shutil.rmtree(folder)


def _left_over(output: Path, suffix: str) -> list[Path]:
    """Siblings that :func:`work_folder` named for exactly this output."""
    pattern = re.compile(re.escape(_prefix(output)) + rf"[a-z0-9_]+\.{suffix}")
    return [path for path in output.parent.iterdir() if pattern.fullmatch(path.name) and not path.is_symlink()]


def _prefix(output: Path) -> str:
    return f".{output.name}."
