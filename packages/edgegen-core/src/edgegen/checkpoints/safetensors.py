"""The safetensors format: one file, or shards with an index.

Format: https://github.com/huggingface/safetensors#format. The library validates every header (sizes, offsets,
gaps); bytes are then read by slices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from edgegen.checkpoints import huggingface
from edgegen.checkpoints.files import DOWNLOAD_AGAIN, SlicedFile, check_rows, read_json_object, summarize
from edgegen.checkpoints.tensors import Checkpoint, LazyTensor, RowReader
from edgegen.errors import CheckpointError, UnsupportedError, UsageError

FORMAT = "safetensors"
NAMING = "huggingface"
SUFFIX = ".safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
SINGLE, INDEX = f"model{SUFFIX}", f"model{INDEX_SUFFIX}"

_HEADER_LIMIT = 100_000_000
"""The library refuses larger headers."""

Float32 = npt.NDArray[np.float32]


def _widen_bfloat16(raw: npt.NDArray[np.uint8]) -> Float32:
    # bfloat16 is the upper half of a float32.
    wide = raw.view("<u2").astype(np.uint32)
    np.left_shift(wide, 16, out=wide)
    return wide.view(np.float32)


def _as(dtype: str) -> Callable[[npt.NDArray[np.uint8]], Float32]:
    return lambda raw: raw.view(dtype).astype(np.float32, copy=False)


_DECODERS: dict[str, tuple[int, Callable[[npt.NDArray[np.uint8]], Float32]]] = {
    "F32": (4, _as("<f4")),
    "BF16": (2, _widen_bfloat16),
    "F16": (2, _as("<f2")),
    "F64": (8, _as("<f8")),
    "I8": (1, _as("i1")),
    "U8": (1, _as("u1")),
    "I16": (2, _as("<i2")),
    "I32": (4, _as("<i4")),
    "I64": (8, _as("<i8")),
    "BOOL": (1, _as("u1")),
}
"""Storage type -> (bytes an element, bytes to float32)."""


def detect(path: Path) -> bool:
    """Whether the path is a safetensors file, an index of shards, or a folder with either. Never raises."""
    try:
        if path.is_dir():
            return (path / INDEX).is_file() or any(path.glob(f"*{SUFFIX}"))
        if not path.is_file():
            return False
        return path.name.endswith((SUFFIX, INDEX_SUFFIX)) or _has_header(path)
    except OSError:
        return False


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a file, a folder or an index; reads headers only.

    Raises:
        CheckpointError: a file is damaged, a shard is missing, the index does not match the shards.
        UsageError: the folder holds several files and no index.
    """
    weights, index = _locate(path)
    if index is None:
        (file,) = weights
        tensors = dict(_open_file(file))
    else:
        tensors = _open_shards(index, weights)
    folder = weights[0].parent
    config = huggingface.read_config(folder)
    return Checkpoint(
        path=path,
        format=FORMAT,
        naming=NAMING,
        tensors=tensors,
        config=config,
        files=(*((index,) if index else ()), *weights, *huggingface.sidecars(folder)),
        tokenizer=lambda: huggingface.read_tokenizer(folder, config),
    )


def _has_header(path: Path) -> bool:
    """Whether the file starts like the format: a plausible header length, then a JSON object."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= _HEADER_LIMIT


def _locate(path: Path) -> tuple[tuple[Path, ...], Path | None]:
    """The files that hold the weights, and the index that lists them if there is one."""
    if path.name.endswith(INDEX_SUFFIX):
        return _shards(path), path
    if path.is_file():
        return (path,), None
    if (path / INDEX).is_file():
        return _shards(path / INDEX), path / INDEX
    if (path / SINGLE).is_file():
        return (path / SINGLE,), None
    found = sorted(path.glob(f"*{SUFFIX}"))
    if not found:
        raise CheckpointError(f"no {SUFFIX} file in {path}", hint=f"name a folder that holds {SINGLE} or {INDEX}")
    if len(found) > 1:
        raise UsageError(
            f"{path} holds {len(found)} {SUFFIX} files and no {INDEX}",
            details=summarize(file.name for file in found),
            hint="name one of the files, or add the index that belongs to the shards",
        )
    return (found[0],), None


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, all of them present and beside it."""
    names = list(dict.fromkeys(_weight_map(index).values()))
    for name in names:
        # A name is joined to the folder, so anything but a plain one could reach outside the checkpoint.
        if name in ("", ".", "..") or any(mark in name for mark in "/\\:\0"):
            raise CheckpointError(
                f"{index.name} names a shard outside its folder: {name!r}",
                hint="do not trust this checkpoint; download it from its publisher",
            )
    if not names:
        raise CheckpointError(f"{index.name} lists no tensors", hint=DOWNLOAD_AGAIN)
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{len(missing)} of {len(names)} shards named by {index.name} are missing",
            details=summarize(missing),
            hint=f"download them into {index.parent}",
        )
    return tuple(index.parent / name for name in names)


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor name -> file name."""
    mapping = read_json_object(index).get("weight_map")
    if not isinstance(mapping, dict) or not all(isinstance(name, str) for name in mapping.values()):
        raise CheckpointError(f"{index.name} has no usable weight_map", hint=DOWNLOAD_AGAIN)
    return mapping


def _open_shards(index: Path, shards: tuple[Path, ...]) -> dict[str, LazyTensor]:
    listed = _weight_map(index)
    tensors = {
        name: tensor
        for shard in shards
        for name, tensor in _open_file(shard)
        if listed.get(name, shard.name) == shard.name
    }
    absent = [f"{name} (in {file})" for name, file in listed.items() if name not in tensors]
    if absent:
        raise CheckpointError(
            f"{len(absent)} tensors listed by {index.name} are not in their shards",
            details=summarize(absent),
            hint="the index belongs to other shards; download the checkpoint again",
        )
    return tensors


class _Entry(NamedTuple):
    """One tensor of a header; ``start`` and ``stop`` count bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def _open_file(path: Path) -> Iterator[tuple[str, LazyTensor]]:
    file = SlicedFile(path)
    for name, entry in _read_header(file).items():
        yield name, _lazy_tensor(file, name, entry)


def _read_header(file: SlicedFile) -> dict[str, _Entry]:
    try:
        # Opening validates; the library does not tell offsets, so the header is read a second time.
        with safe_open(file.path, framework="np"):
            pass
        length = int.from_bytes(file.read(0, 8).tobytes(), "little")
        header: Mapping[str, Any] = json.loads(file.read(8, length).tobytes())
        entries = {
            name: _Entry(str(entry["dtype"]), tuple(map(int, entry["shape"])), *_span(entry, 8 + length, file.size))
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{file.path.name} is not a valid safetensors file: {error}"
        raise CheckpointError(message, hint=DOWNLOAD_AGAIN) from error
    if not entries:
        raise CheckpointError(f"{file.path.name} holds no tensors", hint=DOWNLOAD_AGAIN)
    return entries


def _span(entry: Mapping[str, Any], base: int, size: int) -> tuple[int, int]:
    start, stop = (base + int(offset) for offset in entry["data_offsets"])
    if not base <= start <= stop <= size:
        raise ValueError(f"data offsets {entry['data_offsets']} lie outside the file")
    return start, stop


def _lazy_tensor(file: SlicedFile, name: str, entry: _Entry) -> LazyTensor:
    read_rows = _reader(file, name, entry) if entry.dtype in _DECODERS else _refuser(file, name, entry.dtype)
    return LazyTensor(
        name=name,
        shape=entry.shape,
        dtype=entry.dtype,
        nbytes=entry.stop - entry.start,
        read_rows=read_rows,
    )


def _reader(file: SlicedFile, name: str, entry: _Entry) -> RowReader:
    width, decode = _DECODERS[entry.dtype]
    inner = entry.shape[1:]
    rows = entry.shape[0] if entry.shape else 1
    row_bytes = width * math.prod(inner)

    def read_rows(start: int, stop: int) -> Float32:
        check_rows(name, start, stop, rows)
        raw = file.read(entry.start + start * row_bytes, (stop - start) * row_bytes)
        return decode(raw).reshape(stop - start, *inner)

    return read_rows


def _refuser(file: SlicedFile, name: str, dtype: str) -> RowReader:
    """Stands in for a storage type that has no decoder; a model that does not use the tensor never
    notices."""

    def read_rows(start: int, stop: int) -> Float32:
        raise UnsupportedError(
            f"{name} in {file.path.name} is stored as {dtype}, which edgegen cannot read",
            details=(f"readable: {', '.join(_DECODERS)}",),
            hint="convert the checkpoint to one of these, BF16 for example",
        )

    return read_rows
