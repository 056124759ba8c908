"""Weights in one file or in several with an index, laid out as Hugging Face repositories do, whatever the container.

The index is ``{"weight_map": {tensor name: file name}}``, beside the files that it names.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from edgegen.errors import CheckpointError, ErrorCode, UsageError
from edgegen.weights.files import DOWNLOAD_AGAIN, read_json_object, summarize
from edgegen.weights.tensors import LazyTensor

_LONGEST_NAME = 255
"""Characters in a file name; operating systems refuse longer ones."""


@dataclass(frozen=True, kw_only=True)
class FileNames:
    """File names of a checkpoint format.

    Attributes:
        single: the usual name of an unsharded file, ``model.safetensors``.
        suffixes: of any file that may hold weights.
        others: patterns of files that have such a suffix and are no weights.
    """

    single: str
    suffixes: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def index(self) -> str:
        """The usual name of the index."""
        return f"{self.single}.index.json"

    def is_index(self, path: Path) -> bool:
        """True if a file is named like an index, ``any-name.safetensors.index.json``."""
        return path.name.endswith(f"{Path(self.single).suffix}.index.json")

    def in_folder(self, folder: Path) -> list[Path]:
        """Files of a folder that are named like weights."""
        return sorted(
            file
            for suffix in self.suffixes
            for file in folder.glob(f"*{suffix}")
            if not any(file.match(pattern) for pattern in self.others)
        )


def locate(path: Path, names: FileNames) -> tuple[tuple[Path, ...], Path | None]:
    """Weight files behind a path to a file, an index or a folder, and the index if there is one.

    Raises:
        CheckpointError: the folder has no weights, or files in the index are missing.
        UsageError: the folder holds several files and no index.
    """
    if names.is_index(path):
        return _listed(path), path
    if path.is_file():
        return (path,), None
    index, single = path / names.index, path / names.single
    # As transformers does: where both are there, the index is what an earlier save has left.
    if single.is_file():
        return (single,), None
    if index.is_file():
        return _listed(index), index
    found, kind = names.in_folder(path), ", ".join(names.suffixes)
    if not found:
        raise CheckpointError(
            f"no {kind} file in {path}",
            code=ErrorCode.UNRECOGNIZED_CHECKPOINT,
            hint=f"name a folder that holds {names.single} or {names.index}",
        )
    if len(found) > 1:
        raise UsageError(
            f"{path} holds {len(found)} {kind} files and no {names.index}",
            code=ErrorCode.CHECKPOINT_AMBIGUOUS,
            details=summarize(file.name for file in found),
            hint="name one of the files, or add the index that belongs to the shards",
        )
    return (found[0],), None


def open_tensors(
    weights: tuple[Path, ...],
    index: Path | None,
    open_file: Callable[[Path], Iterable[tuple[str, LazyTensor]]],
) -> dict[str, LazyTensor]:
    """Tensor name -> tensor, of all the files that :func:`locate` found.

    Raises:
        CheckpointError: a file is damaged, or the index lists a tensor that its file lacks.
    """
    listed = {} if index is None else weight_map(index)
    tensors = {
        name: tensor for file in weights for name, tensor in open_file(file) if listed.get(name, file.name) == file.name
    }
    absent = [name for name in listed if name not in tensors]
    if index is not None and absent:
        raise CheckpointError(
            f"{len(absent)} tensors listed by {index.name} are not in their shards",
            code=ErrorCode.SHARDS_MISSING,
            details=summarize(f"{name} (in {listed[name]})" for name in absent),
            hint="the index belongs to other shards; download the checkpoint again",
        )
    return tensors


def weight_map(index: Path) -> dict[str, str]:
    """Tensor name -> file name, as the index has it.

    Raises:
        CheckpointError: the index is damaged.
    """
    mapping = read_json_object(index).get("weight_map")
    if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping.values()):
        raise CheckpointError(
            f"{index.name} has no usable weight_map", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        )
    return mapping


def _listed(index: Path) -> tuple[Path, ...]:
    """Files in an index, checked to exist beside it."""
    names = list(dict.fromkeys(weight_map(index).values()))
    for name in names:
        # A name is joined to the folder, so anything but a plain one could reach outside the checkpoint.
        if name in ("", ".", "..") or any(mark in name for mark in "/\\:\0") or len(name) > _LONGEST_NAME:
            raise CheckpointError(
                f"{index.name} names a shard outside its folder: {reprlib.repr(name)}",
                code=ErrorCode.UNSAFE_PATH,
                hint="do not trust this checkpoint; download it from its publisher",
            )
    if not names:
        raise CheckpointError(f"{index.name} lists no tensors", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN)
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(names)} shards named by {index.name} are missing",
            code=ErrorCode.SHARDS_MISSING,
            details=summarize(missing),
            hint=f"download them into {index.parent}",
        )
    return tuple(index.parent / name for name in names)
