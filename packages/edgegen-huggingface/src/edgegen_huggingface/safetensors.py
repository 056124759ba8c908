"""The safetensors format: one file, or shards with an index.

Format: https://github.com/huggingface/safetensors#format. The library validates every header (sizes, offsets,
gaps); bytes are then read by slices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from edgegen.errors import CheckpointError, ErrorCode
from edgegen.weights.dtypes import DECODERS, Float32, refuser
from edgegen.weights.files import DOWNLOAD_AGAIN, SlicedFile, check_rows
from edgegen.weights.tensors import Checkpoint, LazyTensor, RowReader
from edgegen_huggingface import repository_files
from edgegen_huggingface.quantized import check_unquantized
from edgegen_huggingface.sharded import FileNames, locate, open_tensors
from edgegen_huggingface.tensor_names import canonical_names

FORMAT = "safetensors"
NAMING = "huggingface"
FILE_NAMES = FileNames(single="model.safetensors", suffixes=(".safetensors",))

_HEADER_LIMIT = 16 * 2**20
"""Room for 150,000 tensors; the library would take 100 MB, which parsed is gigabytes."""


def detect(path: Path) -> bool:
    """True for a safetensors file, an index of shards, or a folder with either. Never raises."""
    try:
        if path.is_dir():
            return (path / FILE_NAMES.index).is_file() or bool(FILE_NAMES.in_folder(path))
        if not path.is_file():
            return False
        return path.suffix in FILE_NAMES.suffixes or FILE_NAMES.is_index(path) or _has_header(path)
    except OSError:
        return False


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a file, a folder or an index; reads headers only.

    Raises:
        CheckpointError: a file is damaged, a shard is missing, the index does not match the shards.
        UsageError: the folder holds several files and no index.
    """
    weights, index = locate(path, FILE_NAMES)
    folder = weights[0].parent
    config = repository_files.read_config(folder)
    tensors = open_tensors(weights, index, _open_file)
    check_unquantized(tensors, config)
    return Checkpoint(
        path=path,
        format=FORMAT,
        naming=NAMING,
        tensors=canonical_names(tensors, weights[0]),
        config=config,
        harmless_keys=repository_files.HARMLESS_KEYS,
        harmless_values=repository_files.HARMLESS_VALUES,
        files=(*((index,) if index else ()), *weights, *repository_files.sidecars(folder)),
        tokenizer=lambda: repository_files.read_tokenizer(folder, config),
        pipeline_modules=lambda: repository_files.read_modules(folder),
    )


def _has_header(path: Path) -> bool:
    """True if the file starts like the format: a plausible header length, then a JSON object."""
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= _HEADER_LIMIT


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
        length = int.from_bytes(file.read(0, min(8, file.size)).tobytes(), "little")
        if length > _HEADER_LIMIT:
            raise ValueError(f"a header of {length:,} bytes")
        # Opening validates; the library does not tell offsets, so the header is read a second time.
        with safe_open(file.path, framework="np"):
            pass
        header: Mapping[str, Any] = json.loads(file.read(8, length).tobytes())
        entries = {
            name: _Entry(str(entry["dtype"]), tuple(map(int, entry["shape"])), *_span(entry, 8 + length, file.size))
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"{file.path.name} is not a valid safetensors file: {error}"
        raise CheckpointError(message, code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN) from error
    if not entries:
        raise CheckpointError(
            f"{file.path.name} holds no tensors", code=ErrorCode.CHECKPOINT_DAMAGED, hint=DOWNLOAD_AGAIN
        )
    return entries


def _span(entry: Mapping[str, Any], base: int, size: int) -> tuple[int, int]:
    start, stop = (base + int(offset) for offset in entry["data_offsets"])
    if not base <= start <= stop <= size:
        raise ValueError(f"data offsets {entry['data_offsets']} lie outside the file")
    return start, stop


def _lazy_tensor(file: SlicedFile, name: str, entry: _Entry) -> LazyTensor:
    known = entry.dtype in DECODERS
    read_rows = _reader(file, name, entry) if known else refuser(name, file.path.name, entry.dtype, DECODERS)
    return LazyTensor(
        name=name,
        shape=entry.shape,
        dtype=entry.dtype,
        nbytes=entry.stop - entry.start,
        read_rows=read_rows,
    )


def _reader(file: SlicedFile, name: str, entry: _Entry) -> RowReader:
    width, decode = DECODERS[entry.dtype]
    inner = entry.shape[1:]
    rows = entry.shape[0] if entry.shape else 1
    row_bytes = width * math.prod(inner)

    def read_rows(start: int, stop: int) -> Float32:
        check_rows(name, start, stop, rows)
        raw = file.read(entry.start + start * row_bytes, (stop - start) * row_bytes)
        return decode(raw).reshape(stop - start, *inner)

    return read_rows
